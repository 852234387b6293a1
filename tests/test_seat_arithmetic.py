"""The README's example that can be checked by hand: its numbers, the tables built from exactly that data, and the
simulator's own arithmetic are one."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

from pipelines.simulator.instants import cycle_bounds, days_between, to_ms
from pipelines.simulator.seat_truth import MembersAnswer, SeatBooks, SeatTruth
from pipelines.simulator.statements import ClosedMonths, Line, cents_of, statement
from tests.readme import README
from tests.warehouse import STATEMENT, Warehouse, days

ADA = "ada@example.com"
MOVED_AT = datetime(2026, 10, 11, 9, 30, tzinfo=UTC)
OCTOBER, NOVEMBER = date(2026, 10, 1), date(2026, 11, 1)
OCTOBER_DAYS = days_between(OCTOBER, date(2026, 10, 31))
TEXT = (
    README.read_text(encoding="utf-8").split("\n## A seat, a move and a new price, by hand\n", 1)[1].split("\n## ")[0]
)


def table(number: int) -> list[tuple[str, ...]]:
    """The rows of a table of the section, cells as they are shown."""
    found = re.findall(r"(?:^\|.*\|\n)+", TEXT, flags=re.M)[number]
    lines = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in found.splitlines()]
    return lines[2:]


def shown(rows: list[tuple]) -> list[tuple[str, ...]]:
    return [tuple(str(value) for value in row) for row in rows]


# --- the data, and the tables built from it ---------------------------------------------------------------------------


def first_and_last_read(warehouse: Warehouse) -> None:
    """October as the README tells it: the 11th is read on the 12th, and once more when every day is final."""
    members = {
        "payments": [("u1", ADA, "2026-01-01", "2026-10-11 09:30")],
        "search": [("u1", ADA, "2026-10-11 09:30", None)],
    }
    warehouse.write_seed("seat_prices", [",standard,40.00,2026-01-01", ",standard,44.00,2026-10-21"])
    before = {"payments": [("u1", ADA, "2026-01-01", None)], "search": []}
    for read_at, listed in (("2026-10-01 02:00:00", before), ("2026-11-03 02:00:00", members)):
        groups = {key: {"name": key.title(), "members": rows} for key, rows in listed.items()}
        warehouse.read_groups(read_at, groups)
        warehouse.read_members(read_at, [("u1", ADA, "member", False)])
    read_events(warehouse, "2026-10-12 02:00:00", 1)
    for day in days("2026-10-01", "2026-10-31"):
        if day == "2026-10-11":
            read_events(warehouse, "2026-11-03 02:00:00", 2)
        else:
            warehouse.read_events(day, [], "2026-11-03 02:00:00")


def read_events(warehouse: Warehouse, read_at: str, column: int, second_event: str | None = None) -> None:
    events = [{"at": row[0][11:], "user_email": ADA, "charged_cents": row[column]} for row in table(0)]
    if second_event is not None:
        events[1]["charged_cents"] = second_event
    warehouse.read_events("2026-10-11", events, read_at)


def test_the_tables_hold_the_numbers_of_the_readme_before_october_is_closed_and_after(tmp_path: Path) -> None:
    warehouse = Warehouse(tmp_path / "data", marts=STATEMENT)
    first_and_last_read(warehouse)
    warehouse.build()
    check_october(warehouse)
    sent = warehouse.rows("select * exclude (is_closed) from marts.fct_monthly_chargeback order by all")
    warehouse.close("2026-10")
    read_events(warehouse, "2026-11-20 02:00:00", 2, second_event="7.0")
    warehouse.build()
    kept = "from marts.fct_monthly_chargeback where charge_month = date '2026-10-01'"
    assert warehouse.rows(f"select * exclude (is_closed) {kept} order by all") == sent
    assert warehouse.rows(f"select distinct is_closed {kept}") == [(True,)]
    check_adjustment(warehouse)


def check_october(october: Warehouse) -> None:
    events = october.rows(
        "select strftime(occurred_at, '%Y-%m-%d %H:%M:%S.%g'), usage_cents, billing_group_name "
        "from marts.fct_usage_events order by 1"
    )
    assert shown(events) == [(at, last, group) for at, _, last, group in table(0)]
    by_day = {
        str(day): tuple(str(value) for value in row)
        for day, *row in october.rows(
            "select seat_date, billing_group_name, monthly_price_usd, seat_cents from marts.fct_daily_seat_costs "
            "where seat_status = 'taken' and seat_count = 1 order by seat_date"
        )
    }
    assert list(by_day) == days("2026-10-01", "2026-10-31")
    assert [(day, *by_day[day]) for day, *_ in table(1)] == [
        (day, group, price, cents) for day, group, price, _, _, cents in table(1)
    ]
    for first, last, group, seat_days, _, _, cents in table(2):
        part = [by_day[day] for day in days(first, last)]
        assert {name for name, _, _ in part} == {group}
        assert (str(len(part)), str(sum(Decimal(value) for _, _, value in part))) == (seat_days, cents)
    lines = october.rows(
        "select billing_group_name, charge_type, billed_cents, billed_cents - floor(billed_cents), billed_usd "
        "from marts.fct_monthly_chargeback order by 1, 2"
    )
    assert shown(lines) == table(3)
    assert october.rows("select sum(billed_cents), sum(floor(billed_cents)) from marts.fct_monthly_chargeback") == [
        (Decimal("4176.470484"), 4175)
    ]


def check_adjustment(october: Warehouse) -> None:
    adjusted = october.rows(
        "select charge_month, billing_group_name, charge_type, adjusts_month, adjusts_charge_type, billed_cents, "
        "billed_usd from marts.fct_monthly_chargeback where charge_month > date '2026-10-01'"
    )
    assert shown(adjusted) == table(4)
    total = Decimal(re.findall(r"Over both months that is ([\d.]+) cents", TEXT)[0])
    for query in (
        "select sum(billed_cents) from marts.fct_monthly_chargeback",
        "select (select sum(billed_cents) from marts.fct_usage_events) "
        "+ (select sum(seat_cents) from marts.fct_daily_seat_costs)",
    ):
        assert october.rows(query) == [(total,)]


# --- the same by the simulator's arithmetic ---------------------------------------------------------------------------


def group_at(email: str, at_ms: int) -> str:
    return "Payments" if at_ms < to_ms(MOVED_AT) else "Search"


def test_the_simulator_s_arithmetic_comes_to_the_numbers_of_the_readme() -> None:
    books = SeatBooks({"standard": [(date(2026, 1, 1), Decimal(40)), (date(2026, 10, 21), Decimal(44))]})
    answer = MembersAnswer(datetime(2026, 10, 1, 2, tzinfo=UTC), ((ADA, "member", False),))
    seats = SeatTruth(
        [answer],
        [],
        None,
        books,
        group_at=group_at,
        usage_of={},
        cycle_of=lambda at_ms: cycle_bounds(at_ms, 1),
    ).days(OCTOBER_DAYS)
    by_day = {str(seat.day): seat for seat in seats}
    for day, group, price, until, before, cents in table(1):
        seat = by_day[day]
        assert (seat.billing_group_id, f"{seat.monthly_price_usd:.2f}") == (group, price)
        assert seat.seat_micro == int(until) - int(before)
        assert str(cents_of(seat.seat_micro)) == cents
    for first, last, group, seat_days, at_end, before, cents in table(2):
        part = [by_day[day] for day in days(first, last)]
        assert (len(part), {seat.billing_group_id for seat in part}) == (int(seat_days), {group})
        assert sum(seat.seat_micro or 0 for seat in part) == int(at_end) - int(before) == Decimal(cents) * 1_000_000
    lines = {Line(OCTOBER, group, "usage"): Decimal(cents) for _, _, cents, group in table(0)}
    for seat in seats:
        line = Line(OCTOBER, seat.billing_group_id, "seat")
        lines[line] = lines.get(line, Decimal(0)) + cents_of(seat.seat_micro or 0)
    found = [
        (line.billing_group_id, line.charge_type, str(lines[line]), str(lines[line] % 1), str(usd))
        for line, usd in sorted(statement(lines).items())
    ]
    assert found == table(3)
    closed = ClosedMonths()
    closed.close(OCTOBER, lines)
    today = lines | {Line(OCTOBER, "Search", "usage"): Decimal("7.000000")}
    published = closed.published(today)
    adjustments = [line for line in published if line.month == NOVEMBER]
    usd = statement(published)
    assert [tuple(str(value) for value in (*line, published[line], usd[line])) for line in adjustments] == table(4)
