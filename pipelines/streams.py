"""Streams: records of days, read in windows that overlap. Which windows a run asks for, and what became of them."""

from __future__ import annotations

import queue
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TypeVar

import pyarrow as pa

from pipelines.cursor_admin.audit_logs import AuditWindow, read_audit_window
from pipelines.cursor_admin.client import CursorAdminClient
from pipelines.cursor_admin.errors import AuthError, IncompleteWindowError
from pipelines.cursor_admin.settings import AUDIT_LOGS_WINDOW_DAYS
from pipelines.cursor_admin.tables import SCHEMAS
from pipelines.cursor_admin.windows import days_between

AUDIT_LOGS = "audit_logs"
# The raw table of each stream.
STREAM_TABLES = {AUDIT_LOGS: "audit_events", "daily_usage": "daily_usage", "ai_commits": "ai_commits"}
OVERLAP = timedelta(days=1)  # what is written to the log late, is written within the day

Finished = TypeVar("Finished")


@dataclass(frozen=True)
class StreamRead:
    """One window that was asked for, from `start_at` to before `end_at`, UTC without zone.

    `outcome` is None for an open window that is left for the next run.
    """

    resource: str
    start_at: datetime
    end_at: datetime
    outcome: str | None
    read_at: datetime
    batch_id: str | None = None
    rows: pa.Table | None = None
    detail: str | None = None
    notice: str | None = None

    @property
    def table(self) -> str:
        return STREAM_TABLES[self.resource]


def audit_windows(
    covered: Iterable[tuple[datetime, datetime]], *, start_date: date, now: datetime, since: date | None = None
) -> list[AuditWindow]:
    """What to ask for tonight, oldest first: from a day before the last covered instant to `now`, by whole days.

    `covered` are the windows that were ever read. What counts as covered ends at the first hole, so a first run that
    was interrupted is continued. Cut at midnight, like the days of usage events: what ends there is closed. Times are
    UTC without zone.
    """
    windows = sorted(covered)
    first = min([datetime.combine(start_date, time.min), *(start for start, _ in windows)])
    reached = first
    for start, end in windows:
        if start > reached:
            break
        reached = max(reached, end)
    begin = max(first, datetime.combine((reached - OVERLAP).date(), time.min))
    if since:
        begin = min(begin, datetime.combine(since, time.min))
    midnight = datetime.combine(now.date(), time.min)
    wanted = []
    while begin < midnight:
        end = min(begin + timedelta(days=AUDIT_LOGS_WINDOW_DAYS), midnight)
        wanted.append(AuditWindow(begin, end))
        begin = end
    return [*wanted, AuditWindow(begin, now, is_open=True)] if begin < now else wanted


class AuditLogReader:
    """Reads windows on a thread of its own; what is finished is taken by the one that writes.

    Args:
        has_answered: the route let this team in before, so that a refusal is a mistake and not the plan.
    """

    def __init__(
        self,
        client: CursorAdminClient,
        windows: list[AuditWindow],
        *,
        team: str,
        run_id: str,
        now: datetime,
        has_answered: bool,
    ) -> None:
        self._client, self._windows, self._team, self._run_id, self._now = client, windows, team, run_id, now
        self._has_answered = has_answered
        self._finished: queue.SimpleQueue[StreamRead] = queue.SimpleQueue()

    def read(self) -> None:
        """All windows, oldest first.

        Raises:
            AuthError: refused, although the route answered before. A route that never answered belongs to a plan
                without it: seats then rest on snapshots of the roster alone.
            IncompleteWindowError: a closed window moved while it was read, three times in a row.
        """
        for window in self._windows:
            try:
                self._finished.put(self._read(window))
            except AuthError as error:
                if self._has_answered:
                    raise
                notice = (
                    f"{self._team}: no audit log for this key: seats rest on snapshots of the roster alone. {error}"
                )
                asked = (AUDIT_LOGS, window.start_at, self._now)
                self._finished.put(StreamRead(*asked, "unavailable", self._now, detail=str(error), notice=notice))
                return
            self._has_answered = True

    def _read(self, window: AuditWindow) -> StreamRead:
        batch_id = f"{self._run_id}-{AUDIT_LOGS}-{window.start_at:%Y%m%d}"
        asked = (AUDIT_LOGS, window.start_at, window.end_at)
        try:
            read = read_audit_window(self._client, window, team=self._team, batch_id=batch_id)
        except IncompleteWindowError as error:
            if not window.is_open:
                raise
            notice = f"the open day of the audit log is left for the next run: {error}"
            return StreamRead(*asked, None, self._now, notice=notice)
        return StreamRead(*asked, "landed", read_time(read.answered_at, self._now), batch_id, read.rows)

    def take(self) -> list[StreamRead]:
        """What was finished since the last call."""
        return drain(self._finished)


def drain(finished: queue.SimpleQueue[Finished]) -> list[Finished]:
    """Everything that lies in the queue now. For one thread only: what is there stays there."""
    taken = []
    while not finished.empty():
        taken.append(finished.get())
    return taken


def read_time(answered_at: datetime | None, now: datetime) -> datetime:
    """The earlier of our clock and the server's, as UTC without zone: neither may make a day final too early."""
    if answered_at is None:
        return now
    return min(now, answered_at.astimezone(UTC).replace(tzinfo=None))


def days_due(
    covered: Iterable[tuple[datetime, datetime]],
    *,
    start_date: date,
    today: date,
    lookback_days: int,
    since: date | None = None,
) -> list[date]:
    """The closed days to ask for tonight: the last `lookback_days`, those from `since` on, and every hole.

    `covered` are the windows that were ever read. A day is covered once one of them held all of it, so the first run
    reads everything, missed nights are made up, and a first run that was interrupted is continued.
    """
    windows = list(covered)

    def is_covered(day: date) -> bool:
        start, end = datetime.combine(day, time.min), datetime.combine(day + timedelta(days=1), time.min)
        return any(first <= start and end <= last for first, last in windows)

    recent = today - timedelta(days=lookback_days)
    days = days_between(min(start_date, since) if since else start_date, today - timedelta(days=1))
    return [day for day in days if day >= recent or (since and day >= since) or not is_covered(day)]


def spans(days: Iterable[date], at_most: int) -> list[tuple[date, date]]:
    """Ascending days as stretches without a hole, first and last day, none longer than `at_most` days."""
    found: list[tuple[date, date]] = []
    for day in days:
        if found and found[-1][1] == day - timedelta(days=1) and (day - found[-1][0]).days < at_most:
            found[-1] = (found[-1][0], day)
        else:
            found.append((day, day))
    return found


def stream_ledger_table(reads: Iterable[StreamRead], *, team: str, run_id: str, last_number: int) -> pa.Table:
    """The ledger rows of what was read, numbered on from `last_number`."""
    rows = [
        {
            "team": team,
            "resource": read.resource,
            "window_start_at": read.start_at,
            # nobody can have read past the server's own clock
            "window_end_at": min(read.end_at, read.read_at),
            "read_id": f"{run_id}-{number}",
            "read_number": number,
            "batch_id": read.batch_id,
            "outcome": read.outcome,
            "row_count": read.rows.num_rows if read.rows is not None else 0,
            "detail": read.detail,
            "read_at": read.read_at,
            "run_id": run_id,
        }
        for number, read in enumerate((read for read in reads if read.outcome), start=last_number + 1)
    ]
    return pa.Table.from_pylist(rows, schema=SCHEMAS["stream_reads"])
