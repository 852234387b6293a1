"""What must be published of seats, daily charges and statements, worked out without the code under test.

The inputs are those of `oracle.py`, the audit windows that were read, and the company's seeds. Rules: design section 5,
by the simulator's own arithmetic. Months that were closed keep what was expected of them at that moment.
"""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

from oracle import UNATTRIBUTED, ExpectedEvent, Oracle

from pipelines.simulator.instants import days_between, from_ms, to_ms
from pipelines.simulator.seat_truth import (
    AuditWindow,
    SeatBooks,
    SeatDay,
    SeatTruth,
    members_answer,
    roster_changes,
)
from pipelines.simulator.statements import ClosedMonths, Line, cents_of, statement

SEAT_COLUMNS = """
    seat_date, seat_type, seat_status, user_email, billing_group_id, seat_evidence, seat_price_status,
    monthly_price_usd, seat_count, seat_cents
"""
CHARGE_COLUMNS = """
    charge_date, billing_group_id, actor_type, user_email, service_account_id, model, charge_type, usage_category,
    adjusts_month, adjusts_charge_type
"""
LINE_COLUMNS = "charge_month, billing_group_id, charge_type, adjusts_month, adjusts_charge_type"
FINAL_AFTER = timedelta(days=3)  # from the start of the day: two days after its end

Charges = dict[tuple[object, ...], list]  # events, cents at Cursor's prices, cents billed


@dataclass
class Closings:
    """What was frozen: statement lines and daily rows by month."""

    months: ClosedMonths = field(default_factory=ClosedMonths)
    days: dict[date, Charges] = field(default_factory=dict)

    def close(self, month: date, today: SeatOracle) -> None:
        """Freezes the month as it must be published now."""
        published = {key: amounts for key, amounts in today.charges(self).items() if _month_of(key[0]) == month}
        self.months.close(month, today.lines)
        self.days[month] = published


class SeatOracle:
    """Expected rows of the seat table, the daily charges and the statements.

    Args:
        windows: the complete reads of the audit log.
        cycles: start and end of every billing cycle that an accepted answer named.
        covered: first and last day of coverage; the last one is over.
    """

    def __init__(
        self,
        oracle: Oracle,
        expected: Mapping[date, list[ExpectedEvent]],
        books: SeatBooks,
        *,
        windows: list[AuditWindow],
        cycles: list[tuple[datetime, datetime]],
        covered: tuple[date, date],
    ) -> None:
        self._expected = expected
        self._cycles = _cut(cycles)
        usage_of: dict[str, list[int]] = defaultdict(list)
        for events in expected.values():
            for one in events:
                if one.email is not None:
                    usage_of[one.email].append(one.event.at_ms)
        truth = SeatTruth(
            [members_answer(oracle.organisation, one.at) for one in oracle.answers if one.resource == "members"],
            roster_changes(oracle.organisation, windows),
            min((window.start.date() for window in windows), default=None),
            books,
            group_at=lambda email, at_ms: oracle.attribution(email, at_ms)[0],
            usage_of=usage_of,
            cycle_of=self._cycle_of,
        )
        self.seats: list[SeatDay] = truth.days(days_between(*covered))

    def seat_rows(self) -> Counter[tuple[object, ...]]:
        return Counter(
            (
                seat.day,
                seat.seat_type,
                seat.status,
                seat.email,
                seat.billing_group_id,
                seat.evidence,
                "priced" if seat.seat_micro is not None else "not_priced",
                seat.monthly_price_usd,
                seat.seat_count,
                _seat_cents(seat),
            )
            for seat in self.seats
        )

    @property
    def lines(self) -> dict[Line, Decimal]:
        """What events and seats say today, by month, group and charge type; nothing is closed or adjusted in it."""
        lines: dict[Line, Decimal] = defaultdict(Decimal)
        for day, group_id, *_, charge_type, _, _, _, billed in _rows(self._today()):
            lines[Line(_month_of(day), group_id, charge_type)] += billed
        return dict(lines)

    def charges(self, closings: Closings) -> Charges:
        """Rows of the daily charges by their key: events, value and bill; of an adjustment the bill alone."""
        charges = {key: amounts for key, amounts in self._today().items() if _month_of(key[0]) not in closings.days}
        for frozen in closings.days.values():
            charges |= frozen
        for line, cents in closings.months.adjustments(self.lines).items():
            charges[_adjustment_key(line)] = [None, None, cents]
        return charges

    def statement(self, closings: Closings) -> dict[Line, tuple[Decimal, Decimal, bool]]:
        """Cents, dollars and whether it is closed, of every line as published."""
        published = closings.months.published(self.lines)
        in_usd = statement(published)
        return {line: (cents, in_usd[line], line.month in closings.days) for line, cents in published.items()}

    def _today(self) -> Charges:
        charges: Charges = defaultdict(lambda: [0, Decimal(0), Decimal(0)])
        for day, events in self._expected.items():
            for one in events:
                email, service_account_id, model = one.row[1], one.row[2], one.row[6]
                actor = "member" if email else "service_account" if service_account_id else "unattributed"
                key = (day, one.row[17], actor, email, service_account_id, model, "usage", one.row[16], None, None)
                amounts = charges[key]
                amounts[0] += 1
                amounts[1] += one.row[13]
                amounts[2] += one.row[14]
        for seat in self.seats:
            actor = "member" if seat.email else UNATTRIBUTED
            key = (seat.day, seat.billing_group_id, actor, seat.email, None, None, "seat", None, None, None)
            charges[key][2] += _seat_cents(seat) or 0
        return dict(charges)

    def _cycle_of(self, at_ms: int) -> tuple[int, int]:
        """The cycle that was named for the instant, else the calendar month, cut at the named ones around it."""
        before, after = -(1 << 62), 1 << 62
        for start_ms, end_ms in self._cycles:
            if start_ms <= at_ms < end_ms:
                return start_ms, end_ms
            before = max(before, end_ms) if end_ms <= at_ms else before
            after = min(after, start_ms) if start_ms > at_ms else after
        month = from_ms(at_ms).date().replace(day=1)
        return max(before, to_ms(month)), min(after, to_ms(_month_of(month + timedelta(days=31))))


def seat_books(seeds_dir: Path) -> SeatBooks:
    """The seeds as they lie in the folder; every row is for every team."""
    books = SeatBooks()
    for row in _seed(seeds_dir, "seat_prices"):
        price = (_date(row["valid_from_date"]), Decimal(row["monthly_price_usd"]))
        books.prices.setdefault(row["seat_type"], []).append(price)
    for row in _seed(seeds_dir, "seat_types"):
        books.types.setdefault(row["user_email"].lower(), []).append((_date(row["valid_from_date"]), row["seat_type"]))
    for row in _seed(seeds_dir, "committed_seats"):
        seats = (_date(row["valid_from_date"]), int(row["seat_count"]))
        books.committed.setdefault(row["seat_type"], []).append(seats)
    emails = {row["email"].lower() for row in _seed(seeds_dir, "service_accounts")}
    books.service_account_emails = frozenset(emails - {""})
    return books


def _seed(seeds_dir: Path, name: str) -> list[dict[str, str]]:
    with (seeds_dir / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _date(text: str) -> date:
    return date.fromisoformat(text) if text else date.min


def unsettled_days(oracle: Oracle, month: date, first_covered: date) -> list[date]:
    """Days of the month that are missing or provisional: while there are any, it is closed only by force."""
    history = min((read.day for read in oracle.reads if read.row_count), default=date.max)
    last = {day: max(read.at for read in oracle.reads if read.day == day) for day in oracle.days}
    final_from = {day: datetime.combine(day, datetime.min.time(), UTC) + FINAL_AFTER for day in oracle.days}
    days = days_between(max(month, first_covered), _month_of(month + timedelta(days=31)) - timedelta(days=1))
    return [day for day in days if day not in last or (day >= history and last[day] < final_from[day])]


def _cut(cycles: list[tuple[datetime, datetime]]) -> list[tuple[int, int]]:
    """In order of time; where two overlap, the earlier one ends when the later one begins."""
    ordered = sorted((to_ms(start), to_ms(end)) for start, end in set(cycles))
    ends = [min(end, following) for (_, end), (following, _) in pairwise(ordered)]
    return [(start, end) for (start, _), end in zip(ordered, [*ends, *(end for _, end in ordered[-1:])], strict=True)]


def _rows(charges: Charges) -> list[tuple]:
    return [(*key, amounts[2]) for key, amounts in charges.items()]


def _adjustment_key(line: Line) -> tuple[object, ...]:
    return (
        line.month,
        line.billing_group_id,
        UNATTRIBUTED,  # nobody in particular
        None,
        None,
        None,
        "adjustment",
        None,
        line.adjusts_month,
        line.adjusts_charge_type,
    )


def _seat_cents(seat: SeatDay) -> Decimal | None:
    return None if seat.seat_micro is None else cents_of(seat.seat_micro)


def _month_of(day: object) -> date:
    assert isinstance(day, date)
    return day.replace(day=1)
