"""What the API says beside the events: spend, group days, directory groups, blocklists, the pool. Each a snapshot.

Numbers to compare with, never numbers to bill from; a team may be without any of these routes. Each function answers
an `OptionalAnswer`, whole or not at all, and raises ApiError (see `CursorAdminClient`), ApiShapeError where the list
itself is missing, and IncompleteWindowError where pages moved three times in a row. Knows no destination.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import orjson
import pyarrow as pa

from .answers import Answer
from .client import CursorAdminClient
from .columns import column, instant
from .errors import ApiShapeError, NotFoundError
from .optional_lists import OptionalAnswer, whole_list
from .optional_rows import KEPT, Oddities, OptionalTable
from .settings import ID_PATTERN
from .tables import (
    BILLING_GROUPS_PATH,
    CENTS,
    DIRECTORY_GROUP_FIELDS,
    DIRECTORY_GROUP_MEMBER_FIELDS,
    DIRECTORY_GROUPS_PATH,
    FLAG,
    POOLED_USAGE_FIELDS,
    POOLED_USAGE_PATH,
    REPOSITORY_BLOCKLIST_FIELDS,
    REPOSITORY_BLOCKLISTS_PATH,
    SCHEMAS,
    SPEND_FIELDS,
    SPEND_PATH,
    TEXT,
    Field,
)

_LEFT_OUT = "left out"


def read_member_spend(client: CursorAdminClient, *, team: str) -> OptionalAnswer:
    """Spend of each member in the current cycle, one row per entry: two ids that share an e-mail are two."""
    cycle = "subscriptionCycleStart"
    table, first = whole_list(
        SPEND_PATH,
        "The list of spend by member",
        client.spend_page,
        lambda: OptionalTable("member_spend", SPEND_PATH, SPEND_FIELDS, _snapshot_of(team)),
        OptionalTable.add,
        keys=("userId", "email"),
        about=lambda payload: payload.get(cycle),
    )
    started_at = _from_milliseconds(first.payload.get(cycle))
    if started_at is None:
        table.oddities.note(f"`{cycle}` is missing or no time in", "which cycle it is stays unknown", unit="answer")
    return OptionalAnswer({"member_spend": table.table()}, first.date, started_at, table.oddities.sentences())


def read_billing_group_details(
    client: CursorAdminClient, group_ids: Iterable[str], *, team: str, billing_cycle: date | None = None
) -> OptionalAnswer:
    """What groups, and people in them, spent on the last days of a cycle: one row per group, person and day.

    `user_id` is null for the group as a whole. Two stints of one person in a group are one row: their sum. One request
    a group; a group that was deleted meanwhile has no rows. The table has no `extra_json`: what cannot be read is left
    out, and named.
    """
    path = f"{BILLING_GROUPS_PATH}/{{group_id}}"
    oddities = Oddities(path)
    spent: dict[tuple[str, str | None, date], Decimal | None] = {}
    answers: list[Answer] = []
    for group_id in group_ids:
        if not re.fullmatch(ID_PATTERN, group_id):
            oddities.note("the id cannot be part of an address:", _LEFT_OUT, unit="group")
            continue
        try:
            answer = client.billing_group(group_id, billing_cycle)
        except NotFoundError:
            oddities.note("not found:", _LEFT_OUT, unit="group")
            continue
        answers.append(answer)
        for user_id, day, cents in _daily_spend(answer.payload["group"], oddities, path):
            key = (group_id, user_id, day)
            before = spent.get(key)
            spent[key] = cents if before is None else before + (cents or 0)
    columns = {
        "team": [team] * len(spent),
        "snapshot_id": [""] * len(spent),
        "billing_group_id": [group_id for group_id, _, _ in spent],
        "user_id": [user_id for _, user_id, _ in spent],
        "spend_date": [day for _, _, day in spent],
        "spend_cents": list(spent.values()),
    }
    table = pa.Table.from_pydict(columns, schema=SCHEMAS["billing_group_daily_spend"])
    first = answers[0] if answers else None
    return OptionalAnswer(
        {"billing_group_daily_spend": table},
        first.date if first else None,
        _cycle_start(first.payload) if first else None,
        oddities.sentences(),
    )


def _daily_spend(
    group: Mapping[str, Any], oddities: Oddities, path: str
) -> Iterator[tuple[str | None, date, Decimal | None]]:
    """Person (None: the group itself), day and US cents, of everything in a group that has daily values."""
    holders: list[tuple[str | None, Any]] = [(None, group)]
    for key in ("currentMembers", "formerMembers"):
        members = group.get(key) or []
        if not isinstance(members, list):
            oddities.note(f"`{key}` is no list in", _LEFT_OUT, unit="group")
            continue
        for member in members:
            user_id = member.get("userId") if type(member) is dict else None
            if type(user_id) in (str, int):
                holders.append((str(user_id), member))
            else:
                oddities.note(f"`{key}` has no usable `userId` in", _LEFT_OUT, unit="item")
    for user_id, holder in holders:
        days = holder.get("dailySpend") or []
        for entry in days if isinstance(days, list) else [days]:
            try:
                spend_date = date.fromisoformat(entry["date"])
                cents = column(path, _DAY_CENTS, [entry.get("spendCents")])[0].as_py()
            except (ApiShapeError, AttributeError, KeyError, TypeError, ValueError):
                oddities.note("`dailySpend` cannot be read in", _LEFT_OUT, unit="item")
                continue
            yield user_id, spend_date, cents


_DAY_CENTS = Field("spend_cents", "spendCents", CENTS)


def _cycle_start(payload: Mapping[str, Any]) -> datetime | None:
    cycle = payload.get("billingCycle")
    try:
        return instant(BILLING_GROUPS_PATH, "cycleStart", cycle.get("cycleStart")) if isinstance(cycle, dict) else None
    except ApiShapeError:
        return None


def read_directory_groups(client: CursorAdminClient, *, team: str) -> OptionalAnswer:
    """Groups of the identity provider with their limits, and who is in them now: one list of members per group."""
    groups, first = whole_list(
        DIRECTORY_GROUPS_PATH,
        "The list of directory groups",
        client.directory_group_page,
        lambda: OptionalTable("directory_groups", DIRECTORY_GROUPS_PATH, DIRECTORY_GROUP_FIELDS, _snapshot_of(team)),
        OptionalTable.add,
        keys=("id",),
    )
    path = f"{DIRECTORY_GROUPS_PATH}/{{group_id}}/members"
    oddities = Oddities(path)
    tables = [pa.Table.from_batches([], SCHEMAS["directory_group_members"])]
    for group_id in dict.fromkeys(groups.table()["directory_group_id"].to_pylist()):
        if group_id is None or not re.fullmatch(ID_PATTERN, group_id):
            oddities.note(
                "the id is missing or cannot be part of an address:", "its members are not known", unit="group"
            )
            continue
        try:
            members = _directory_group_members(client, group_id, path, team)
        except NotFoundError:
            oddities.note("not found:", "its members are not known", unit="group")
            continue
        tables.append(members.table())
        oddities.add(members.oddities)
    return OptionalAnswer(
        {"directory_groups": groups.table(), "directory_group_members": pa.concat_tables(tables)},
        first.date,
        oddities=[*groups.oddities.sentences(), *oddities.sentences()],
    )


def _directory_group_members(client: CursorAdminClient, group_id: str, path: str, team: str) -> OptionalTable:
    constants = _snapshot_of(team) | {"directory_group_id": group_id}
    members, _ = whole_list(
        path,
        "The list of members of a directory group",
        lambda page: client.directory_group_member_page(group_id, page),
        lambda: OptionalTable("directory_group_members", path, DIRECTORY_GROUP_MEMBER_FIELDS, constants),
        OptionalTable.add,
        keys=("userId", "email"),
    )
    return members


def read_repository_blocklists(client: CursorAdminClient, *, team: str) -> OptionalAnswer:
    """Repositories with what Cursor must not read of them: `patterns_json` is the list of patterns as sent."""
    answer = client.repository_blocklists()
    rows = answer.payload["repos"]
    table = OptionalTable(
        "repository_blocklists", REPOSITORY_BLOCKLISTS_PATH, REPOSITORY_BLOCKLIST_FIELDS, _snapshot_of(team)
    )
    patterns: list[str | None] = []
    rest: list[Any] = []
    for row in rows:
        has_patterns = type(row) is dict and isinstance(row.get("patterns"), list)
        patterns.append(orjson.dumps(row["patterns"]).decode() if has_patterns else None)
        rest.append({key: row[key] for key in row.keys() - {"patterns"}} if has_patterns else row)
        if type(row) is dict and not has_patterns:
            table.oddities.note("`patterns` is missing or no list in", KEPT)
    table.add(rest, patterns_json=pa.array(patterns, TEXT))
    return OptionalAnswer({"repository_blocklists": table.table()}, answer.date, oddities=table.oddities.sentences())


def read_pooled_usage(
    client: CursorAdminClient, organization_id: str, *, team: str, api_team_id: str | None = None
) -> OptionalAnswer:
    """The pool of the contract, one row per team of the organization, with the pool beside each; US cents.

    `is_own_team`: the one this is loaded for, which is `api_team_id`; where that is not known, the only one there is. A
    pool without any team is one row, whose team is null.
    """
    answer = client.pooled_usage(organization_id)
    pool = {f"pool.{key}": value for key, value in answer.payload["pool"].items()}
    teams: list[Any] = answer.payload["teams"] or [{}]
    table = OptionalTable("pooled_usage", POOLED_USAGE_PATH, POOLED_USAGE_FIELDS, _snapshot_of(team))
    is_only_one = api_team_id is None and len(answer.payload["teams"]) == 1
    own = [is_only_one or (type(entry) is dict and str(entry.get("teamId")) == api_team_id) for entry in teams]
    table.add(
        [pool | entry if type(entry) is dict else entry for entry in teams],
        is_own_team=pa.array(own, FLAG),
    )
    return OptionalAnswer({"pooled_usage": table.table()}, answer.date, oddities=table.oddities.sentences())


def _snapshot_of(team: str) -> dict[str, str]:
    return {"team": team, "snapshot_id": ""}


def _from_milliseconds(value: Any) -> datetime | None:
    """Epoch milliseconds as UTC without zone; None for anything else."""
    try:
        return datetime.fromtimestamp(value / 1000, UTC).replace(tzinfo=None) if type(value) is int else None
    except (ValueError, OverflowError, OSError):
        return None
