"""Snapshots: what is asked each night (groups by cycle, members), and whether an answer may become the newest one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path

import pyarrow as pa

from pipelines.cursor_admin.client import CursorAdminClient
from pipelines.cursor_admin.errors import AuthError
from pipelines.cursor_admin.rows import billing_cycle, billing_group_tables, member_table
from pipelines.cursor_admin.tables import SCHEMAS
from pipelines.cursor_admin.windows import table_digest
from pipelines.guard import Roster, Verdict, group_roster, judge, member_roster
from pipelines.ledger import Ledger, SnapshotRead, snapshot_rows
from pipelines.streams import read_time

DATES_TO_BELIEVE = 3
MOST_CYCLES = 120  # ten years of months: a stop for an API that answers every date with the same cycle


@dataclass(frozen=True)
class Answer:
    """One answer of a snapshot route. `tables` is empty when the route is not available to this key."""

    resource: str
    tables: dict[str, pa.Table]
    read_at: datetime
    cycle: tuple[datetime, datetime] | None = None
    is_current_cycle: bool = True
    refusal: str | None = None

    def roster(self) -> Roster:
        if self.resource == "members":
            return member_roster(self.tables["members"])
        return group_roster(self.tables["billing_groups"], self.tables["billing_group_members"])


@dataclass(frozen=True)
class SnapshotAnswer:
    """Everything one run heard of groups and members."""

    answers: list[Answer]

    def cycles(self) -> list[tuple[datetime, datetime]]:
        return [answer.cycle for answer in self.answers if answer.cycle]


def read_snapshots(
    client: CursorAdminClient, team: str, start_date: date, ledger: Ledger, now: datetime
) -> SnapshotAnswer:
    """Members, the current and the previous billing cycle, and every cycle since groups were last read.

    Raises:
        AuthError: members are refused; or groups, when that route ever answered before. Groups that never answered
            belong to a plan without them: everybody stays in Unassigned.
    """
    answer = client.members()
    members = Answer(
        "members", {"members": member_table(answer.payload, team=team, snapshot_id="")}, read_time(answer.date, now)
    )
    accepted = [read.read_at for read in ledger.snapshots.get("billing_groups", []) if read.is_accepted]
    back_to = max(accepted).date() if accepted else start_date  # missed nights hide no cycle
    try:
        groups = list(_group_answers(client, team, back_to, now))
    except AuthError as error:
        if accepted:
            raise
        groups = [Answer("billing_groups", {}, now, refusal=str(error))]
    return SnapshotAnswer([*groups, members])


def _group_answers(client: CursorAdminClient, team: str, back_to: date, now: datetime) -> Iterator[Answer]:
    asked: date | None = None
    seen: set[datetime] = set()
    for number in range(MOST_CYCLES):
        answer = client.billing_groups(asked)
        cycle = billing_cycle(answer.payload)
        if cycle and cycle[0] in seen:
            return
        groups, entries = billing_group_tables(answer.payload, team=team, snapshot_id="")
        tables = {"billing_groups": groups, "billing_group_members": entries}
        yield Answer("billing_groups", tables, read_time(answer.date, now), cycle, number == 0)
        if cycle is None:
            return  # without its dates, no earlier cycle can be named
        seen.add(cycle[0])
        if number >= 1 and cycle[0].date() <= back_to:
            return
        asked = (cycle[0] - timedelta(days=1)).date()


@dataclass
class Verdicts:
    """What becomes of a run's snapshots: rows to append, and their ledger rows (without number and run)."""

    tables: dict[str, list[pa.Table]] = field(default_factory=dict)
    rows: list[dict[str, object]] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    snapshot_counts: dict[tuple[str, str], int] = field(default_factory=dict)

    def add(self, others: Verdicts) -> None:
        """Put what becomes of other snapshots beside it."""
        for name, tables in others.tables.items():
            self.tables.setdefault(name, []).extend(tables)
        self.rows += others.rows
        self.notices += others.notices
        self.refused += others.refused
        self.snapshot_counts |= others.snapshot_counts

    def ledger_table(self, run_id: str, last_number: int) -> pa.Table:
        numbered = [
            row | {"read_number": number, "read_id": f"{run_id}-{number}", "run_id": run_id}
            for number, row in enumerate(self.rows, start=last_number + 1)
        ]
        return pa.Table.from_pylist(numbered, schema=SCHEMAS["snapshot_reads"])


def judge_snapshots(
    answered: SnapshotAnswer, ledger: Ledger, warehouse: Path, team: str, run_id: str, accept_shrink: bool
) -> Verdicts:
    """Decide for each answer: new content, unchanged, or refused by the shrink guard.

    A content refused on earlier dates and seen on the third is accepted with effect from the first refusal: the
    refused reads are appended to the ledger once more, as landed, with the time they were read.
    """
    verdicts = Verdicts()
    for number, answer in enumerate(answered.answers):
        earlier = ledger.snapshots.get(answer.resource, [])
        if answer.refusal is not None:
            verdicts.rows.append(_row(team, answer, None, "unavailable", 0, 0, detail=answer.refusal))
            verdicts.notices.append(
                f"{team}: no billing groups for this key: everybody stays in Unassigned and billing cycles are "
                f"calendar months where member spend names none. {answer.refusal}"
            )
            continue
        same_cycle = [read for read in earlier if read.cycle_start_at == (answer.cycle[0] if answer.cycle else None)]
        line = same_cycle if not answer.is_current_cycle else [read for read in earlier if read.is_current_cycle]
        last = next((read for read in reversed(same_cycle) if read.is_accepted), None) or next(
            (read for read in reversed(line) if read.is_accepted), None
        )
        roster = answer.roster()
        verdict = Verdict() if accept_shrink else judge(roster, _stored_roster(warehouse, team, answer.resource, last))
        digest = table_digest(*answer.tables.values())
        row_count = sum(table.num_rows for table in answer.tables.values())
        outcome, accepted = "landed", verdict.reason is None
        if not accepted:
            streak = _streak(line, last, verdict)
            dates = {read.read_at.date() for read in streak} | {answer.read_at.date()}
            accepted = len(dates) >= DATES_TO_BELIEVE
            if accepted:
                verdicts.rows += [_again(team, answer.resource, read) for read in streak]
            else:
                outcome = "refused"
                verdicts.refused.append(
                    f"{team}: {answer.resource} answered with {verdict.reason}: refused, the last accepted one stays "
                    f"(seen on {len(dates)} of {DATES_TO_BELIEVE} dates). If it is right, run with --accept-shrink."
                )
        stored = next((read for read in reversed(same_cycle) if read.digest == digest and read.snapshot_id), None)
        if stored is not None and accepted and last is not None and last.digest == digest:
            outcome = "unchanged"
        snapshot_id = (stored.snapshot_id if stored else None) or f"{run_id}-{answer.resource}-{number}"
        if stored is None:
            for name, table in answer.tables.items():
                verdicts.tables.setdefault(name, []).append(with_snapshot_id(table, snapshot_id))
                verdicts.snapshot_counts[(name, snapshot_id)] = table.num_rows
        verdicts.rows.append(
            _row(
                team,
                answer,
                snapshot_id,
                outcome,
                row_count,
                roster.member_count,
                digest,
                verdict.digest,
                verdict.reason,
            )
        )
    return verdicts


def with_snapshot_id(table: pa.Table, snapshot_id: str) -> pa.Table:
    """The rows of an answer under the id of the snapshot they become."""
    column = table.schema.get_field_index("snapshot_id")
    return table.set_column(column, "snapshot_id", pa.repeat(pa.scalar(snapshot_id, pa.string()), table.num_rows))


def _streak(line: list[SnapshotRead], last: SnapshotRead | None, verdict: Verdict) -> list[SnapshotRead]:
    """Refusals of the same content since the last accepted answer."""
    since = last.read_number if last else 0
    return [r for r in line if r.outcome == "refused" and r.read_number > since and r.guard_digest == verdict.digest]


def _stored_roster(warehouse: Path, team: str, resource: str, read: SnapshotRead | None) -> Roster | None:
    if read is None or read.snapshot_id is None:
        return None
    if resource == "members":
        return member_roster(snapshot_rows(warehouse, "members", team, read.snapshot_id))
    return group_roster(
        snapshot_rows(warehouse, "billing_groups", team, read.snapshot_id),
        snapshot_rows(warehouse, "billing_group_members", team, read.snapshot_id),
    )


def _row(
    team: str,
    answer: Answer,
    snapshot_id: str | None,
    outcome: str,
    row_count: int,
    member_count: int,
    digest: str | None = None,
    guard_digest: str | None = None,
    detail: str | None = None,
) -> dict[str, object]:
    return {
        "team": team,
        "resource": answer.resource,
        "cycle_start_at": answer.cycle[0] if answer.cycle else None,
        "cycle_end_at": answer.cycle[1] if answer.cycle else None,
        "is_current_cycle": answer.is_current_cycle,
        "snapshot_id": snapshot_id,
        "outcome": outcome,
        "row_count": row_count,
        "current_member_count": member_count,
        "digest": digest,
        "guard_digest": guard_digest,
        "detail": detail,
        "read_at": answer.read_at,
    }


def _again(team: str, resource: str, read: SnapshotRead) -> dict[str, object]:
    """A refused read, now accepted: same content, same time."""
    return {
        "team": team,
        "resource": resource,
        "cycle_start_at": read.cycle_start_at,
        "cycle_end_at": read.cycle_end_at,
        "is_current_cycle": read.is_current_cycle,
        "snapshot_id": read.snapshot_id,
        "outcome": "landed",
        "row_count": read.row_count,
        "current_member_count": read.current_member_count,
        "digest": read.digest,
        "guard_digest": read.guard_digest,
        "detail": f"accepted later: {read.detail}",
        "read_at": read.read_at,
    }
