"""Months that stay closed, over hand-made warehouses: what was sent does not move, and no cent is lost by it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.warehouse import STATEMENT, Warehouse

ADA, BOB = ("u_ada", "ada@example.com"), ("u_bob", "bob@example.com")
WITHOUT_TESTS = ("--exclude-resource-type", "unit_test", "--exclude-resource-type", "test")
LINES = """
    select strftime(charge_month, '%m'), billing_group_name, charge_type,
        coalesce(strftime(adjusts_month, '%m') || ' ' || adjusts_charge_type, '-'),
        usage_cents::varchar, billed_cents::varchar, billed_usd::varchar, is_estimate, is_closed
    from marts.fct_monthly_chargeback
    order by charge_month, billing_group_name, charge_type, adjusts_month, adjusts_charge_type
"""
ADJUSTMENTS = """
    select charge_date::varchar, billing_group_name, adjusts_month::varchar, adjusts_charge_type, billed_cents::varchar,
        is_estimate, is_provisional
    from marts.fct_daily_charges where charge_type = 'adjustment' order by all
"""


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    return Warehouse(tmp_path / "data", start_date="2026-09-29", marts=STATEMENT)


def event(user_email: str, cents: str) -> dict[str, Any]:
    return {"at": "10:00", "user_email": user_email, "charged_cents": cents}


def september(w: Warehouse) -> None:
    """Two covered days of September. Ada in Search and Bob in Data, each with a seat of 30 dollars: a dollar a day."""
    w.write_seed("seat_prices", [",standard,30.00,"])
    w.read_groups(
        "2026-09-29 01:00",
        {
            "g1": {"name": "Search", "members": [(*ADA, "2026-09-01", None)]},
            "g2": {"name": "Data", "members": [(*BOB, "2026-09-01", None)]},
        },
        cycle=("2026-09-01", "2026-10-01"),
    )
    w.read_members("2026-09-29 01:00", [(*ADA, "member", False), (*BOB, "member", False)])
    w.read_events("2026-09-29", [event(ADA[1], "10.5"), event(BOB[1], "1.5")], "2026-10-02 02:00")
    w.read_events("2026-09-30", [event(ADA[1], "20")], "2026-10-03 02:00")


def frozen(warehouse: Warehouse, month: str) -> list[list[tuple[Any, ...]]]:
    """What both tables say about a month."""
    return [
        warehouse.rows(f"select * from marts.{table} where charge_month = '{month}-01' order by all")
        for table in ("fct_daily_charges", "fct_monthly_chargeback")
    ]


def published(tables: dict[str, list[tuple[Any, ...]]]) -> dict[str, list[tuple[Any, ...]]]:
    """All but the publication's own row, which says when everything was last tested."""
    return {name: rows for name, rows in tables.items() if name != "mart_publication"}


def sums_agree(warehouse: Warehouse) -> bool:
    ((charged, known),) = warehouse.rows(
        """
        select (select sum(billed_cents) from marts.fct_monthly_chargeback),
            (select sum(billed_cents) from marts.fct_usage_events)
            + (select sum(seat_cents) from marts.fct_daily_seat_costs)
        """
    )
    assert warehouse.rows("select sum(billed_cents) from marts.fct_daily_charges") == [(charged,)]
    return bool(charged == known)


def test_a_closed_month_stays_as_it_was_and_what_changes_is_adjusted_in_the_first_open_month(
    warehouse: Warehouse,
) -> None:
    september(warehouse)
    warehouse.build(*WITHOUT_TESTS)
    lines = warehouse.rows(LINES)
    assert lines == [
        ("09", "Data", "seat", "-", "0.000000", "200.000000", "2.00", True, False),
        ("09", "Data", "usage", "-", "1.500000", "1.500000", "0.01", False, False),
        ("09", "Search", "seat", "-", "0.000000", "200.000000", "2.00", True, False),
        ("09", "Search", "usage", "-", "30.500000", "30.500000", "0.31", False, False),
    ]
    # a close that was killed before its header left lines: they do not exist
    warehouse.close("2026-09", with_header=False)
    warehouse.close("2026-09")
    warehouse.build(full_tests=True)
    assert warehouse.rows(LINES) == [(*line[:-1], True) for line in lines]
    september_as_sent = frozen(warehouse, "2026-09")

    # no day of October was read yet: the adjustments stand in it all the same
    warehouse.write_seed("seat_prices", [",standard,30.00,", ",standard,60.00,2026-09-30"])
    warehouse.read_events("2026-09-29", [event(ADA[1], "10.5"), event(BOB[1], "1")], "2026-10-04 02:00")
    warehouse.build()
    assert frozen(warehouse, "2026-09") == september_as_sent
    assert warehouse.rows(ADJUSTMENTS) == [
        ("2026-10-01", "Data", "2026-09-01", "seat", "100.000000", True, False),
        ("2026-10-01", "Data", "2026-09-01", "usage", "-0.500000", False, False),
        ("2026-10-01", "Search", "2026-09-01", "seat", "100.000000", True, False),
    ]
    assert warehouse.rows(LINES)[4:] == [
        ("10", "Data", "adjustment", "09 seat", "0.000000", "100.000000", "1.00", True, False),
        ("10", "Data", "adjustment", "09 usage", "-0.500000", "-0.500000", "0.00", False, False),
        ("10", "Search", "adjustment", "09 seat", "0.000000", "100.000000", "1.00", True, False),
    ]
    assert sums_agree(warehouse)
    assert published(warehouse.tables()) == published(warehouse.tables_of_a_full_refresh())


def test_an_adjustment_that_was_booked_in_a_month_closed_since_is_not_booked_again(warehouse: Warehouse) -> None:
    september(warehouse)
    warehouse.build(*WITHOUT_TESTS)
    warehouse.close("2026-09")
    warehouse.read_events("2026-09-29", [event(ADA[1], "11.5"), event(BOB[1], "1.5")], "2026-10-04 02:00")
    warehouse.read_events("2026-10-01", [event(BOB[1], "7")], "2026-10-04 02:00")
    warehouse.build(*WITHOUT_TESTS)
    warehouse.close("2026-10")
    warehouse.build()
    october_as_sent = frozen(warehouse, "2026-10")
    assert [line[2:6] for line in warehouse.rows(LINES) if line[3] != "-"] == [
        ("adjustment", "09 usage", "1.000000", "1.000000")
    ]

    # an event that Cursor withdrew stays on what was sent, and is taken back where the next statement is
    warehouse.read_events("2026-09-29", [event(ADA[1], "13"), event(BOB[1], "1.5")], "2026-11-04 02:00")
    warehouse.read_events("2026-10-01", [], "2026-11-04 02:00")
    warehouse.read_events("2026-11-01", [event(ADA[1], "3")], "2026-11-04 02:00")
    warehouse.build(full_tests=True)

    assert frozen(warehouse, "2026-10") == october_as_sent
    assert [(line[0], *line[1:6]) for line in warehouse.rows(LINES) if line[3] != "-"] == [
        ("10", "Search", "adjustment", "09 usage", "1.000000", "1.000000"),
        # October was closed when one of its days was known: the seats of the other thirty
        ("11", "Data", "adjustment", "10 seat", "0.000000", "2903.225807"),
        ("11", "Data", "adjustment", "10 usage", "-7.000000", "-7.000000"),
        ("11", "Search", "adjustment", "09 usage", "1.500000", "1.500000"),
        ("11", "Search", "adjustment", "10 seat", "0.000000", "2903.225807"),
    ]
    assert sums_agree(warehouse)
    assert published(warehouse.tables()) == published(warehouse.tables_of_a_full_refresh())


def test_a_header_whose_lines_are_gone_fails_the_build(warehouse: Warehouse) -> None:
    september(warehouse)
    warehouse.build(*WITHOUT_TESTS)
    close_id = warehouse.close("2026-09")
    warehouse.execute(
        f"delete from raw.closed_monthly_chargeback where close_id = '{close_id}' and charge_type = 'seat'"
    )

    result = warehouse.dbt("build", "--exclude-resource-type", "unit_test")

    assert result.returncode == 1
    assert "FAIL 1 conserves_stg_close_ledger__closed_monthly_chargeback" in result.stdout
