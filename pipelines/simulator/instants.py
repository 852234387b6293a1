"""Time in the simulator: whole milliseconds since the epoch, UTC, as the API counts; days and cycles are half-open."""

from __future__ import annotations

import calendar
import re
from datetime import UTC, date, datetime, timedelta

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_RELATIVE = re.compile(r"^(\d+)([dhs])$")
_RELATIVE_MS = {"d": DAY_MS, "h": HOUR_MS, "s": 1000}


def to_ms(value: datetime | date) -> int:
    """Milliseconds of an instant, or of a day's first instant. A time without zone is taken as UTC."""
    if not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day, tzinfo=UTC)
    elif value.tzinfo is None:
        value = value.replace(tzinfo=UTC)
    return int(value.replace(microsecond=0).timestamp()) * 1000 + value.microsecond // 1000


def from_ms(ms: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=ms)


def day_of(ms: int) -> date:
    return from_ms(ms).date()


def iso(ms: int) -> str:
    """`2026-11-12T10:22:31.004Z`, the form of every time the API writes as text."""
    return from_ms(ms).strftime("%Y-%m-%dT%H:%M:%S.") + f"{ms % 1000:03d}Z"


def iso_or_none(ms: int | None) -> str | None:
    return None if ms is None else iso(ms)


def days_between(first: date, last: date) -> list[date]:
    """Every day from `first` to `last`, both included."""
    return [first + timedelta(days=offset) for offset in range((last - first).days + 1)]


def cycle_bounds(ms: int, anchor_day: int) -> tuple[int, int]:
    """Start and end (exclusive) of the monthly billing cycle that contains the instant."""
    at = from_ms(ms)
    start = date(at.year, at.month, anchor_day)
    if at.day < anchor_day:
        start = _month_later(start, -1)
    return to_ms(start), to_ms(_month_later(start, 1))


def _month_later(day: date, months: int) -> date:
    index = day.year * 12 + day.month - 1 + months
    year, month = divmod(index, 12)
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))


def parse_moment(text: str, now_ms: int) -> int:
    """The spellings of a time in query parameters: `now`, `today`, `7d`, ISO, a day, epoch seconds or milliseconds.

    Raises:
        ValueError: none of them.
    """
    text = text.strip()
    today = now_ms - now_ms % DAY_MS
    named = {"now": now_ms, "today": today, "yesterday": today - DAY_MS}
    if text in named:
        return named[text]
    relative = _RELATIVE.match(text)
    if relative:
        return now_ms - int(relative[1]) * _RELATIVE_MS[relative[2]]
    if text.isdigit():
        return int(text) if len(text) > 11 else int(text) * 1000
    return to_ms(datetime.fromisoformat(text))
