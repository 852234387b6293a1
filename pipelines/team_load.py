"""Loading one team: reads what the ledger says must be read, appends it, and lets it count only when the destination
holds it.

Nothing raw is ever updated or deleted, and the ledger rows written here are
the only high-water mark: killing the process at any point, or losing the working folder, loses nothing.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path

import pendulum
import pyarrow as pa

from pipelines.config import Settings, TeamSettings
from pipelines.cursor_admin.client import CursorAdminClient
from pipelines.cursor_admin.tables import SCHEMAS
from pipelines.cursor_admin.windows import DayWindow, WindowRead, WindowReader
from pipelines.errors import IncompleteWindowError
from pipelines.guard import judge_day, nearest_earlier_day
from pipelines.landing import Landing
from pipelines.ledger import Ledger, closed_cycle_days, days_to_read, read_ledger
from pipelines.optional import Finished, OptionalReader, judge_optional
from pipelines.runs import Clock, Progress
from pipelines.snapshots import SnapshotAnswer, Verdicts, judge_snapshots, read_snapshots
from pipelines.streams import AUDIT_LOGS, AuditLogReader, StreamRead, audit_windows, stream_ledger_table

DAYS_AHEAD = 3  # days read side by side: enough to keep a limiter of one request a second busy at three seconds each
COMMIT_ROWS = 100_000
COMMIT_SECONDS = 45.0


@dataclass
class LoadResult:
    """What one load did, over all teams. Counts, plus what a person has to look at."""

    days_read: int = 0
    days_changed: int = 0
    events_landed: int = 0
    audit_events_read: int = 0
    requests: int = 0
    throttled: int = 0
    retries: int = 0
    notices: list[str] = field(default_factory=list)
    failed_teams: list[str] = field(default_factory=list)
    failed_routes: list[str] = field(default_factory=list)
    refused_snapshots: list[str] = field(default_factory=list)
    suspect_days: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Judged:
    """A day that was read, what became of it, and the batch that holds its rows."""

    read: WindowRead
    outcome: str
    batch_id: str
    read_at: datetime

    @property
    def is_new(self) -> bool:
        return self.batch_id == self.read.batch_id


class TeamLoad:
    """One team's load: plan, read, judge, commit.

    Raises:
        RefusedRequestError: its key or its address cannot be used.
    """

    def __init__(
        self, settings: Settings, team: TeamSettings, clock: Clock, run_id: str, progress: Progress, result: LoadResult
    ) -> None:
        self.settings, self.team, self.clock, self.run_id = settings, team, clock, run_id
        self.batch_prefix = f"{run_id}-{team.team}"  # every team of a run reads the same days
        self.warehouse = settings.paths.warehouse
        self.progress, self.result = progress, result
        self.now = naive(clock.now())
        self.client = CursorAdminClient(
            api_key=team.api_key,
            organization_api_key=team.organization_api_key,
            base_url=team.base_url,
            rate_limit_per_minute=team.rate_limit_per_minute,
            rate_limit_shared=team.rate_limit_shared,
            rate_limit_window_seconds=team.rate_limit_window_seconds,
        )
        self.read_number = 0
        self.audit_log: AuditLogReader | None = None
        self.optional: OptionalReader | None = None

    def run(self, working: Path, since: date | None, accept_shrink: bool) -> None:
        """Load the team, which is pinned in the warehouse by now. What was committed before an error stays.

        Raises:
            ApiError: the API refused, failed for too long, or answered in a shape that is not known.
            LoadError: the destination does not hold what was read.
            FileError: a file or folder cannot be used.
        """
        ledger = read_ledger(self.warehouse, self.team.team)
        assert ledger.start_date is not None
        self.read_number = ledger.last_read_number
        self.spool_dir = Path(tempfile.mkdtemp(prefix="spool-", dir=working))
        self.landing = Landing(self.warehouse, working / f"dlt-{self.team.team}")
        with (
            self.client,
            ThreadPoolExecutor(DAYS_AHEAD, "pages") as pages,
            # beside the days, each on a thread of its own: snapshots, audit log, what is optional, details of groups
            ThreadPoolExecutor(DAYS_AHEAD + 4, "days") as days,
        ):
            try:
                self._load(ledger, ledger.start_date, pages, days, since, accept_shrink)
            except BaseException:
                self.client.close()  # wakes threads that wait for the limiter or a retry
                for executor in (days, pages):
                    executor.shutdown(wait=False, cancel_futures=True)
                raise
            finally:
                self.result.requests += self.client.stats.request_count
                self.result.throttled += self.client.stats.throttled
                self.result.retries += self.client.stats.retries

    def _load(
        self,
        ledger: Ledger,
        start_date: date,
        pages: ThreadPoolExecutor,
        days: ThreadPoolExecutor,
        since: date | None,
        accept_shrink: bool,
    ) -> None:
        team, today = self.team.team, self.now.date()
        snapshots = days.submit(read_snapshots, self.client, team, start_date, ledger, self.now)
        audit_log = days.submit(self._audit_log_reader(ledger, start_date, since).read)
        self.optional = optional = OptionalReader(
            self.client,
            self.team,
            ledger,
            start_date=start_date,
            since=since,
            batch_prefix=self.batch_prefix,
            now=self.now,
        )
        beside = {
            "the audit log": audit_log,
            "the optional routes": days.submit(optional.read),
            "the details of billing groups": days.submit(optional.read_details, snapshots),
        }
        reader = WindowReader(self.client, team=team, spool_dir=self.spool_dir, pool=pages)
        wanted = days_to_read(
            ledger, start_date=start_date, today=today, lookback_days=self.team.lookback_days, since=since
        )
        self.progress.note(f"{team}: {len(wanted)} days to read, {wanted[-1]} to {wanted[0]}")
        self._read_days(reader, days, ledger, wanted, accept_shrink, snapshots)
        cycles = sorted({*ledger.cycles(), *snapshots.result().cycles()})
        later = closed_cycle_days(ledger, cycles=cycles, start_date=start_date, now=self.now)
        later = [day for day in later if day not in set(wanted)]
        if later:
            self.progress.note(f"{team}: the closed cycle is read again, {len(later)} days")
            self._read_days(reader, days, ledger, later, accept_shrink, None)
        while wait(beside.values(), timeout=COMMIT_SECONDS).not_done:
            names = [name for name, future in beside.items() if not future.done()]
            self.progress.note(f"{team}: {' and '.join(names)} still to be read")
            self._commit([], None, ledger, accept_shrink)
        self._commit([], None, ledger, accept_shrink)
        for future in beside.values():
            future.result()
        if optional.refusal is not None:
            raise optional.refusal

    def _audit_log_reader(self, ledger: Ledger, start_date: date, since: date | None) -> AuditLogReader:
        covered = ledger.streams.get(AUDIT_LOGS, [])
        windows = audit_windows(covered, start_date=start_date, now=self.now, since=since)
        self.audit_log = AuditLogReader(
            self.client,
            windows,
            team=self.team.team,
            run_id=self.batch_prefix,
            now=self.now,
            has_answered=bool(covered),
        )
        return self.audit_log

    def _read_days(
        self,
        reader: WindowReader,
        executor: ThreadPoolExecutor,
        ledger: Ledger,
        wanted: list[date],
        accept_shrink: bool,
        snapshots: Future[SnapshotAnswer] | None,
    ) -> None:
        """Read, judge and commit in chunks. On an error, what was read completely is committed first."""
        judged: list[_Judged] = []
        pending, committed_at = snapshots, time.monotonic()
        rows = done = 0
        try:
            for day_reads in self._reads(reader, executor, ledger, wanted, accept_shrink):
                done += 1
                judged += day_reads
                rows += sum(one.read.row_count for one in day_reads if one.is_new)
                self.progress.days(done, len(wanted), self.result.events_landed + rows, self.client.stats.request_count)
                if rows >= COMMIT_ROWS or time.monotonic() - committed_at >= COMMIT_SECONDS:
                    ready, pending = (pending, None) if pending is not None and pending.done() else (None, pending)
                    chunk, judged, rows = (
                        judged,
                        [],
                        0,
                    )  # taken out first: what failed to be written is not written twice
                    self._commit(chunk, ready, ledger, accept_shrink)
                    committed_at = time.monotonic()
        except Exception:
            self._commit(judged, None, ledger, accept_shrink, is_failing=True)
            raise
        self._commit(judged, pending, ledger, accept_shrink)

    def _reads(
        self,
        reader: WindowReader,
        executor: ThreadPoolExecutor,
        ledger: Ledger,
        wanted: list[date],
        accept_shrink: bool,
    ) -> Iterator[list[_Judged]]:
        """Days in the wanted order, `DAYS_AHEAD` of them on their way at a time."""
        waiting: list[tuple[date, Future[_Judged]]] = []
        ahead = iter(wanted)
        while True:
            while len(waiting) < DAYS_AHEAD and (day := next(ahead, None)) is not None:
                waiting.append((day, executor.submit(self._read_day, reader, ledger, day, accept_shrink)))
            if not waiting:
                return
            day, future = waiting.pop(0)
            try:
                yield [future.result()]
            except IncompleteWindowError as error:
                if day != self.now.date():
                    raise
                self.progress.note(f"the open day is left for the next run: {error}")  # not worth a mail
                yield []

    def _read_day(self, reader: WindowReader, ledger: Ledger, day: date, accept_shrink: bool) -> _Judged:
        """One day, read until its answer can be judged."""
        state = ledger.days.get(day)
        current = state.current if state else None
        window = DayWindow(day, until=self.now.replace(tzinfo=UTC) if day == self.now.date() else None)
        started = naive(self.clock.now())
        read = reader.read(window, self._batch_id(day, 0))
        for attempt in (1, 2):  # an empty answer for a day that had rows is asked twice more
            if read.row_count or not (current and current.row_count):
                break
            read = reader.read(window, self._batch_id(day, attempt))
        answered = naive(read.answered_at) if read.answered_at else started
        read_at = min(started, answered)
        outcome, batch_id = judge_day(
            read,
            read_at.date(),
            state,
            accept_shrink=accept_shrink,
            is_history_served=lambda: self._is_history_served(ledger, day),
        )
        return _Judged(read, outcome, batch_id, read_at)

    def _is_history_served(self, ledger: Ledger, day: date) -> bool:
        """Whether the API still shows events of the nearest earlier day that has some here: one request says."""
        earlier = nearest_earlier_day(ledger.days, day)
        if earlier is None:
            return False
        window = DayWindow(earlier)
        return self.client.usage_event_page(window.start_ms, window.end_ms, 1, page_size=1).total_count > 0

    def _batch_id(self, day: date, attempt: int) -> str:
        return f"{self.batch_prefix}-{day:%Y%m%d}-{attempt}"

    def _commit(
        self,
        judged: list[_Judged],
        snapshots: Future[SnapshotAnswer] | None,
        ledger: Ledger,
        accept_shrink: bool,
        is_failing: bool = False,
    ) -> None:
        """Rows first; ledger rows when the destination holds exactly the rows that were read."""
        team = self.team.team
        answers = snapshots.result() if snapshots else SnapshotAnswer([])
        verdicts = judge_snapshots(answers, ledger, self.warehouse, team, self.batch_prefix, accept_shrink)
        optional = self.optional.take() if self.optional else Finished()
        audit_log = self.audit_log.take() if self.audit_log else []
        if is_failing:
            optional, audit_log = optional.answered(), [read for read in audit_log if read.outcome == "landed"]
        verdicts.add(judge_optional(optional.snapshots, ledger, team, self.batch_prefix))
        streams = [*audit_log, *optional.streams]
        tables, counts = dict(verdicts.tables), dict(verdicts.snapshot_counts)
        for read in streams:
            if read.batch_id is not None and read.rows is not None:
                counts[read.table, read.batch_id] = read.rows.num_rows
                tables[read.table] = [*tables.get(read.table, []), read.rows]
        new = [one.read for one in judged if one.is_new]
        self.landing.append({name: _filled(found) for name, found in tables.items()}, new)
        self.landing.check(counts | {("usage_events", read.batch_id): read.row_count for read in new})
        snapshot_reads = verdicts.ledger_table(self.run_id, self.read_number)
        self.read_number += snapshot_reads.num_rows
        window_reads = self._window_rows(judged)
        stream_reads = stream_ledger_table(streams, team=team, run_id=self.run_id, last_number=self.read_number)
        self.read_number += stream_reads.num_rows
        ledgers = {"snapshot_reads": snapshot_reads, "load_windows": window_reads, "stream_reads": stream_reads}
        self.landing.append({name: [rows] for name, rows in ledgers.items() if rows.num_rows})
        for one in judged:
            one.read.path.unlink(missing_ok=True)
        self._count_beside(verdicts, streams, optional)
        self._count_days(judged, ledger)

    def _count_beside(self, verdicts: Verdicts, streams: list[StreamRead], optional: Finished) -> None:
        """Tell what became of everything but the days, and what a person has to look at."""
        notices = [*verdicts.notices, *(read.notice for read in streams if read.notice), *optional.notices]
        for notice in notices:
            self.progress.note(notice)
        self.result.notices += notices
        self.result.audit_events_read += sum(
            read.rows.num_rows for read in streams if read.rows is not None and read.resource == AUDIT_LOGS
        )
        self.result.refused_snapshots += verdicts.refused
        self.result.failed_routes += optional.failed
        for warning in [*verdicts.refused, *optional.failed, *optional.warnings]:
            self.progress.warn(warning)

    def _count_days(self, judged: list[_Judged], ledger: Ledger) -> None:
        for one in judged:
            self.result.days_read += 1
            self.result.days_changed += one.outcome == "landed"
            self.result.events_landed += one.read.row_count if one.is_new and one.outcome == "landed" else 0
            if one.outcome == "suspect":
                day = one.read.window.day
                before = ledger.days[day].current
                self.result.suspect_days.append(
                    f"{self.team.team}: {day} is final with {before.row_count if before else 0} events and now answers "
                    f"{one.read.row_count}: kept as it was until another date agrees"
                    f"{'' if one.read.row_count else ' while an earlier day is still served'}. "
                    "If it is right, run with --accept-shrink."
                )
                self.progress.warn(self.result.suspect_days[-1])

    def _window_rows(self, judged: list[_Judged]) -> pa.Table:
        rows = []
        for one in judged:
            self.read_number += 1
            rows.append(
                {
                    "team": self.team.team,
                    "resource": "usage_events",
                    "read_id": f"{self.run_id}-{self.read_number}",
                    "read_number": self.read_number,
                    "usage_date": one.read.window.day,
                    "batch_id": one.batch_id,
                    "outcome": one.outcome,
                    "announced_count": one.read.announced_count,
                    "row_count": one.read.row_count,
                    "charged_cents": one.read.charged_cents,
                    "digest": one.read.digest,
                    "read_at": one.read_at,
                    "run_id": self.run_id,
                }
            )
        return pa.Table.from_pylist(rows, schema=SCHEMAS["load_windows"])


def _filled(tables: list[pa.Table]) -> list[pa.Table]:
    return [table for table in tables if table.num_rows]


def naive(moment: datetime) -> datetime:
    """UTC without zone, as everything is stored."""
    moment = pendulum.instance(moment).in_timezone("UTC")
    return datetime(
        moment.year, moment.month, moment.day, moment.hour, moment.minute, moment.second, moment.microsecond
    )
