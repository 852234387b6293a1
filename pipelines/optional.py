"""What a night reads beside the bill: routes that not every key may use, and without which usage costs the same.

No such route can lose a night. One that was never let in is unavailable, which is said once; one that fails is told
with its reason, and the night goes on. Only a route that used to answer and is refused now fails the run, in the end:
a key or a plan was changed, and somebody should know.
"""

from __future__ import annotations

import queue
import re
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta

import pyarrow as pa

from pipelines.config import TeamSettings
from pipelines.cursor_admin.activity import read_ai_commits, read_ai_commits_csv, read_daily_usage
from pipelines.cursor_admin.client import CursorAdminClient
from pipelines.cursor_admin.controls import (
    read_billing_group_details,
    read_directory_groups,
    read_member_spend,
    read_pooled_usage,
    read_repository_blocklists,
)
from pipelines.cursor_admin.errors import ApiError, AuthError, IncompleteWindowError
from pipelines.cursor_admin.optional_lists import OptionalAnswer
from pipelines.cursor_admin.windows import table_digest
from pipelines.ledger import Ledger, end_of
from pipelines.snapshots import SnapshotAnswer, Verdicts, with_snapshot_id
from pipelines.streams import StreamRead, days_due, drain, read_time, spans

WINDOW_DAYS = 29  # a day less than the API allows: nobody has to count whether both ends belong to the 30
DAILY_USAGE_DAYS = 7  # closed days that are read again: counters arrive late
AI_COMMITS_DAYS = 14  # an amended commit appears again


@dataclass(frozen=True)
class SnapshotRead:
    """An answer of a snapshot route, or why there is none: then `outcome` is set, and `tables` is empty."""

    resource: str
    read_at: datetime
    tables: dict[str, pa.Table] = field(default_factory=dict)
    cycle: tuple[datetime | None, datetime | None] = (None, None)
    outcome: str | None = None
    detail: str | None = None


@dataclass
class Finished:
    """What was read since it was last taken. `notices` are worth a line, `warnings` a look."""

    snapshots: list[SnapshotRead] = field(default_factory=list)
    streams: list[StreamRead] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def answered(self) -> Finished:
        """Without what brought nothing: in a night that fails, that failed of the same cause, and tells no more."""
        return Finished(
            [read for read in self.snapshots if read.outcome is None],
            [read for read in self.streams if read.outcome == "landed"],
            warnings=self.warnings,
        )


class OptionalReader:
    """Reads on threads of its own; what is finished is taken by the one that writes.

    Args:
        client: with the organisation's key, if there is one: without it, the pool is not asked for.
        batch_prefix: what names the batches of this team in this run.
        now: the run's clock, UTC without zone.
    """

    def __init__(
        self,
        client: CursorAdminClient,
        team: TeamSettings,
        ledger: Ledger,
        *,
        start_date: date,
        since: date | None,
        batch_prefix: str,
        now: datetime,
    ) -> None:
        self._client, self._team, self._ledger = client, team, ledger
        self._start_date, self._since, self._batch_prefix, self._now = start_date, since, batch_prefix, now
        self._answered: set[str] = set()  # tonight, before a later request of the same route
        self._named: set[str] = set()
        self._has_csv = True
        self._finished: queue.SimpleQueue[SnapshotRead | StreamRead | tuple[str, str]] = queue.SimpleQueue()
        self.refusal: AuthError | None = None  # of a route that used to answer: raised once everything is committed

    def read(self) -> None:
        """Everything but the details of groups, one route after the other; the longest last."""
        team = self._team.team
        self._snapshot("member_spend", lambda: read_member_spend(self._client, team=team))
        self._snapshot("repository_blocklists", lambda: read_repository_blocklists(self._client, team=team))
        if (organization_id := self._team.organization_id) and self._team.organization_api_key:
            own_id = self._team.api_team_id
            self._snapshot(
                "pooled_usage",
                lambda: read_pooled_usage(self._client, organization_id, team=team, api_team_id=own_id),
            )
        self._stream("daily_usage", DAILY_USAGE_DAYS, self._daily_usage)
        self._stream("ai_commits", AI_COMMITS_DAYS, self._ai_commits)
        self._snapshot("directory_groups", lambda: read_directory_groups(self._client, team=team))

    def read_details(self, snapshots: Future[SnapshotAnswer]) -> None:
        """The groups of the current cycle one by one: 20 a minute, so on a thread of its own. None, if none answer."""
        try:
            answers = snapshots.result().answers
        except ApiError:
            return  # the run fails of it, and says so
        found = [one for one in answers if one.resource == "billing_groups" and one.is_current_cycle and one.tables]
        if not found:
            return
        groups = found[0].tables["billing_groups"].to_pylist()
        ids = [row["billing_group_id"] for row in groups if not row["is_unassigned"]]
        self._snapshot(
            "billing_group_details",
            lambda: read_billing_group_details(self._client, ids, team=self._team.team, billing_cycle=None),
            found[0].cycle,
        )

    def take(self) -> Finished:
        """What was finished since the last call."""
        finished = Finished()
        for one in drain(self._finished):
            if isinstance(one, StreamRead):
                finished.streams.append(one)
            elif isinstance(one, SnapshotRead):
                finished.snapshots.append(one)
            else:
                kind, text = one
                {"notice": finished.notices, "warning": finished.warnings, "failed": finished.failed}[kind].append(text)
        return finished

    def _snapshot(
        self,
        resource: str,
        ask: Callable[[], OptionalAnswer],
        cycle: tuple[datetime | None, datetime | None] | None = None,
    ) -> None:
        try:
            answer = ask()
        except ApiError as error:
            outcome = self._without_answer(resource, error)
            self._finished.put(SnapshotRead(resource, self._now, outcome=outcome, detail=str(error)))
            return
        self._name_oddities(answer)
        read_at = read_time(answer.answered_at, self._now)
        self._finished.put(SnapshotRead(resource, read_at, answer.tables, cycle or (answer.cycle_start_at, None)))

    def _stream(self, resource: str, lookback_days: int, ask: Callable[[date, date, str], OptionalAnswer]) -> None:
        """The days that are due, the newest first: an old one that cannot be read must not stand in front of tonight's.

        The open day is asked for by itself: it may move while it is read, which no other day has to suffer from.
        """
        today = self._now.date()
        due = days_due(
            self._ledger.streams.get(resource, []),
            start_date=self._start_date,
            today=today,
            lookback_days=lookback_days,
            since=self._since,
        )
        windows = spans(due, WINDOW_DAYS)
        if datetime.combine(today, time.min) < self._now:
            windows.append((today, today))
        for first_day, last_day in reversed(windows):
            asked = (resource, datetime.combine(first_day, time.min), min(end_of(last_day), self._now))
            batch_id = f"{self._batch_prefix}-{resource}-{first_day:%Y%m%d}"
            try:
                answer = ask(first_day, last_day, batch_id)
            except IncompleteWindowError as error:
                if first_day == today:
                    self._finished.put(("notice", f"{self._team.team}: the open day is left for the next run: {error}"))
                    continue
                self._put_failed_window(asked, error)
                return
            except ApiError as error:
                self._put_failed_window(asked, error)
                return
            self._answered.add(resource)
            self._name_oddities(answer)
            read_at = read_time(answer.answered_at, self._now)
            self._finished.put(StreamRead(*asked, "landed", read_at, batch_id, answer.tables[resource]))

    def _put_failed_window(self, asked: tuple[str, datetime, datetime], error: ApiError) -> None:
        resource, start_at, end_at = asked
        outcome = self._without_answer(resource, error)
        if outcome == "unavailable" and resource not in self._ledger.unavailable:  # all of it, back to the first day
            start_at = datetime.combine(self._start_date, time.min)
        self._finished.put(StreamRead(resource, start_at, end_at, outcome, self._now, detail=str(error)))

    def _daily_usage(self, first_day: date, last_day: date, batch_id: str) -> OptionalAnswer:
        return read_daily_usage(self._client, first_day, last_day, team=self._team.team, batch_id=batch_id)

    def _ai_commits(self, first_day: date, last_day: date, batch_id: str) -> OptionalAnswer:
        """Far back as CSV, which comes in one answer; page by page where there is none, or none that can be read."""
        recent = self._now.date() - timedelta(days=AI_COMMITS_DAYS)
        where = (self._client, first_day, last_day, min(end_of(last_day), self._now))
        is_far_back = first_day < recent or not self._ledger.streams.get("ai_commits")
        if is_far_back and self._has_csv:
            try:
                return read_ai_commits_csv(*where, team=self._team.team, batch_id=batch_id)
            except ApiError as error:
                self._has_csv, reason = False, str(error)
                answer = read_ai_commits(*where, team=self._team.team, batch_id=batch_id)
                self._once("notice", f"commits are read page by page, as the CSV route gave none: {reason}")
                return answer
        return read_ai_commits(*where, team=self._team.team, batch_id=batch_id)

    def _without_answer(self, resource: str, error: ApiError) -> str:
        """The outcome of a read that brought nothing, with what has to be said about it."""
        if not isinstance(error, AuthError):
            self._finished.put(("failed", f"{self._team.team}: {resource} could not be read, the rest was: {error}"))
            return "failed"
        if resource in self._answered or self._ledger.has_answered(resource):
            self.refusal = self.refusal or error
            self._finished.put(("failed", f"{self._team.team}: {resource} used to answer and is refused now: {error}"))
            return "failed"
        if resource not in self._ledger.unavailable:
            self._once("notice", f"{resource} is not available to this key; what compares with it stays empty. {error}")
        return "unavailable"

    def _name_oddities(self, answer: OptionalAnswer) -> None:
        for oddity in answer.oddities:
            self._once("warning", oddity)

    def _once(self, kind: str, text: str) -> None:
        """Says it the first time tonight, however many rows of however many windows it is true of."""
        if (key := re.sub(r"\d+", "", text)) not in self._named:
            self._named.add(key)
            self._finished.put((kind, f"{self._team.team}: {text}"))


def judge_optional(reads: list[SnapshotRead], ledger: Ledger, team: str, batch_prefix: str) -> Verdicts:
    """What becomes of these snapshots: new content, or unchanged since the last accepted answer about that cycle.

    There is no shrink guard as for groups and members, on which it rests who pays: these answers are compared with the
    bill, and one that shrank is what Cursor shows, which is all that they are read for.
    """
    verdicts = Verdicts()
    for read in reads:
        row: dict[str, object] = {
            "team": team,
            "resource": read.resource,
            "cycle_start_at": read.cycle[0],
            "cycle_end_at": read.cycle[1],
            "is_current_cycle": True,
            "row_count": sum(table.num_rows for table in read.tables.values()) if read.outcome is None else None,
            "current_member_count": 0,
            "detail": read.detail,
            "read_at": read.read_at,
        }
        if read.outcome is not None:
            verdicts.rows.append({**row, "snapshot_id": None, "outcome": read.outcome})
            continue
        digest = table_digest(*(read.tables[name] for name in sorted(read.tables)))
        accepted = [one for one in ledger.snapshots.get(read.resource, []) if one.is_accepted]
        last = accepted[-1] if accepted else None
        if last is not None and last.snapshot_id and (last.digest, last.cycle_start_at) == (digest, read.cycle[0]):
            outcome, snapshot_id = "unchanged", last.snapshot_id
        else:
            outcome, snapshot_id = "landed", f"{batch_prefix}-{read.resource}"
            for name, table in read.tables.items():
                verdicts.tables.setdefault(name, []).append(with_snapshot_id(table, snapshot_id))
                verdicts.snapshot_counts[name, snapshot_id] = table.num_rows
        verdicts.rows.append({**row, "snapshot_id": snapshot_id, "outcome": outcome, "digest": digest})
    return verdicts
