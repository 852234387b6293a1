"""The invented company's own tables, as the CSV files its finance department would keep."""

from __future__ import annotations

import csv
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.simulator.behaviour import Behaviour
from pipelines.simulator.instants import day_of, to_ms
from pipelines.simulator.people import Roster
from pipelines.simulator.prices import MICRO
from pipelines.simulator.views import Clock

if TYPE_CHECKING:
    from pipelines.simulator.organisation import Organisation

_OWNERS = ("finance.partner@example.com", "platform.lead@example.com", "research.lead@example.com")


def write_seeds(roster: Roster, behaviour: Behaviour, start: date, end: date, folder: Path) -> None:
    """Writes the tables that people edit. `team` is empty: every team."""
    folder.mkdir(parents=True, exist_ok=True)
    midway = start + timedelta(days=((end - start).days + 1) // 2)
    price_change = date(midway.year, midway.month, 11)
    before = start - timedelta(days=365)
    _write(folder / "plans.csv", ("team", "plan", "valid_from_date", "usage_rate"), [("", behaviour.plan, before, "1")])
    _write(
        folder / "seat_prices.csv",
        ("team", "seat_type", "monthly_price_usd", "valid_from_date"),
        [("", "standard", "40.00", before), ("", "premium", "120.00", before), ("", "standard", "44.00", price_change)],
    )
    premium = [person for person in roster.persons if person.weight > 3]
    _write(
        folder / "seat_types.csv",
        ("team", "user_email", "seat_type", "valid_from_date"),
        [("", person.email, "premium", before if person.index % 2 else price_change) for person in premium],
    )
    standard = max(0, len(roster.persons) - len(premium) - 4)
    _write(
        folder / "committed_seats.csv",
        ("team", "seat_type", "seat_count", "valid_from_date"),
        [("", "standard", standard, before), ("", "premium", len(premium) + 1, before)],
    )
    _write(
        folder / "service_accounts.csv",
        (
            "team",
            "service_account_id",
            "name",
            "email",
            "owner",
            "purpose",
            "billing_group_id",
            "key_rotated_on",
            "rotation_days",
            "valid_from_date",
        ),
        [
            (
                "",
                sa.service_account_id,
                sa.name,
                "" if sa.email in (None, sa.owner_email) else sa.email,
                sa.owner_email,
                sa.purpose,
                group_id,
                start - timedelta(days=40),
                180,
                since,
            )
            for sa in roster.service_accounts
            for since, group_id in sa.mappings
        ],
    )
    _write(
        folder / "billing_groups.csv",
        ("team", "billing_group_id", "cost_center", "gl_account", "owner"),
        [
            ("", group.group_id, f"CC-{1000 + 10 * index}", f"64{index:02d}00", _OWNERS[index % len(_OWNERS)])
            for index, group in enumerate(roster.groups)
        ],
    )
    _write(
        folder / "budgets.csv",
        ("team", "month", "owner_type", "owner_id", "budget_usd"),
        [
            ("", month, owner_type, owner_id, f"{usd}.00")
            for month in _months(start, end)
            for owner_type, owner_id, usd in _budgets(roster, behaviour, month, start)
        ],
    )


def _months(start: date, end: date) -> list[date]:
    """First days of the calendar months that hold a covered day."""
    numbers = range(start.year * 12 + start.month - 1, end.year * 12 + end.month)
    return [date(number // 12, number % 12 + 1, 1) for number in numbers]


def _budgets(roster: Roster, behaviour: Behaviour, month: date, start: date) -> list[tuple[str, str, int]]:
    """A month's budgets by head, some generous and some tight, and one for every service account somebody pays for.

    Only groups that are there from first to last, and shown at all: a budget for one that nobody sees would be a slip.
    """
    at = to_ms(month)
    budgets = []
    for index, group in enumerate(roster.groups):
        if behaviour.plan == "teams" or group.created_ms >= to_ms(start) or group.deleted_ms is not None:
            continue
        heads = sum(
            stint.group_id == group.group_id and stint.joined_ms <= at and (stint.left_ms is None or at < stint.left_ms)
            for stint in roster.stints
        )
        budgets.append(("billing_group", group.group_id, max(1, heads) * (90, 130, 100)[index % 3]))
    budgets += [
        ("service_account", account.service_account_id, 100) for account in roster.service_accounts if account.mappings
    ]
    return budgets


def write_invoices(organisation: Organisation, as_of: date, folder: Path) -> None:
    """Writes what Cursor has invoiced for usage by `as_of`: the two billing cycles closed last.

    The newer invoice is 25 dollars too high, and a credit note takes them back: both together are what was used.
    """
    rows: list[tuple[object, ...]] = []
    start_ms, _ = organisation.cycle(to_ms(as_of))
    too_much = Decimal("25.00")
    for _ in range(2):
        end_ms = start_ms
        start_ms, _ = organisation.cycle(end_ms - 1)
        first, last = day_of(start_ms), day_of(end_ms - 1)
        totals = organisation.period_totals(start_ms, end_ms, Clock(to_ms(as_of)))
        on_demand_only = organisation.behaviour.plan == "teams"
        micro = sum(activity.on_demand if on_demand_only else activity.overall for activity in totals.values())
        amount = (Decimal(micro) / MICRO / 100).quantize(Decimal("0.01"))
        number = f"{first:%Y%m}"
        rows.append(("", f"INV-{number}", first, last, "usage", amount + too_much))
        if too_much:
            rows.append(("", f"CN-{number}", first, last, "usage", -too_much))
        too_much = Decimal("0.00")
    header = ("team", "invoice_number", "period_from_date", "period_through_date", "charge_type", "amount_usd")
    _write(folder / "invoices.csv", header, rows)


def _write(path: Path, header: tuple[str, ...], rows: list[tuple[object, ...]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
