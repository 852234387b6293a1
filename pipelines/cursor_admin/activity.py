"""What people did, without money: daily usage and AI commits, in windows of whole UTC days, whole or not at all.

Each function answers an `OptionalAnswer` and raises ApiError (see `CursorAdminClient`), ApiShapeError where the list
itself is missing or is about other days than were asked for, and IncompleteWindowError where pages moved three times in
a row. Knows no destination.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pyarrow as pa

from .ai_commits_csv import commit_rows
from .answers import SHAPE_HINT
from .client import CursorAdminClient
from .errors import ApiShapeError, IncompleteWindowError
from .optional_lists import OptionalAnswer, whole_list
from .optional_rows import OptionalTable, day_column
from .tables import AI_COMMIT_FIELDS, AI_COMMITS_PATH, DAILY_USAGE_FIELDS, DAILY_USAGE_PATH
from .windows import ATTEMPTS

_CSV_PATH = f"{AI_COMMITS_PATH}.csv"
_ONE_DAY = timedelta(days=1)


def read_daily_usage(
    client: CursorAdminClient,
    first_day: date,
    last_day: date,
    *,
    team: str,
    batch_id: str,
    until: datetime | None = None,
) -> OptionalAnswer:
    """Counters per person and day, inactive people among them; both days included, at most 30 of them.

    `until` (UTC) is where the open day is read to. Two ids that share an e-mail are two rows. People are counted, not
    rows: whether somebody has a row on every day cannot be known.
    """
    start, end = _bounds(first_day, last_day, until)
    start_ms, end_ms = int(start.timestamp() * 1000), int(end.timestamp() * 1000)

    def add(table: OptionalTable, rows: list[Any]) -> None:
        rest, days = day_column(rows, table.oddities)
        table.add(rest, usage_date=days)

    table, first = whole_list(
        DAILY_USAGE_PATH,
        f"The daily usage from {first_day} to {last_day}",
        lambda page: client.daily_usage_page(start_ms, end_ms, page),
        lambda: OptionalTable("daily_usage", DAILY_USAGE_PATH, DAILY_USAGE_FIELDS, _batch_of(team, batch_id)),
        add,
        keys=("userId", "email"),
        is_count_of_rows=False,
    )
    rows = table.table()
    _check_days(DAILY_USAGE_PATH, [[day] for day in rows["usage_date"].to_pylist()], first_day, last_day)
    return OptionalAnswer({"daily_usage": rows}, first.date, oddities=table.oddities.sentences())


def read_ai_commits(
    client: CursorAdminClient,
    first_day: date,
    last_day: date,
    until: datetime | None = None,
    *,
    team: str,
    batch_id: str,
) -> OptionalAnswer:
    """Commits of the days from `first_day` to `last_day`, both included, and of the last one not past `until` (UTC).

    A commit comes again when it is amended, with the same hash and a later `created_at`. The message is not stored.
    """
    start, end = _bounds(first_day, last_day, until)
    table, first = whole_list(
        AI_COMMITS_PATH,
        f"The list of AI commits from {first_day} to {last_day}",
        lambda page: client.ai_commit_page(start, end, page),
        lambda: _commit_table(AI_COMMITS_PATH, team, batch_id),
        OptionalTable.add,
        keys=(),  # no part of a commit is its own: one that is on two pages is the same in everything
    )
    return _commits(AI_COMMITS_PATH, table, first.date, first_day, last_day)


def read_ai_commits_csv(
    client: CursorAdminClient,
    first_day: date,
    last_day: date,
    until: datetime | None = None,
    *,
    team: str,
    batch_id: str,
) -> OptionalAnswer:
    """The same rows as `read_ai_commits`, in one piece; columns are found by their headings.

    A file does not say how many rows it should have: one page of size 1 of the JSON route does.
    """
    start, end = _bounds(first_day, last_day, until)
    for _ in range(ATTEMPTS):
        answer = client.ai_commits_csv(start, end)
        table = _commit_table(_CSV_PATH, team, batch_id)
        for rows in commit_rows(answer.text):
            table.add(rows)
        announced = client.ai_commit_page(start, end, 1, page_size=1).total_count
        if table.row_count == announced:
            return _commits(_CSV_PATH, table, answer.date, first_day, last_day)
    raise IncompleteWindowError(
        f"The AI commits from {first_day} to {last_day} are not the same as CSV and as JSON, {ATTEMPTS} times in a row "
        f"({_CSV_PATH}): read {table.row_count}, announced {announced}. Nothing of them was stored; the next run reads "
        "them again."
    )


def _commit_table(path: str, team: str, batch_id: str) -> OptionalTable:
    return OptionalTable("ai_commits", path, AI_COMMIT_FIELDS, _batch_of(team, batch_id), frozenset({"message"}))


def _commits(
    path: str, table: OptionalTable, answered_at: datetime | None, first_day: date, last_day: date
) -> OptionalAnswer:
    rows: pa.Table = table.table()
    times = zip(rows["committed_at"].to_pylist(), rows["created_at"].to_pylist(), strict=True)
    # A commit is in a window by one of its two times; which one is not documented.
    _check_days(path, [[one.date() if one else None for one in pair] for pair in times], first_day, last_day)
    return OptionalAnswer({"ai_commits": rows}, answered_at, oddities=table.oddities.sentences())


def _bounds(first_day: date, last_day: date, until: datetime | None) -> tuple[datetime, datetime]:
    """The first instant and the last millisecond of whole days, or `until` where that is earlier; UTC."""
    start = datetime.combine(first_day, time.min, UTC)
    end = datetime.combine(last_day + _ONE_DAY, time.min, UTC) - timedelta(milliseconds=1)
    if until is None:
        return start, end
    return start, min(end, until.replace(tzinfo=UTC) if until.tzinfo is None else until)


def _check_days(path: str, days: list[list[date | None]], first_day: date, last_day: date) -> None:
    """Rows of quite other days mean that the API did not heed what it was asked: those asked for are not covered.

    A day more on either side is not held against it: that its days are UTC days is not documented.
    """
    first, last = first_day - _ONE_DAY, last_day + _ONE_DAY
    for known in ([day for day in row if day is not None] for row in days):
        if known and not any(first <= day <= last for day in known):
            raise ApiShapeError(
                f"{path} answered with rows outside the days that were asked for ({first_day} to {last_day}). "
                f"{SHAPE_HINT}"
            )


def _batch_of(team: str, batch_id: str) -> dict[str, str]:
    return {"team": team, "batch_id": batch_id}
