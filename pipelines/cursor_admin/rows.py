"""How a JSON answer becomes rows of a raw table, as Arrow. Knows no HTTP.

A value of another type than declared, or a missing required key, is an `ApiShapeError`; a field nobody knows yet is
kept in `extra_json`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from .columns import NEXT_STEP, column, constant, extra_json, instant
from .errors import ApiShapeError
from .tables import (
    AUDIT_FIELDS,
    AUDIT_LOGS_PATH,
    BILLING_GROUPS_PATH,
    DAY,
    EVENT_FIELDS,
    FLAG,
    GROUP_FIELDS,
    GROUP_MEMBER_FIELDS,
    INSTANT,
    MEMBER_FIELDS,
    MEMBERS_PATH,
    SCHEMAS,
    TEXT,
    TOKEN_FIELDS,
    USAGE_EVENTS_PATH,
    WHOLE,
    Field,
)


def _objects(path: str, key: str, rows: Any) -> list[dict[str, Any]]:
    if not isinstance(rows, list) or not all(type(row) is dict for row in rows):
        raise ApiShapeError(f"{path}: `{key}` is not a list of objects. {NEXT_STEP}")
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
        raise ApiShapeError(f"{path}: an event has no `timestamp`. {NEXT_STEP}") from None
    except (TypeError, ValueError):
        raise ApiShapeError(f"{path}: a `timestamp` is not epoch milliseconds. {NEXT_STEP}") from None
    day_start = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)
    if millis and not (day_start <= min(millis) and max(millis) < day_start + 86_400_000):
        raise ApiShapeError(f"{path}: an event lies outside the day that was asked for ({day}). {NEXT_STEP}")
    tokens = [event.get("tokenUsage") or _NO_TOKENS for event in events]
    if not all(type(usage) is dict for usage in tokens):
        raise ApiShapeError(f"{path}: `tokenUsage` is not an object. {NEXT_STEP}")
    extras = [extra_json(event, _EVENT_KEYS) for event in events]
    for index, usage in enumerate(tokens):
        if not usage.keys() <= _TOKEN_KEYS:
            outer = orjson.loads(extras[index] or "{}")
            inner = {f"tokenUsage.{key}": usage[key] for key in usage.keys() - _TOKEN_KEYS}
            extras[index] = orjson.dumps(outer | inner, option=orjson.OPT_SORT_KEYS).decode()
    count = len(events)
    arrays = [
        constant(team, count),
        constant(batch_id, count),
        pa.repeat(pa.scalar(day, DAY), count),
        pc.multiply(pa.array(millis, WHOLE), 1000).cast(INSTANT),
        *(column(path, field, [event.get(field.key) for event in events]) for field in EVENT_FIELDS),
        *(column(path, field, [usage.get(field.key) for usage in tokens]) for field in TOKEN_FIELDS),
        pa.array(extras, TEXT),
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMAS["usage_events"])


def _snapshot_columns(
    path: str, fields: Sequence[Field], rows: list[dict[str, Any]], known: frozenset[str]
) -> list[pa.Array]:
    for field in fields:
        if field.required and any(field.key not in row for row in rows):
            raise ApiShapeError(f"{path}: an entry has no `{field.key}`. {NEXT_STEP}")
    columns = [column(path, field, [row.get(field.key) for row in rows]) for field in fields]
    return [*columns, pa.array([extra_json(row, known) for row in rows], TEXT)]


# Two days of group spend come with every answer, neither complete nor lasting: events are the daily ledger.
_GROUP_KEYS = frozenset({field.key for field in GROUP_FIELDS} | {"currentMembers", "formerMembers", "dailySpend"})
_GROUP_MEMBER_KEYS = frozenset({field.key for field in GROUP_MEMBER_FIELDS} | {"dailySpend"})
_MEMBER_KEYS = frozenset(field.key for field in MEMBER_FIELDS)
_AUDIT_KEYS = frozenset({field.key for field in AUDIT_FIELDS} | {"event_data", "ip_address"})


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
                raise ApiShapeError(f"{path}: a group has no `{key}`. {NEXT_STEP}")
            members = _objects(path, key, group[key])
            entries += members
            group_ids += [group["id"]] * len(members)
            entry_unassigned += [is_unassigned] * len(members)
            current += [is_current] * len(members)
    member_columns = _snapshot_columns(path, GROUP_MEMBER_FIELDS, entries, _GROUP_MEMBER_KEYS)
    return (
        pa.Table.from_arrays(
            [
                constant(team, len(groups)),
                constant(snapshot_id, len(groups)),
                pa.array(unassigned, FLAG),
                *group_columns,
            ],
            schema=SCHEMAS["billing_groups"],
        ),
        pa.Table.from_arrays(
            [
                constant(team, len(entries)),
                constant(snapshot_id, len(entries)),
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
        raise ApiShapeError(f"{BILLING_GROUPS_PATH}: `billingCycle` is not an object. {NEXT_STEP}")
    start = instant(BILLING_GROUPS_PATH, "cycleStart", cycle.get("cycleStart"))
    end = instant(BILLING_GROUPS_PATH, "cycleEnd", cycle.get("cycleEnd"))
    if start is None or end is None or end <= start:
        raise ApiShapeError(f"{BILLING_GROUPS_PATH}: `billingCycle` has no usable start and end. {NEXT_STEP}")
    return start, end


def member_table(payload: Mapping[str, Any], *, team: str, snapshot_id: str) -> pa.Table:
    """An answer of GET /teams/members, one row per roster entry. `isRemoved` is absent in older answers: null."""
    rows = _objects(MEMBERS_PATH, "teamMembers", payload.get("teamMembers"))
    # Ids were numbers until spring 2026 and `user_…` since: kept as text either way.
    rows = [row | {"id": str(row["id"])} if isinstance(row.get("id"), int) else row for row in rows]
    columns = _snapshot_columns(MEMBERS_PATH, MEMBER_FIELDS, rows, _MEMBER_KEYS)
    return pa.Table.from_arrays(
        [constant(team, len(rows)), constant(snapshot_id, len(rows)), *columns], schema=SCHEMAS["members"]
    )


def audit_event_table(rows: Any, *, team: str, batch_id: str, start_at: datetime, end_at: datetime) -> pa.Table:
    """Events of one window of the audit log, oldest first, in the columns of `raw.audit_events`.

    `event_data_json` is what the API says about the event, with sorted keys: each type of event has its own.

    Raises:
        ApiShapeError: a key is missing, a value has another type, or an event lies outside the window (UTC, both ends
            belong to it): parameters that the API did not heed would make days look covered that are not.
    """
    path = AUDIT_LOGS_PATH
    events = _objects(path, "events", rows)
    if any(event.get(key) is None for event in events for key in ("event_id", "timestamp", "event_type")):
        raise ApiShapeError(f"{path}: an event lacks its `event_id`, `timestamp` or `event_type`. {NEXT_STEP}")
    said = [{} if event.get("event_data") is None else event["event_data"] for event in events]
    if not all(type(data) is dict for data in said):
        raise ApiShapeError(f"{path}: `event_data` is not an object. {NEXT_STEP}")
    columns = _snapshot_columns(path, AUDIT_FIELDS, events, _AUDIT_KEYS)
    table = pa.Table.from_arrays(
        [
            constant(team, len(events)),
            constant(batch_id, len(events)),
            *columns[:-1],
            pa.array([orjson.dumps(data, option=orjson.OPT_SORT_KEYS).decode() for data in said], TEXT),
            columns[-1],
        ],
        schema=SCHEMAS["audit_events"],
    )
    times = table["occurred_at"].to_pylist()
    if times and not (start_at <= min(times) and max(times) <= end_at):
        raise ApiShapeError(f"{path}: an event lies outside the window that was asked for. {NEXT_STEP}")
    return table.sort_by([("occurred_at", "ascending"), ("event_id", "ascending")])
