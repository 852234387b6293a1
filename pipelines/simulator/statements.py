"""The arithmetic of a bill: a day's share of a monthly price, whole cents, and what a closed month leaves to adjust.

Worked out with integers and Decimal from the rules alone, so that the tables can be held against it.
"""

from __future__ import annotations

import calendar
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from typing import NamedTuple

from pipelines.simulator.prices import MICRO

CENTS_PER_USD = 100
BEFORE_ALL_MONTHS = date.min


class Line(NamedTuple):
    """What a line of a statement is about. A line of usage or seats has no month it adjusts."""

    month: date  # its first day
    billing_group_id: str
    charge_type: str  # 'usage', 'seat' or 'adjustment'
    adjusts_month: date | None = None
    adjusts_charge_type: str | None = None


Lines = dict[Line, Decimal]


def day_price_micro(monthly_price_usd: Decimal, day: date) -> int:
    """Millionths of a cent that a seat costs on this day; the days of a month add up to its price exactly."""
    price_micro = int(monthly_price_usd * CENTS_PER_USD * MICRO)
    days_in_month = calendar.monthrange(day.year, day.month)[1]
    return price_micro * day.day // days_in_month - price_micro * (day.day - 1) // days_in_month


def cents_of(micro: int) -> Decimal:
    """Cents with six decimals."""
    return (Decimal(micro) / MICRO).quantize(Decimal("0.000001"))


def whole_cents(lines: Mapping[Line, Decimal]) -> dict[Line, int]:
    """The lines of one month in whole cents that add up to its rounded total: largest remainder, ties by the line."""
    total = int(sum(lines.values(), Decimal(0)).quantize(Decimal(1), ROUND_HALF_UP))  # half away from zero
    floors = {line: math.floor(cents) for line, cents in lines.items()}  # towards minus infinity
    missing = total - sum(floors.values())
    neediest = sorted(lines, key=lambda line: (floors[line] - lines[line], _order(line)))
    return {line: floors[line] + (line in neediest[:missing]) for line in lines}


@dataclass
class ClosedMonths:
    """The frozen lines of a team's closed months, and what follows from them. Months are closed in order."""

    frozen: dict[date, Lines] = field(default_factory=dict)

    @property
    def first_open_month(self) -> date | None:
        """Where adjustments stand; None while nothing is closed."""
        return _next_month(max(self.frozen)) if self.frozen else None

    def close(self, month: date, today: Mapping[Line, Decimal]) -> None:
        """Freezes the month as it is published today.

        Raises:
            ValueError: it is closed already, or a later month is.
        """
        if self.frozen and month <= max(self.frozen):
            raise ValueError(f"{month:%Y-%m} cannot be closed after {max(self.frozen):%Y-%m}.")
        self.frozen[month] = {line: cents for line, cents in self.published(today).items() if line.month == month}

    def published(self, today: Mapping[Line, Decimal]) -> Lines:
        """Every line as published: frozen months as they were, open months as events and seats say today, and what
        has changed in closed months as adjustments."""
        lines = {line: cents for line, cents in today.items() if line.month not in self.frozen}
        for frozen in self.frozen.values():
            lines |= frozen
        return lines | self.adjustments(today)

    def adjustments(self, today: Mapping[Line, Decimal]) -> Lines:
        """Today less frozen less what later closed months have adjusted already; what comes to nothing is no line."""
        differences: dict[tuple[date, str, str], Decimal] = defaultdict(Decimal)
        for line, cents in today.items():
            if line.month in self.frozen:
                differences[line.month, line.billing_group_id, line.charge_type] += cents
        for line, cents in self._all_frozen():
            if line.adjusts_month is None or line.adjusts_charge_type is None:
                differences[line.month, line.billing_group_id, line.charge_type] -= cents
            else:
                differences[line.adjusts_month, line.billing_group_id, line.adjusts_charge_type] -= cents
        open_month = self.first_open_month
        return {
            Line(open_month, group_id, "adjustment", month, charge_type): cents
            for (month, group_id, charge_type), cents in differences.items()
            if open_month is not None and cents
        }

    def _all_frozen(self) -> Iterable[tuple[Line, Decimal]]:
        return [entry for lines in self.frozen.values() for entry in lines.items()]


def statement(lines: Mapping[Line, Decimal]) -> dict[Line, Decimal]:
    """US dollars of every line, each month rounded by itself: a frozen month comes out as it was sent."""
    by_month: dict[date, Lines] = defaultdict(dict)
    for line, cents in lines.items():
        by_month[line.month][line] = cents
    rounded = {line: cents for month in by_month.values() for line, cents in whole_cents(month).items()}
    return {line: Decimal(cents).scaleb(-2) for line, cents in rounded.items()}


def _order(line: Line) -> tuple[str, str, date, str]:
    return (
        line.billing_group_id,
        line.charge_type,
        line.adjusts_month or BEFORE_ALL_MONTHS,
        line.adjusts_charge_type or "",
    )


def _next_month(month: date) -> date:
    return date(month.year + month.month // 12, month.month % 12 + 1, 1)
