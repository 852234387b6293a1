"""The raw tables: keys, column types, units, and how a JSON answer becomes Arrow. Knows no HTTP.

Types are declared, never inferred: an amount is `decimal(18, 6)` US cents whatever the first page looks like. A value
of another type, or a missing required key, is an `ApiShapeError`; a field nobody knows yet is kept in `extra_json`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
from dlt.common.schema.typing import TColumnSchema, TSchemaContractDict

from .errors import ApiShapeError

USAGE_EVENTS_PATH = "/teams/filtered-usage-events"
BILLING_GROUPS_PATH = "/teams/groups"
MEMBERS_PATH = "/teams/members"

TEXT = pa.string()
WHOLE = pa.int64()
FLAG = pa.bool_()
CENTS = pa.decimal128(18, 6)  # also for request units and per cent: six digits, as the API sends
INSTANT = pa.timestamp("us")  # UTC without zone
DAY = pa.date32()

# The schema itself is frozen: new fields land in `extra_json`, a changed type stops the load.
FROZEN: TSchemaContractDict = {"tables": "evolve", "columns": "freeze", "data_type": "freeze"}


@dataclass(frozen=True)
class Field:
    """One stored field of a JSON object. `required`: the key must be there (its value may still be null)."""

    column: str
    key: str
    type: pa.DataType
    required: bool = False


EVENT_FIELDS = (
    Field("user_email", "userEmail", TEXT),
    Field("service_account_id", "serviceAccountId", TEXT),
    Field("service_account_name", "serviceAccountName", TEXT),
    Field("cloud_agent_id", "cloudAgentId", TEXT),
    Field("automation_id", "automationId", TEXT),
    Field("conversation_id", "conversationId", TEXT),
    Field("model", "model", TEXT),
    Field("kind", "kind", TEXT),
    Field("is_max_mode", "maxMode", FLAG),
    Field("is_token_based", "isTokenBasedCall", FLAG),
    Field("is_chargeable", "isChargeable", FLAG),
    Field("is_headless", "isHeadless", FLAG),
    Field("request_units", "requestsCosts", CENTS),
    Field("charged_cents", "chargedCents", CENTS),
    Field("token_fee_cents", "cursorTokenFee", CENTS),
)
TOKEN_FIELDS = (
    Field("input_tokens", "inputTokens", WHOLE),
    Field("output_tokens", "outputTokens", WHOLE),
    Field("cache_write_tokens", "cacheWriteTokens", WHOLE),
    Field("cache_read_tokens", "cacheReadTokens", WHOLE),
    Field("model_cents", "totalCents", CENTS),
    Field("discount_percent_off", "discountPercentOff", CENTS),
)
GROUP_FIELDS = (
    Field("billing_group_id", "id", TEXT, required=True),
    Field("name", "name", TEXT, required=True),
    Field("group_type", "type", TEXT),
    Field("directory_group_id", "directoryGroupId", TEXT),
    Field("member_count", "memberCount", WHOLE),
    Field("created_at", "createdAt", INSTANT),
    Field("updated_at", "updatedAt", INSTANT),
    Field("spend_cents", "spendCents", CENTS),
)
GROUP_MEMBER_FIELDS = (
    Field("user_id", "userId", TEXT, required=True),
    Field("user_email", "email", TEXT, required=True),
    Field("name", "name", TEXT),
    Field("joined_at", "joinedAt", INSTANT, required=True),
    Field("left_at", "leftAt", INSTANT),
    Field("spend_cents", "spendCents", CENTS),
)
MEMBER_FIELDS = (
    Field("user_id", "id", TEXT),
    Field("user_email", "email", TEXT, required=True),
    Field("name", "name", TEXT),
    Field("role", "role", TEXT, required=True),
    Field("is_removed", "isRemoved", FLAG),
)


def _schema(*columns: tuple[str, pa.DataType]) -> pa.Schema:
    return pa.schema([pa.field(name, type_) for name, type_ in columns])


def _columns(fields: Iterable[Field]) -> list[tuple[str, pa.DataType]]:
    return [(field.column, field.type) for field in fields]


SCHEMAS: Mapping[str, pa.Schema] = {
    "teams": _schema(("team", TEXT), ("start_date", DAY), ("first_run_at", INSTANT)),
    "usage_events": _schema(
        ("team", TEXT),
        ("batch_id", TEXT),
        ("usage_date", DAY),
        ("occurred_at", INSTANT),
        *_columns(EVENT_FIELDS),
        *_columns(TOKEN_FIELDS),
        ("extra_json", TEXT),
    ),
    "load_windows": _schema(
        ("team", TEXT),
        ("resource", TEXT),
        ("read_id", TEXT),
        ("read_number", WHOLE),
        ("usage_date", DAY),
        ("batch_id", TEXT),
        ("outcome", TEXT),
        ("announced_count", WHOLE),
        ("row_count", WHOLE),
        ("charged_cents", CENTS),
        ("digest", TEXT),
        ("read_at", INSTANT),
        ("run_id", TEXT),
    ),
    "snapshot_reads": _schema(
        ("team", TEXT),
        ("resource", TEXT),
        ("cycle_start_at", INSTANT),
        ("cycle_end_at", INSTANT),
        ("is_current_cycle", FLAG),
        ("read_id", TEXT),
        ("read_number", WHOLE),
        ("snapshot_id", TEXT),
        ("outcome", TEXT),
        ("row_count", WHOLE),
        ("current_member_count", WHOLE),
        ("digest", TEXT),
        ("guard_digest", TEXT),
        ("detail", TEXT),
        ("read_at", INSTANT),
        ("run_id", TEXT),
    ),
    "billing_groups": _schema(
        ("team", TEXT),
        ("snapshot_id", TEXT),
        ("is_unassigned", FLAG),
        *_columns(GROUP_FIELDS),
        ("extra_json", TEXT),
    ),
    "billing_group_members": _schema(
        ("team", TEXT),
        ("snapshot_id", TEXT),
        ("billing_group_id", TEXT),
        ("is_unassigned", FLAG),
        ("is_current", FLAG),
        *_columns(GROUP_MEMBER_FIELDS),
        ("extra_json", TEXT),
    ),
    "members": _schema(("team", TEXT), ("snapshot_id", TEXT), *_columns(MEMBER_FIELDS), ("extra_json", TEXT)),
}


def dlt_columns(table: str) -> dict[str, TColumnSchema]:
    """dlt's column hints for a raw table, from the one schema above. Times are UTC without zone."""
    hints: dict[str, TColumnSchema] = {}
    for field in SCHEMAS[table]:
        hint: TColumnSchema = {"name": field.name, "nullable": True}
        if field.type == TEXT:
            hint["data_type"] = "text"
        elif field.type == WHOLE:
            hint["data_type"] = "bigint"
        elif field.type == FLAG:
            hint["data_type"] = "bool"
        elif field.type == DAY:
            hint["data_type"] = "date"
        elif field.type == INSTANT:
            hint.update({"data_type": "timestamp", "timezone": False, "precision": 6})
        else:
            hint.update({"data_type": "decimal", "precision": 18, "scale": 6})
        hints[field.name] = hint
    return hints


def _column(path: str, field: Field, values: list[Any]) -> pa.Array:
    """Values of one field as Arrow, of exactly the declared type. Raises ApiShapeError for any other type."""
    if field.type == INSTANT:
        return pa.array([_instant(path, field.key, value) for value in values], INSTANT)
    try:
        # Inferred first: asked for int64, Arrow would silently cut 1.5 to 1, and take true for 1.0.
        found = pa.array(values)
        expected = {TEXT: (TEXT,), FLAG: (FLAG,)}.get(field.type, (WHOLE, pa.float64()))
        if not pa.types.is_null(found.type) and found.type not in expected:
            raise ApiShapeError(f"{path}: `{field.key}` is a {found.type}, not a {_wanted(field)}. {_NEXT_STEP}")
        if field.type == CENTS and found.type == WHOLE:
            found = found.cast(pa.float64())
        return found.cast(field.type)
    except (pa.ArrowException, OverflowError) as error:
        raise ApiShapeError(
            f"{path}: `{field.key}` holds a value that is not a {_wanted(field)}. {_NEXT_STEP}"
        ) from error


_NEXT_STEP = "The API changed or the answer is damaged: nothing of it was stored. Run again, and report it if it stays."


def _wanted(field: Field) -> str:
    return {TEXT: "text", FLAG: "true or false", WHOLE: "whole number", CENTS: "number"}[field.type]


def _instant(path: str, key: str, value: Any) -> datetime | None:
    """ISO 8601 to UTC without zone."""
    if value is None:
        return None
    try:
        parsed = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise ApiShapeError(f"{path}: `{key}` is not an ISO 8601 time. {_NEXT_STEP}") from None
    return parsed.astimezone(UTC).replace(tzinfo=None) if parsed.tzinfo else parsed


def _extra(row: Mapping[str, Any], known: frozenset[str]) -> str | None:
    """Unknown fields as JSON with sorted keys; None when there are none."""
    if row.keys() <= known:
        return None
    return str(orjson.dumps({key: row[key] for key in row.keys() - known}, option=orjson.OPT_SORT_KEYS), "utf-8")


def _constant(value: str, count: int) -> pa.Array:
    return pa.repeat(pa.scalar(value, TEXT), count)


def _objects(path: str, key: str, rows: Any) -> list[dict[str, Any]]:
    if not isinstance(rows, list) or not all(type(row) is dict for row in rows):
        raise ApiShapeError(f"{path}: `{key}` is not a list of objects. {_NEXT_STEP}")
    return rows


_EVENT_KEYS = frozenset({"timestamp", "tokenUsage"} | {field.key for field in EVENT_FIELDS})
_TOKEN_KEYS = frozenset(field.key for field in TOKEN_FIELDS)
_NO_TOKENS: dict[str, Any] = {}


def usage_event_batch(rows: Any, *, team: str, batch_id: str, day: date) -> pa.RecordBatch:
    """One page of usage events as Arrow, one row each, in the columns of `raw.usage_events`.

    Amounts are US cents. `occurred_at` is the event's epoch milliseconds as a UTC time and lies within `day`.

    Raises:
        ApiShapeError: a row lacks its time, lies outside the day, or holds a value of another type.
    """
    path = USAGE_EVENTS_PATH
    events = _objects(path, "usageEvents", rows)
    try:
        millis = [int(event["timestamp"]) for event in events]
    except KeyError:
        raise ApiShapeError(f"{path}: an event has no `timestamp`. {_NEXT_STEP}") from None
    except (TypeError, ValueError):
        raise ApiShapeError(f"{path}: a `timestamp` is not epoch milliseconds. {_NEXT_STEP}") from None
    day_start = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)
    if millis and not (day_start <= min(millis) and max(millis) < day_start + 86_400_000):
        raise ApiShapeError(f"{path}: an event lies outside the day that was asked for ({day}). {_NEXT_STEP}")
    tokens = [event.get("tokenUsage") or _NO_TOKENS for event in events]
    if not all(type(usage) is dict for usage in tokens):
        raise ApiShapeError(f"{path}: `tokenUsage` is not an object. {_NEXT_STEP}")
    extras = [_extra(event, _EVENT_KEYS) for event in events]
    for index, usage in enumerate(tokens):
        if not usage.keys() <= _TOKEN_KEYS:
            outer = orjson.loads(extras[index] or "{}")
            inner = {f"tokenUsage.{key}": usage[key] for key in usage.keys() - _TOKEN_KEYS}
            extras[index] = orjson.dumps(outer | inner, option=orjson.OPT_SORT_KEYS).decode()
    count = len(events)
    arrays = [
        _constant(team, count),
        _constant(batch_id, count),
        pa.repeat(pa.scalar(day, DAY), count),
        pc.multiply(pa.array(millis, WHOLE), 1000).cast(INSTANT),
        *(_column(path, field, [event.get(field.key) for event in events]) for field in EVENT_FIELDS),
        *(_column(path, field, [usage.get(field.key) for usage in tokens]) for field in TOKEN_FIELDS),
        pa.array(extras, TEXT),
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMAS["usage_events"])


def _snapshot_columns(
    path: str, fields: Sequence[Field], rows: list[dict[str, Any]], known: frozenset[str]
) -> list[pa.Array]:
    for field in fields:
        if field.required and any(field.key not in row for row in rows):
            raise ApiShapeError(f"{path}: an entry has no `{field.key}`. {_NEXT_STEP}")
    columns = [_column(path, field, [row.get(field.key) for row in rows]) for field in fields]
    return [*columns, pa.array([_extra(row, known) for row in rows], TEXT)]


# Two days of group spend come with every answer, neither complete nor lasting: events are the daily ledger.
_GROUP_KEYS = frozenset({field.key for field in GROUP_FIELDS} | {"currentMembers", "formerMembers", "dailySpend"})
_GROUP_MEMBER_KEYS = frozenset({field.key for field in GROUP_MEMBER_FIELDS} | {"dailySpend"})
_MEMBER_KEYS = frozenset(field.key for field in MEMBER_FIELDS)


def billing_group_tables(payload: Mapping[str, Any], *, team: str, snapshot_id: str) -> tuple[pa.Table, pa.Table]:
    """An answer of GET /teams/groups as (groups, memberships): one row per group, one per group and member entry.

    The reserved group is found by its position (`unassignedGroup`), never by id or name. Times are UTC.

    Raises:
        ApiShapeError: a key is missing or a value has another type.
    """
    path = BILLING_GROUPS_PATH
    groups = _objects(path, "groups", payload.get("groups"))
    groups = groups + _objects(path, "unassignedGroup", [payload.get("unassignedGroup")])
    unassigned = [index == len(groups) - 1 for index in range(len(groups))]
    group_columns = _snapshot_columns(path, GROUP_FIELDS, groups, _GROUP_KEYS)
    entries: list[dict[str, Any]] = []
    group_ids: list[str] = []
    entry_unassigned: list[bool] = []
    current: list[bool] = []
    for group, is_unassigned in zip(groups, unassigned, strict=True):
        for key, is_current in (("currentMembers", True), ("formerMembers", False)):
            if key not in group:
                raise ApiShapeError(f"{path}: a group has no `{key}`. {_NEXT_STEP}")
            members = _objects(path, key, group[key])
            entries += members
            group_ids += [group["id"]] * len(members)
            entry_unassigned += [is_unassigned] * len(members)
            current += [is_current] * len(members)
    member_columns = _snapshot_columns(path, GROUP_MEMBER_FIELDS, entries, _GROUP_MEMBER_KEYS)
    return (
        pa.Table.from_arrays(
            [
                _constant(team, len(groups)),
                _constant(snapshot_id, len(groups)),
                pa.array(unassigned, FLAG),
                *group_columns,
            ],
            schema=SCHEMAS["billing_groups"],
        ),
        pa.Table.from_arrays(
            [
                _constant(team, len(entries)),
                _constant(snapshot_id, len(entries)),
                pa.array(group_ids, TEXT),
                pa.array(entry_unassigned, FLAG),
                pa.array(current, FLAG),
                *member_columns,
            ],
            schema=SCHEMAS["billing_group_members"],
        ),
    )


def billing_cycle(payload: Mapping[str, Any]) -> tuple[datetime, datetime] | None:
    """Start and end (exclusive, UTC) of the cycle an answer of GET /teams/groups is about; None if it is silent."""
    cycle = payload.get("billingCycle")
    if cycle is None:
        return None
    if not isinstance(cycle, dict):
        raise ApiShapeError(f"{BILLING_GROUPS_PATH}: `billingCycle` is not an object. {_NEXT_STEP}")
    start = _instant(BILLING_GROUPS_PATH, "cycleStart", cycle.get("cycleStart"))
    end = _instant(BILLING_GROUPS_PATH, "cycleEnd", cycle.get("cycleEnd"))
    if start is None or end is None or end <= start:
        raise ApiShapeError(f"{BILLING_GROUPS_PATH}: `billingCycle` has no usable start and end. {_NEXT_STEP}")
    return start, end


def member_table(payload: Mapping[str, Any], *, team: str, snapshot_id: str) -> pa.Table:
    """An answer of GET /teams/members, one row per roster entry. `isRemoved` is absent in older answers: null."""
    rows = _objects(MEMBERS_PATH, "teamMembers", payload.get("teamMembers"))
    # Ids were numbers until spring 2026 and `user_…` since: kept as text either way.
    rows = [row | {"id": str(row["id"])} if isinstance(row.get("id"), int) else row for row in rows]
    columns = _snapshot_columns(MEMBERS_PATH, MEMBER_FIELDS, rows, _MEMBER_KEYS)
    return pa.Table.from_arrays(
        [_constant(team, len(rows)), _constant(snapshot_id, len(rows)), *columns], schema=SCHEMAS["members"]
    )
