"""Seats from what a team's answers and audit log tell, over hand-made warehouses: real dbt, real DuckDB files."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.warehouse import STATEMENT, Warehouse, days

ANN = ("u_ann", "ann@example.com")
BOB = ("u_bob", "bob@example.com")
CAT = ("u_cat", "cat@example.com")
DAN = ("u_dan", "dan@example.com")
EVE = ("u_eve", "eve@example.com")
GUS = ("u_gus", "gus@example.com")
WITHOUT_TESTS = ("--exclude-resource-type", "unit_test", "--exclude-resource-type", "test")
SEATS = """
    select strftime(seat_date, '%d'), split_part(coalesce(user_email, '-'), '@', 1), seat_type, seat_status,
        billing_group_name, seat_evidence, seat_count, seat_cents::varchar
    from marts.fct_daily_seat_costs order by seat_date, user_email nulls last, seat_type
"""


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    return Warehouse(tmp_path / "data", marts=STATEMENT)


def member(person: tuple[str, str], role: str = "member", is_removed: bool = False) -> tuple[str, str, str, bool]:
    return (*person, role, is_removed)


def audit(number: int, occurred_at: str, event_type: str, **data: Any) -> dict[str, Any]:
    return {"event_id": f"e{number}", "occurred_at": occurred_at, "event_type": event_type, "data": data}


def groups(**members: list[tuple[tuple[str, str], str, str | None]]) -> dict[str, dict[str, Any]]:
    return {
        key: {"name": key.capitalize(), "members": [(*person, start, end) for person, start, end in entries]}
        for key, entries in members.items()
    }


def first_nights(w: Warehouse) -> None:
    """October, read on the 4th, 5th and 7th. The audit log reaches back to the 1st.

    Ann is on the roster of the 4th. Bob was added on the 2nd at noon, before the first answer. Cat was removed on the
    3rd, and used Cursor on the 2nd. Dan vanishes between the 4th and the 5th without an event and used nothing. Eve is
    an owner who becomes a free owner on the 5th at 10:00. Gus was added on the 2nd and removed on the same day.
    """
    w.write_seed("seat_prices", [",standard,31.00,", ",premium,310.00,", ",standard,62.00,2026-10-04"])
    w.write_seed("seat_types", [",EVE@example.com,premium,2026-10-03"])
    w.write_seed(
        "committed_seats", [",standard,5,2026-10-02", ",standard,0,2026-10-03", "example,premium,2,2026-10-05"]
    )
    everybody = [(person, "2026-09-01", None) for person in (ANN, EVE)]
    w.read_groups("2026-10-04 02:00", groups(alpha=everybody, beta=[(CAT, "2026-09-01", "2026-10-03 15:00")]))
    w.read_groups(
        "2026-10-05 02:00",
        groups(
            alpha=[(ANN, "2026-09-01", "2026-10-04 23:59:59.999"), (EVE, "2026-09-01", None)],
            beta=[(CAT, "2026-09-01", "2026-10-03 15:00"), (ANN, "2026-10-04 23:59:59.999", None)],
        ),
    )
    roster = [member(ANN), member(BOB), member(DAN), member(EVE, "owner")]
    w.read_members("2026-10-04 02:00", [*roster, member(GUS, is_removed=True)])
    w.read_members("2026-10-05 02:00", [member(ANN), member(BOB), member(EVE, "owner")])
    w.read_members("2026-10-07 02:00", [member(ANN), member(BOB), member(EVE, "free-owner")])
    w.read_audit_log(
        "2026-10-01",
        "2026-10-07 02:00",
        [
            audit(1, "2026-10-02 12:00", "add_user", user_email="Bob@example.com", role="MEMBER"),
            audit(2, "2026-10-03 15:00", "remove_user", user_email="cat@example.com"),
            audit(
                3, "2026-10-05 10:00", "update_user_role", user_email=EVE[1], old_role="OWNER", new_role="FREE_OWNER"
            ),
            audit(4, "2026-10-02 08:00", "member_added", email=GUS[1], method="invite"),
            audit(5, "2026-10-02 18:00", "member_removed", email=GUS[1], method="scim"),
        ],
        "2026-10-07 02:00",
    )
    usage = {"2026-10-02": [{"at": "09:00", "user_email": CAT[1], "charged_cents": "10"}]}
    for day in days("2026-10-01", "2026-10-07"):
        w.read_events(day, usage.get(day, []), "2026-10-07 02:00")


def test_seats_are_what_roster_and_audit_log_prove_priced_by_the_day(warehouse: Warehouse) -> None:
    first_nights(warehouse)
    warehouse.build(full_tests=True)

    ann, bob, cat, dan, eve = "ann", "bob", "cat", "dan", "eve"
    assert warehouse.rows(SEATS) == [
        # who was removed was there before, from the first day of the audit log on
        ("01", cat, "standard", "taken", "Beta", "audit_log", 1, "100.000000"),
        ("02", bob, "standard", "taken", "Unassigned", "audit_log", 1, "100.000000"),
        ("02", cat, "standard", "taken", "Beta", "audit_log", 1, "100.000000"),
        ("02", "-", "standard", "committed_unused", "Unattributed", "audit_log", 3, "300.000000"),
        ("03", bob, "standard", "taken", "Unassigned", "audit_log", 1, "100.000000"),
        ("03", cat, "standard", "held_after_removal", "Beta", "audit_log", 1, "100.000000"),
        ("04", ann, "standard", "taken", "Beta", "roster_snapshot", 1, "200.000000"),
        ("04", bob, "standard", "taken", "Unassigned", "roster_snapshot", 1, "200.000000"),
        ("04", cat, "standard", "held_after_removal", "Beta", "roster_snapshot", 1, "200.000000"),
        ("04", dan, "standard", "taken", "Unassigned", "roster_snapshot", 1, "200.000000"),
        ("04", eve, "premium", "taken", "Alpha", "roster_snapshot", 1, "1000.000000"),
        ("05", ann, "standard", "taken", "Beta", "roster_snapshot", 1, "200.000000"),
        ("05", bob, "standard", "taken", "Unassigned", "roster_snapshot", 1, "200.000000"),
        ("05", cat, "standard", "held_after_removal", "Beta", "roster_snapshot", 1, "200.000000"),
        ("05", "-", "premium", "committed_unused", "Unattributed", "roster_snapshot", 2, "2000.000000"),
        ("06", ann, "standard", "taken", "Beta", "carried_forward", 1, "200.000000"),
        ("06", bob, "standard", "taken", "Unassigned", "carried_forward", 1, "200.000000"),
        ("06", cat, "standard", "held_after_removal", "Beta", "carried_forward", 1, "200.000000"),
        ("06", "-", "premium", "committed_unused", "Unattributed", "carried_forward", 2, "2000.000000"),
        # the 7th was not over when it was last read
    ]
    assert warehouse.rows(
        """
        select billing_group_name, charge_type, billed_usd::varchar, seat_days, event_count, is_estimate
        from marts.fct_monthly_chargeback order by all
        """
    ) == [
        ("Alpha", "seat", "10.00", 1, 0, True),
        ("Beta", "seat", "15.00", 9, 0, True),
        ("Beta", "usage", "0.10", 0, 1, False),
        ("Unassigned", "seat", "10.00", 6, 0, True),
        ("Unattributed", "seat", "43.00", 7, 0, True),
    ]
    assert warehouse.rows(
        """
        select billing_group_name, average_seats::varchar, seat_cents::varchar, usage_cents::varchar,
            billed_usd::varchar
        from marts.mart_group_months order by all
        """
    ) == [
        ("Alpha", "0.166667", "1000.000000", "0.000000", "10.00"),
        ("Beta", "1.500000", "1500.000000", "10.000000", "15.10"),
        ("Unassigned", "1.000000", "1000.000000", "0.000000", "10.00"),
        ("Unattributed", "1.166667", "4300.000000", "0.000000", "43.00"),
    ]


def a_late_audit_event_a_new_price_and_a_return(w: Warehouse) -> None:
    """The log shows late that Ann was added on the 2nd and Cat came back on the 6th; the price falls on the 6th."""
    w.write_seed(
        "seat_prices",
        [",standard,31.00,", ",premium,310.00,", ",standard,62.00,2026-10-04", "example,standard,0.31,2026-10-06"],
    )
    w.read_audit_log(
        "2026-10-01",
        "2026-10-08 02:00",
        [
            audit(6, "2026-10-02 23:59:59.999", "add_user", user_email=ANN[1], role="owner"),
            audit(7, "2026-10-06 12:00", "add_user", user_email=CAT[1], role="member"),
        ],
        "2026-10-08 02:00",
    )
    w.read_members("2026-10-08 02:00", [member(ANN), member(CAT)])
    w.read_events("2026-10-08", [], "2026-10-08 02:00")


def built_days(warehouse: Warehouse) -> list[str]:
    rows = warehouse.rows("select usage_date from warehouse.intermediate.int_usage_days_to_build order by 1")
    return [day.isoformat() for (day,) in rows]


def test_only_the_days_whose_seats_changed_are_built_again_and_the_tables_are_those_of_a_full_refresh(
    warehouse: Warehouse,
) -> None:
    first_nights(warehouse)
    warehouse.build(*WITHOUT_TESTS)
    a_late_audit_event_a_new_price_and_a_return(warehouse)
    warehouse.build(*WITHOUT_TESTS)

    # the company's own price row begins on the 6th and ends the rows for every team from that day on, not before
    assert built_days(warehouse) == ["2026-10-02", "2026-10-03", "2026-10-06", "2026-10-07", "2026-10-08"]
    assert [row for row in warehouse.rows(SEATS) if row[0] in ("02", "06", "07") and row[1] in ("ann", "cat")] == [
        ("02", "ann", "standard", "taken", "Alpha", "audit_log", 1, "100.000000"),
        ("02", "cat", "standard", "taken", "Beta", "audit_log", 1, "100.000000"),
        ("06", "ann", "standard", "taken", "Beta", "carried_forward", 1, "1.000000"),
        # back by the audit log; the group, as for usage, is the last known one until an answer shows the return
        ("06", "cat", "standard", "taken", "Beta", "carried_forward", 1, "1.000000"),
        ("07", "ann", "standard", "taken", "Beta", "roster_snapshot", 1, "1.000000"),
        # the answer of the 7th does not list Cat: its word stands until the next one
        ("07", "cat", "standard", "held_after_removal", "Beta", "roster_snapshot", 1, "1.000000"),
    ]
    assert warehouse.tables() == warehouse.tables_of_a_full_refresh()
    warehouse.build("--exclude-resource-type", "unit_test", full_tests=True)


def test_without_any_price_seats_are_counted_and_nothing_is_charged(warehouse: Warehouse) -> None:
    warehouse.read_members("2026-10-01 02:00", [member(ANN), member(BOB, "guest")])
    warehouse.write_seed("committed_seats", [",standard,3,"])
    warehouse.read_events("2026-10-01", [], "2026-10-02 02:00")
    output = warehouse.build()

    assert warehouse.rows(
        "select seat_status, seat_count, seat_price_status, monthly_price_usd, seat_cents "
        "from marts.fct_daily_seat_costs order by 1"
    ) == [("committed_unused", 2, "not_priced", None, None), ("taken", 1, "not_priced", None, None)]
    assert warehouse.rows(
        "select charge_type, billed_cents, seat_days from marts.fct_monthly_chargeback order by 3"
    ) == [
        ("seat", Decimal("0.000000"), 1),
        ("seat", Decimal("0.000000"), 2),
    ]
    assert warehouse.rows("select seat_cents from marts.mart_group_months") == [(None,), (None,)]
    assert "WARN 1 int_roster_states_roles_that_we_know" in output


def test_a_hole_in_the_prices_fails_the_build_and_names_type_and_day(warehouse: Warehouse) -> None:
    warehouse.read_members("2026-10-01 02:00", [member(ANN)])
    warehouse.write_seed("seat_prices", [",standard,31.00,2026-10-02"])
    warehouse.read_events("2026-10-01", [], "2026-10-03 02:00")
    warehouse.read_events("2026-10-02", [], "2026-10-03 02:00")

    result = warehouse.dbt("build", "--exclude-resource-type", "unit_test")

    assert result.returncode == 1
    assert "FAIL 1 assert_every_seat_day_has_a_price" in result.stdout
    compiled = warehouse.target / "compiled/chargeback/tests/assert_every_seat_day_has_a_price.sql"
    ((_, seat_type, first, last, seat_days),) = warehouse.rows(compiled.read_text())
    assert (seat_type, first.isoformat(), last.isoformat(), seat_days) == ("standard", "2026-10-01", "2026-10-01", 1)


def test_an_account_that_goes_on_under_another_address_holds_one_seat(warehouse: Warehouse) -> None:
    warehouse.write_seed("service_accounts", [",sa1,ci,robot@example.com,,,,,,"])
    robot = ("u_robot", "Robot@example.com", "member", False)
    warehouse.read_members("2026-10-01 02:00", [member(ANN), robot])
    warehouse.read_members("2026-10-02 02:00", [(ANN[0], "ann.lee@example.com", "member", False), robot])
    warehouse.read_events("2026-10-01", [{"at": "09:00", "user_email": ANN[1]}], "2026-10-03 02:00")
    warehouse.read_events("2026-10-02", [], "2026-10-03 02:00")
    warehouse.build(*WITHOUT_TESTS)

    assert [row[:2] for row in warehouse.rows(SEATS)] == [("01", "ann"), ("02", "ann.lee")]


def test_a_full_month_costs_its_price_to_the_last_digit(warehouse: Warehouse) -> None:
    """Also a price that no month divides evenly, and one that changes on the 11th."""
    month = days("2026-10-01", "2026-10-31")
    warehouse.write_seed("seat_prices", [",standard,32.99,", ",premium,40.01,", ",premium,60.00,2026-10-11"])
    warehouse.write_seed("seat_types", [f",{BOB[1]},premium,"])
    warehouse.read_members("2026-10-01 02:00", [member(ANN), member(BOB)])
    for day in month:
        warehouse.read_events(day, [], "2026-11-01 02:00")
    warehouse.build(*WITHOUT_TESTS, "--select", "+fct_daily_seat_costs")

    found = warehouse.rows("select seat_type, seat_date, seat_cents from marts.fct_daily_seat_costs order by 1, 2")
    standard = [cents for seat_type, _, cents in found if seat_type == "standard"]
    premium = [cents for seat_type, _, cents in found if seat_type == "premium"]
    assert sum(standard) == Decimal("3299.000000")
    assert standard[:2] == [Decimal("106.419354"), Decimal("106.419355")]
    ten_old_days, twenty_one_new_days = 4_001_000_000 * 10 // 31, 6_000_000_000 - 6_000_000_000 * 10 // 31
    assert sum(premium) == Decimal(ten_old_days + twenty_one_new_days).scaleb(-6)
