"""The tables people read, over two nights of a small team, worked out by hand."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pytest

from tests.warehouse import Warehouse

ADA, BOB, CY, DEE = "ada@example.com", "bob@example.com", "cy@example.com", "dee@example.com"
SEPTEMBER, OCTOBER = date(2026, 9, 1), date(2026, 10, 1)


def event(at: str, user_email: str | None, charged_cents: str | None, **columns: Any) -> dict[str, Any]:
    return {"at": at, "user_email": user_email, "charged_cents": charged_cents, **columns}


def first_night(warehouse: Warehouse) -> None:
    """Ada is in Search, Bob in Data, Cy in no group. Of Dee, whom nobody knows, Cursor withdraws the only event."""
    read_at = "2026-10-02 02:00:00"
    warehouse.write_seed("service_accounts", [",sa1,Nightly,,Ines,builds,g2,2026-09-01,90,"])
    warehouse.write_seed("billing_groups", ["example,g1,CC-1,6100,Ines", ",g7,CC-7,,"])
    warehouse.read_groups(
        read_at,
        {
            "g1": {"name": "Search", "members": [("u1", ADA, "2026-09-01", None)]},
            "g2": {"name": "Data", "members": [("u2", BOB, "2026-09-01", None)]},
        },
    )
    warehouse.read_members(read_at, [(f"u{n}", who, "member", False) for n, who in enumerate((ADA, BOB, CY), 1)])
    warehouse.read_events("2026-09-29", [], read_at)
    kept = [event("10:00", ADA, "100.4"), event("11:00", BOB, "50.4")]
    warehouse.read_events("2026-09-30", [*kept, event("12:00", DEE, "5")], "2026-10-01 02:00:00")
    warehouse.read_events("2026-09-30", kept, read_at)
    warehouse.read_events(
        "2026-10-01",
        [
            event("10:00", ADA, "10"),
            event("14:00", ADA, "20"),
            event("15:00", BOB, "8"),
            event("16:00", CY, "3", kind="Included in Business"),
            event("17:00", None, "1", service_account_id="sa1", service_account_name="nightly-builds"),
            event("18:00", None, "7"),
        ],
        read_at,
    )
    warehouse.read_events("2026-10-02", [event("01:00", BOB, "2")], read_at)


def second_night(warehouse: Warehouse) -> None:
    """Search is now called Find, Ada turns out to have moved at noon of the 1st, and Cursor restated that day.

    Dee turns out to have been in Search, which no event in force shows: only the restatement does.
    """
    read_at = "2026-10-05 02:00:00"
    warehouse.read_groups(
        read_at,
        {
            "g1": {
                "name": "Find",
                "members": [("u1", ADA, "2026-09-01", "2026-10-01 12:00"), ("u4", DEE, "2026-09-01", "2026-10-01")],
            },
            "g2": {
                "name": "Data",
                "members": [("u1", ADA, "2026-10-01 12:00", None), ("u2", BOB, "2026-09-01", None)],
            },
        },
    )
    warehouse.read_members(read_at, [("u1", ADA, "member", False), ("u2", BOB, "owner", False)])
    warehouse.read_events(
        "2026-10-01",
        [
            event("10:00", ADA, "10"),
            event("14:00", ADA, "10"),  # halved
            event("15:00", None, "8"),  # its e-mail was lost
            event("16:00", CY, "3", kind="Included in Business"),
            event("17:00", None, "1", service_account_id="sa1", service_account_name="nightly-builds"),
            event("18:00", None, "7"),
            event("23:00", BOB, None),  # late, and not priced yet
        ],
        read_at,
    )
    warehouse.read_events("2026-10-02", [event("01:00", BOB, "2"), event("09:00", BOB, "2.5")], read_at)
    warehouse.read_events("2026-10-02", [], "2026-10-05 03:00:00", outcome="suspect")
    warehouse.read_events("2026-10-04", [event("09:00", BOB, "1")], read_at)


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Warehouse:
    built = Warehouse(tmp_path_factory.mktemp("marts"), start_date="2026-09-29")
    first_night(built)
    built.build("--exclude-resource-type", "unit_test", full_tests=True)
    second_night(built)
    built.build()
    return built


def cents(text: str) -> Decimal:
    return Decimal(text).quantize(Decimal("0.000001"))


def test_two_nights_publish_what_a_full_refresh_publishes(warehouse: Warehouse) -> None:
    published, refreshed = warehouse.tables(), warehouse.tables_of_a_full_refresh()
    assert published.keys() == refreshed.keys()
    assert [name for name in published if published[name] != refreshed[name] and name != "mart_publication"] == []


def test_the_statement_has_whole_cents_that_add_up(warehouse: Warehouse) -> None:
    rows = warehouse.rows(
        """
        select charge_month, billing_group_id, billing_group_name, charge_type, usage_cents, billed_cents, billed_usd,
            billed_share, event_count, seat_days, is_estimate, is_provisional, is_closed
        from marts.fct_monthly_chargeback order by charge_month, billing_group_id, charge_type
        """
    )
    flags = (0, False, True, False)
    # seats are counted from the first answer on, three days by the 4th; without prices they cost nothing yet
    seats = ("seat", cents("0"), cents("0"), Decimal("0.00"), cents("0"), 0)
    assert rows == [
        # 150.8 cents are 1.51 dollars: the cent goes to the group id that comes first among equal fractions
        (SEPTEMBER, "g1", "Search", "usage", cents("100.4"), cents("100.4"), Decimal("1.01"), cents("0.665782"), 1,
         0, False, True, False),
        (SEPTEMBER, "g2", "Data", "usage", cents("50.4"), cents("50.4"), Decimal("0.50"), cents("0.334218"), 1,
         0, False, True, False),
        (OCTOBER, "g1", "Find", "usage", cents("10"), cents("10"), Decimal("0.10"), cents("0.224719"), 1, *flags),
        (OCTOBER, "g2", "Data", *seats, 6, True, True, False),
        (OCTOBER, "g2", "Data", "usage", cents("24.5"), cents("24.5"), Decimal("0.25"), cents("0.550562"), 7, *flags),
        (OCTOBER, "group_unassigned", "Unassigned", *seats, 3, True, True, False),
        (OCTOBER, "group_unassigned", "Unassigned", "usage", cents("3"), cents("3"), Decimal("0.03"),
         cents("0.067416"), 1, *flags),
        (OCTOBER, "unattributed", "Unattributed", "usage", cents("7"), cents("7"), Decimal("0.07"),
         cents("0.157303"), 1, *flags),
    ]  # fmt: skip


def test_a_group_month_counts_people_and_splits_usage(warehouse: Warehouse) -> None:
    rows = warehouse.rows(
        """
        select charge_month, billing_group_id, member_count, active_member_count, average_seats, usage_cents,
            included_cents, on_demand_cents, automation_cents, seat_cents, billed_usd, billed_usd_previous_month
        from marts.mart_group_months order by charge_month, billing_group_id
        """
    )
    none = cents("0")
    assert rows == [
        (SEPTEMBER, "g1", 2, 1, none, cents("100.4"), none, cents("100.4"), none, None, Decimal("1.01"), None),
        (SEPTEMBER, "g2", 1, 1, none, cents("50.4"), none, cents("50.4"), none, None, Decimal("0.50"), None),
        (OCTOBER, "g1", 1, 1, none, cents("10"), none, cents("10"), none, None, Decimal("0.10"), Decimal("1.01")),
        # two people on three of the four days that are over
        (OCTOBER, "g2", 2, 2, cents("1.5"), cents("24.5"), none, cents("24.5"), none, None, Decimal("0.25"),
         Decimal("0.50")),
        (OCTOBER, "group_unassigned", None, 1, cents("0.75"), cents("3"), cents("3"), none, none, None, Decimal("0.03"),
         Decimal("0.00")),
        (OCTOBER, "unattributed", None, 0, none, cents("7"), none, cents("7"), none, None, Decimal("0.07"),
         Decimal("0.00")),
    ]  # fmt: skip


def test_a_daily_row_bears_the_group_name_of_its_day(warehouse: Warehouse) -> None:
    rows = warehouse.rows(
        """
        select charge_date, billing_group_name, actor_type, user_email, service_account_id, event_count, usage_cents,
            is_provisional
        from marts.fct_daily_charges where charge_date = '2026-10-01'
        order by billing_group_name, actor_type, user_email
        """
    )
    day = date(2026, 10, 1)
    assert rows == [
        (day, "Data", "member", ADA, None, 1, cents("10"), False),
        (day, "Data", "member", BOB, None, 2, cents("8"), False),
        (day, "Data", "service_account", None, "sa1", 1, cents("1"), False),
        (day, "Search", "member", ADA, None, 1, cents("10"), False),
        (day, "Unassigned", "member", CY, None, 1, cents("3"), False),
        (day, "Unattributed", "unattributed", None, None, 1, cents("7"), False),
    ]


def test_a_restatement_says_what_changed_and_whom_it_touched(warehouse: Warehouse) -> None:
    rows = warehouse.rows(
        """
        select usage_date, read_at, previous_read_at, is_open_day, event_count_before, event_count_after,
            usage_cents_before, usage_cents_after, added_event_count, removed_event_count, repriced_event_count,
            billing_group_count, billing_group_ids
        from marts.mart_restatements order by usage_date, read_at
        """
    )
    first, second = datetime(2026, 10, 2, 2), datetime(2026, 10, 5, 2)
    assert rows == [
        (
            date(2026, 9, 30),
            first,
            datetime(2026, 10, 1, 2),
            False,
            3,
            2,
            cents("155.8"),
            cents("150.8"),
            0,
            1,
            0,
            1,
            "g1",
        ),
        (date(2026, 10, 1), second, first, False, 6, 7, cents("49"), cents("39"), 1, 0, 1, 1, "g2"),
        (date(2026, 10, 2), second, first, True, 1, 2, cents("2"), cents("4.5"), 1, 0, 0, 1, "g2"),
    ]


def test_coverage_says_how_far_every_day_can_be_trusted(warehouse: Warehouse) -> None:
    rows = warehouse.rows(
        """
        select coverage_date, status, row_count, charged_cents, last_complete_read_at, read_count, suspect_read_count
        from marts.mart_load_coverage where resource = 'usage_events' order by coverage_date
        """
    )
    first, second = datetime(2026, 10, 2, 2), datetime(2026, 10, 5, 2)
    assert rows == [
        (date(2026, 9, 29), "before_history", 0, cents("0"), first, 1, 0),
        (date(2026, 9, 30), "provisional", 2, cents("150.8"), first, 2, 0),
        (date(2026, 10, 1), "final", 7, cents("39"), second, 2, 0),
        (date(2026, 10, 2), "final", 2, cents("4.5"), second, 3, 1),
        (date(2026, 10, 3), "missing", None, None, None, 0, 0),
        (date(2026, 10, 4), "provisional", 1, cents("1"), second, 1, 0),
    ]
    assert warehouse.rows(
        """
        select resource, coverage_date, status, read_count from marts.mart_load_coverage
        where resource <> 'usage_events' order by resource, coverage_date
        """
    ) == [
        (resource, date(2026, 10, day), "read" if day in {2, 5} else "missing", 1 if day in {2, 5} else 0)
        for resource in ("billing_groups", "members")
        for day in (2, 3, 4, 5)
    ]


def test_the_publication_says_through_which_day_it_is_complete_and_when_all_was_tested(warehouse: Warehouse) -> None:
    assert warehouse.rows("select * from marts.mart_publication") == [
        (
            datetime(2026, 11, 20, 2),
            "run",
            "0",
            "test",
            date(2026, 9, 30),
            date(2026, 10, 4),
            datetime(2026, 11, 20, 2),
        )
    ]


def test_a_dimension_shows_today_and_keeps_who_is_gone(warehouse: Warehouse) -> None:
    assert warehouse.rows(
        "select user_email, user_id, role, is_removed, current_billing_group_id from marts.dim_users order by 1"
    ) == [
        (ADA, "u1", "member", False, "g2"),
        (BOB, "u2", "owner", False, "g2"),
        (CY, "u3", "member", True, None),
        (DEE, "u4", None, True, None),
    ]
    assert warehouse.rows(
        """
        select billing_group_id, billing_group_name, cost_center, gl_account, owner, current_member_count, deleted_at
        from marts.dim_billing_groups order by 1
        """
    ) == [
        ("g1", "Find", "CC-1", "6100", "Ines", 0, None),
        ("g2", "Data", None, None, None, 2, None),
        ("g7", "g7", "CC-7", None, None, 0, None),
        ("group_unassigned", "Unassigned", None, None, None, 0, None),
        ("unattributed", "Unattributed", None, None, None, 0, None),
    ]
    assert warehouse.rows(
        """
        select service_account_name, owner, current_billing_group_id, key_rotation_days
        from marts.dim_service_accounts
        """
    ) == [("Nightly", "Ines", "g2", 90)]
