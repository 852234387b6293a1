"""Loading: reads what the ledger says must be read, appends it, and lets it count only when the destination holds it.

Nothing raw is ever updated or deleted, and the ledger rows written here are
the only high-water mark: killing the process at any point, or losing the working folder, loses nothing.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pendulum
import pyarrow as pa

from pipelines.config import Settings, TeamSettings
from pipelines.cursor_admin.client import CursorAdminClient
from pipelines.cursor_admin.tables import SCHEMAS
from pipelines.cursor_admin.windows import DayWindow, WindowRead, WindowReader
from pipelines.errors import ConfigError, FileError, IncompleteWindowError
from pipelines.guard import judge_day
from pipelines.landing import Landing
from pipelines.ledger import Ledger, closed_cycle_days, days_to_read, read_ledger
from pipelines.runs import Clock, Progress, file_error_message
from pipelines.snapshots import SnapshotAnswer, Verdicts, judge_snapshots, read_snapshots
from pipelines.streams import AUDIT_LOGS, AuditLogReader, StreamRead, audit_windows, stream_ledger_table

DEFAULT_HISTORY_DAYS = 90
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


def load(
    settings: Settings,
    teams: list[TeamSettings],
    *,
    clock: Clock,
    run_id: str,
    since: date | None = None,
    accept_shrink: bool = False,
    new_team: bool = False,
    progress: Progress,
) -> LoadResult:
    """Load every team into the warehouse. What was committed before an error stays.

    Raises:
        ConfigError: an unknown team slug, or dates that cannot be.
        ApiError: the API refused, failed for too long, or answered in a shape that is not known.
        LoadError: the destination does not hold what was read.
        FileError: a file or folder cannot be used.
    """
    result = LoadResult()
    working = settings.paths.build_dir / "load"
    shutil.rmtree(working, ignore_errors=True)  # of a run that was killed: its packages are dropped, never resumed
    working.mkdir(parents=True, mode=0o700)
    try:
        for team in teams:
            _TeamLoad(settings, team, clock, run_id, working, progress, result).run(since, accept_shrink, new_team)
    except OSError as error:
        raise FileError(file_error_message(error)) from error
    finally:
        shutil.rmtree(working, ignore_errors=True)
    return result


class _TeamLoad:
    """One team's load: plan, read, judge, commit."""

    def __init__(
        self,
        settings: Settings,
        team: TeamSettings,
        clock: Clock,
        run_id: str,
        working: Path,
        progress: Progress,
        result: LoadResult,
    ) -> None:
        self.settings, self.team, self.clock, self.run_id = settings, team, clock, run_id
        self.warehouse = settings.paths.warehouse
        self.progress, self.result = progress, result
        self.now = _naive(clock.now())
        self.spool_dir = Path(tempfile.mkdtemp(prefix="spool-", dir=working))
        self.landing = Landing(self.warehouse, working / f"dlt-{team.team}")
        self.read_number = 0
        self.audit_log: AuditLogReader | None = None

    def run(self, since: date | None, accept_shrink: bool, new_team: bool) -> None:
        ledger = read_ledger(self.warehouse, self.team.team)
        start_date = self._start_date(ledger, new_team)
        if since and since > self.now.date():
            raise ConfigError(f"--since {since} is in the future.")
        self.read_number = ledger.last_read_number
        if ledger.start_date is None:
            pinned = pa.table([[self.team.team], [start_date], [self.now]], schema=SCHEMAS["teams"])
            self.landing.create_tables({"teams": pinned})
        with (
            CursorAdminClient(
                api_key=self.team.api_key,
                base_url=self.team.base_url,
                rate_limit_per_minute=self.team.rate_limit_per_minute,
                rate_limit_shared=self.team.rate_limit_shared,
                rate_limit_window_seconds=self.team.rate_limit_window_seconds,
            ) as client,
            ThreadPoolExecutor(DAYS_AHEAD, "pages") as pages,
            ThreadPoolExecutor(DAYS_AHEAD + 2, "days") as days,  # snapshots and audit log are read beside them
        ):
            try:
                snapshots = days.submit(read_snapshots, client, self.team.team, start_date, ledger, self.now)
                audit_log = days.submit(self._audit_log_reader(client, ledger, start_date, since).read)
                reader = WindowReader(client, team=self.team.team, spool_dir=self.spool_dir, pool=pages)
                wanted = days_to_read(
                    ledger,
                    start_date=start_date,
                    today=self.now.date(),
                    lookback_days=self.team.lookback_days,
                    since=since,
                )
                self.progress.note(f"{self.team.team}: {len(wanted)} days to read, {wanted[-1]} to {wanted[0]}")
                self._read_days(client, reader, days, ledger, wanted, accept_shrink, snapshots)
                cycles = sorted({*ledger.cycles(), *snapshots.result().cycles()})
                later = closed_cycle_days(ledger, cycles=cycles, start_date=start_date, now=self.now)
                later = [day for day in later if day not in set(wanted)]
                if later:
                    self.progress.note(f"{self.team.team}: the closed cycle is read again, {len(later)} days")
                    self._read_days(client, reader, days, ledger, later, accept_shrink, None)
                while wait([audit_log], timeout=COMMIT_SECONDS).not_done:
                    self.progress.note(f"{self.team.team}: the audit log is still being read")
                    self._commit([], None, ledger, accept_shrink)
                self._commit([], None, ledger, accept_shrink)
                audit_log.result()
            except BaseException:
                client.close()  # wakes threads that wait for the limiter or a retry
                for executor in (days, pages):
                    executor.shutdown(wait=False, cancel_futures=True)
                raise
            finally:
                self.result.requests += client.stats.request_count
                self.result.throttled += client.stats.throttled
                self.result.retries += client.stats.retries

    def _start_date(self, ledger: Ledger, new_team: bool) -> date:
        team, today = self.team.team, self.now.date()
        if ledger.start_date is not None:
            if self.team.start_date and self.team.start_date != ledger.start_date:
                self.progress.note(
                    f"start_date was pinned to {ledger.start_date} by the first run; --since reads further back"
                )
            return ledger.start_date
        if ledger.teams and not new_team:
            known = ", ".join(sorted(ledger.teams))
            raise ConfigError(
                f"The team {team!r} is new to this warehouse, which holds {known}. If a team was renamed, everything "
                "would count twice: set SOURCES__CURSOR_ADMIN__TEAM back. If it is another one, add --new-team once."
            )
        start_date = self.team.start_date or today - timedelta(days=DEFAULT_HISTORY_DAYS)
        if start_date > today:
            raise ConfigError(f"SOURCES__CURSOR_ADMIN__START_DATE {start_date} is in the future.")
        return start_date

    def _audit_log_reader(
        self, client: CursorAdminClient, ledger: Ledger, start_date: date, since: date | None
    ) -> AuditLogReader:
        covered = ledger.streams.get(AUDIT_LOGS, [])
        windows = audit_windows(covered, start_date=start_date, now=self.now, since=since)
        self.audit_log = AuditLogReader(
            client, windows, team=self.team.team, run_id=self.run_id, now=self.now, has_answered=bool(covered)
        )
        return self.audit_log

    def _read_days(
        self,
        client: CursorAdminClient,
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
                self.progress.days(done, len(wanted), self.result.events_landed + rows, client.stats.request_count)
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
            self._commit(judged, None, ledger, accept_shrink)
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
        started = _naive(self.clock.now())
        read = reader.read(window, self._batch_id(day, 0))
        for attempt in (1, 2):  # an empty answer for a day that had rows is asked twice more
            if read.row_count or not (current and current.row_count):
                break
            read = reader.read(window, self._batch_id(day, attempt))
        answered = _naive(read.answered_at) if read.answered_at else started
        read_at = min(started, answered)
        outcome, batch_id = judge_day(read, read_at.date(), state, accept_shrink=accept_shrink)
        return _Judged(read, outcome, batch_id, read_at)

    def _batch_id(self, day: date, attempt: int) -> str:
        return f"{self.run_id}-{day:%Y%m%d}-{attempt}"

    def _commit(
        self, judged: list[_Judged], snapshots: Future[SnapshotAnswer] | None, ledger: Ledger, accept_shrink: bool
    ) -> None:
        """Rows first; ledger rows when the destination holds exactly the rows that were read."""
        team = self.team.team
        answers = snapshots.result() if snapshots else SnapshotAnswer([])
        verdicts = judge_snapshots(answers, ledger, self.warehouse, team, self.run_id, accept_shrink)
        streams = self.audit_log.take() if self.audit_log else []
        audit_batches = {read.batch_id: read.rows for read in streams if read.batch_id and read.rows is not None}
        new = [one.read for one in judged if one.is_new]
        filled = [rows for rows in audit_batches.values() if rows.num_rows]
        self.landing.append({**verdicts.tables, "audit_events": filled}, new)
        counts = {("usage_events", read.batch_id): read.row_count for read in new} | verdicts.snapshot_counts
        self.landing.check(counts | {("audit_events", key): rows.num_rows for key, rows in audit_batches.items()})
        snapshot_reads = verdicts.ledger_table(self.run_id, self.read_number)
        self.read_number += snapshot_reads.num_rows
        window_reads = self._window_rows(judged)
        stream_reads = stream_ledger_table(streams, team=team, run_id=self.run_id, last_number=self.read_number)
        self.read_number += stream_reads.num_rows
        ledgers = {"snapshot_reads": snapshot_reads, "load_windows": window_reads, "stream_reads": stream_reads}
        self.landing.append({name: [rows] for name, rows in ledgers.items() if rows.num_rows})
        for one in judged:
            one.read.path.unlink(missing_ok=True)
        self._count(judged, verdicts, streams, ledger)

    def _count(self, judged: list[_Judged], verdicts: Verdicts, streams: list[StreamRead], ledger: Ledger) -> None:
        """Tell what was committed, and what a person has to look at."""
        notices = [*verdicts.notices, *(read.notice for read in streams if read.notice)]
        for notice in notices:
            self.progress.note(notice)
        self.result.notices += notices
        self.result.audit_events_read += sum(read.rows.num_rows for read in streams if read.rows is not None)
        self.result.refused_snapshots += verdicts.refused
        for one in judged:
            self.result.days_read += 1
            self.result.days_changed += one.outcome == "landed"
            self.result.events_landed += one.read.row_count if one.is_new and one.outcome == "landed" else 0
            if one.outcome == "suspect":
                day = one.read.window.day
                before = ledger.days[day].current
                self.result.suspect_days.append(
                    f"{self.team.team}: {day} is final with {before.row_count if before else 0} events and now answers "
                    f"{one.read.row_count}: kept as it was until another date agrees. "
                    "If it is right, run with --accept-shrink."
                )
                self.progress.warn(self.result.suspect_days[-1])
        for refusal in verdicts.refused:
            self.progress.warn(refusal)

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


def _naive(moment: datetime) -> datetime:
    """UTC without zone, as everything is stored."""
    moment = pendulum.instance(moment).in_timezone("UTC")
    return datetime(
        moment.year, moment.month, moment.day, moment.hour, moment.minute, moment.second, moment.microsecond
    )
