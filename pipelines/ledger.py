"""What the warehouse knows, and which days must be read: both derived from the ledgers that lie with the data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import pendulum
import pyarrow as pa

from pipelines.cursor_admin.windows import days_between
from pipelines.errors import FileError

FINAL_AFTER = timedelta(hours=48)
ACCEPTED = ("landed", "unchanged")


@dataclass(frozen=True)
class Version:
    """One stored content of a day: the batch that holds it, and what it adds up to."""

    batch_id: str
    row_count: int
    digest: str


@dataclass(frozen=True)
class DayState:
    """A day in the ledger: its newest accepted version, and the `suspects` refused since then with their dates."""

    current: Version | None
    last_read_at: datetime | None
    suspects: tuple[tuple[date, Version], ...] = ()

    def is_final(self, day: date) -> bool:
        """Read completely at least 48 hours after its end."""
        return self.last_read_at is not None and self.last_read_at >= end_of(day) + FINAL_AFTER


@dataclass(frozen=True)
class SnapshotRead:
    """One ledger row of a snapshot; `read_number` orders all reads of a warehouse."""

    cycle_start_at: datetime | None
    cycle_end_at: datetime | None
    is_current_cycle: bool
    read_number: int
    snapshot_id: str | None
    outcome: str
    row_count: int
    current_member_count: int
    digest: str | None
    guard_digest: str | None
    detail: str | None
    read_at: datetime

    @property
    def is_accepted(self) -> bool:
        return self.outcome in ACCEPTED


@dataclass(frozen=True)
class Ledger:
    """One team's state in the warehouse. `exists` is False for a folder that was never loaded.

    `streams` holds the windows that were read completely, from and to before (UTC), by resource; `unavailable` the
    resources whose refusal was ever written down.
    """

    exists: bool = False
    teams: frozenset[str] = frozenset()
    start_date: date | None = None
    last_read_number: int = 0
    days: Mapping[date, DayState] = field(default_factory=dict)
    snapshots: Mapping[str, list[SnapshotRead]] = field(default_factory=dict)
    streams: Mapping[str, list[tuple[datetime, datetime]]] = field(default_factory=dict)
    unavailable: frozenset[str] = frozenset()

    def has_answered(self, resource: str) -> bool:
        """Whether an answer of a snapshot or stream route was ever accepted: a refusal since then is a mistake."""
        return bool(self.streams.get(resource)) or any(read.is_accepted for read in self.snapshots.get(resource, []))

    def cycles(self) -> list[tuple[datetime, datetime]]:
        """Billing cycles that answers told of, oldest first: groups, or where these tell none, member spend.

        Spend tells where a cycle starts: it ends with the next one, or after a month; and one ended there.
        """
        reads = self.snapshots.get("billing_groups", [])
        if told := {(r.cycle_start_at, r.cycle_end_at) for r in reads if r.cycle_start_at and r.cycle_end_at}:
            return sorted(told)
        spend = self.snapshots.get("member_spend", [])
        starts = sorted({r.cycle_start_at for r in spend if r.is_accepted and r.cycle_start_at})
        if not starts:
            return []
        starts = [_months_after(starts[0], -1), *starts, _months_after(starts[-1], 1)]
        return [(start, min(end, _months_after(start, 1))) for start, end in pairwise(starts)]


def _months_after(moment: datetime, months: int) -> datetime:
    day = pendulum.date(moment.year, moment.month, moment.day).add(months=months)
    return datetime.combine(date(day.year, day.month, day.day), moment.time())


def end_of(day: date) -> datetime:
    """The first instant after a UTC day, without zone."""
    return datetime.combine(day + timedelta(days=1), time.min)


@contextmanager
def open_warehouse(path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """The warehouse, read-only. Raises FileError when the file is not a DuckDB database, or not this project's."""
    try:
        connection = duckdb.connect(str(path), read_only=True)
    except duckdb.Error as error:
        if "lock" in str(error).lower():
            reason = "is in use by another program. Close that program and run again"
        else:
            reason = "is not a DuckDB file, or is damaged. Move it away and restore your backup"
        raise FileError(f"{path} {reason}; nothing was changed.") from None
    try:
        connection.execute("set TimeZone = 'UTC'")
        tables = {
            row[0]
            for row in connection.execute("select table_name from duckdb_tables() where schema_name = 'raw'").fetchall()
        }
        anything = connection.execute("select count(*) from duckdb_tables()").fetchone()
        if not tables and anything and anything[0]:
            raise FileError(f"{path} is a DuckDB file of something else. Move it away, or set CHARGEBACK__DATA_DIR.")
        yield connection
    finally:
        connection.close()


_DAYS = """
with reads as (
    select *, outcome in ('landed', 'unchanged') as is_accepted
    from raw.load_windows
    where team = ? and resource = 'usage_events'
),
current_reads as (
    select usage_date, max(read_number) as read_number, max(read_at) as read_at
    from reads where is_accepted group by usage_date
)
select
    reads.usage_date, reads.is_accepted, reads.batch_id, reads.row_count, reads.digest, cast(reads.read_at as date),
    current_reads.read_at
from reads
left join current_reads on reads.usage_date = current_reads.usage_date
where
    (reads.is_accepted and reads.read_number = current_reads.read_number)
    or (not reads.is_accepted and reads.read_number > coalesce(current_reads.read_number, 0))
order by reads.read_number
"""


def read_ledger(path: Path, team: str) -> Ledger:
    """Everything a run must know before it asks the API. Raises FileError for a file that is not ours."""
    if not path.exists():
        return Ledger()
    with open_warehouse(path) as connection:
        names = {
            row[0]
            for row in connection.execute("select table_name from duckdb_tables() where schema_name = 'raw'").fetchall()
        }
        if "teams" not in names:
            return Ledger()

        def query(sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
            return connection.execute(sql, parameters).fetchall()

        starts = dict(query("select team, min(start_date) from raw.teams group by team"))
        last_number = query(
            "select greatest((select coalesce(max(read_number), 0) from raw.load_windows), "
            "(select coalesce(max(read_number), 0) from raw.snapshot_reads), "
            "(select coalesce(max(read_number), 0) from raw.stream_reads))"
        )[0][0]
        streams: dict[str, list[tuple[datetime, datetime]]] = {}
        unavailable: set[str] = set()
        for resource, outcome, start, end in query(
            "select resource, outcome, window_start_at, window_end_at from raw.stream_reads "
            "where team = ? order by read_number",
            team,
        ):
            if outcome in ACCEPTED:
                streams.setdefault(resource, []).append((start, end))
            elif outcome == "unavailable":
                unavailable.add(resource)
        days: dict[date, DayState] = {}
        for day, accepted, batch_id, row_count, digest, read_on, last_read_at in query(_DAYS, team):
            state = days.get(day, DayState(None, last_read_at))
            version = Version(batch_id, row_count, digest)
            if accepted:
                days[day] = DayState(version, last_read_at, state.suspects)
            else:
                days[day] = DayState(state.current, last_read_at, (*state.suspects, (read_on, version)))
        snapshots: dict[str, list[SnapshotRead]] = {}
        for resource, *values in query(
            "select resource, cycle_start_at, cycle_end_at, is_current_cycle, read_number, snapshot_id, outcome, "
            "row_count, current_member_count, digest, guard_digest, detail, read_at "
            "from raw.snapshot_reads where team = ? order by read_number",
            team,
        ):
            snapshots.setdefault(resource, []).append(SnapshotRead(*values))
        unavailable |= {
            name for name, reads in snapshots.items() if any(read.outcome == "unavailable" for read in reads)
        }
        return Ledger(
            exists=True,
            teams=frozenset(starts),
            start_date=starts.get(team),
            last_read_number=last_number,
            days=days,
            snapshots=snapshots,
            streams=streams,
            unavailable=frozenset(unavailable),
        )


def snapshot_rows(path: Path, table: str, team: str, snapshot_id: str) -> pa.Table:
    """The stored rows of one snapshot, to compare a new answer with. `table` is one of ours."""
    with open_warehouse(path) as connection:
        sql = f"select * from raw.{table} where team = ? and snapshot_id = ?"
        return connection.execute(sql, (team, snapshot_id)).fetch_arrow_table()


def days_to_read(
    ledger: Ledger, *, start_date: date, today: date, lookback_days: int, since: date | None = None
) -> list[date]:
    """The open day, every day that is not final, the last `lookback_days` closed days, and those from `since` on.

    Newest first: in a backfill, yesterday is there after the first minute.
    """
    first = min(start_date, since) if since else start_date
    recent = today - timedelta(days=lookback_days)
    wanted = [
        day
        for day in days_between(first, today)
        if day >= recent or (since and day >= since) or not ledger.days.get(day, DayState(None, None)).is_final(day)
    ]
    return wanted[::-1]


def closed_cycle_days(
    ledger: Ledger, *, cycles: list[tuple[datetime, datetime]], start_date: date, now: datetime
) -> list[date]:
    """Days of the last closed billing cycle that were not read since 48 hours after that cycle's end; newest first.

    Empty until those 48 hours are over: an earlier read would have to be repeated. Without a known cycle, calendar
    months are assumed.
    """
    closed = [cycle for cycle in cycles if cycle[1] <= now]
    if closed:
        cycle_start, cycle_end = closed[-1]
    elif cycles:
        return []
    else:
        cycle_end = datetime(now.year, now.month, 1)
        cycle_start = (cycle_end - timedelta(days=1)).replace(day=1)
    settled = cycle_end + FINAL_AFTER
    if now < settled:
        return []
    days = days_between(max(cycle_start.date(), start_date), (cycle_end - timedelta(microseconds=1)).date())
    return [day for day in days if (ledger.days.get(day, DayState(None, None)).last_read_at or datetime.min) < settled][
        ::-1
    ]
