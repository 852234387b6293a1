"""The core models over hand-made warehouses: real dbt, real DuckDB files."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.warehouse import STATEMENT, Warehouse

ANN = ("u_ann", "ann@example.com")
BOB = ("u_bob", "bob@example.com")
CAT = ("u_cat", "cat@example.com")
ROSTER = [(*ANN, "member", False), (*BOB, "member", False)]


def group(name: str, *members: tuple[tuple[str, str], str, str | None]) -> dict[str, Any]:
    return {"name": name, "members": [(*person, joined_at, left_at) for person, joined_at, left_at in members]}


def event(at: str, user_email: str | None = None, cents: str | None = "1", **fields: Any) -> dict[str, Any]:
    return {"at": at, "user_email": user_email, "charged_cents": cents, **fields}


WITHOUT_TESTS = ("--exclude-resource-type", "unit_test", "--exclude-resource-type", "test")
EVENTS = """
    select strftime(occurred_at, '%d %H:%M'), coalesce(user_email, service_account_id), usage_cents, billed_cents,
        billing_group_name, attribution_method
    from marts.fct_usage_events
    order by occurred_at, usage_cents
"""


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    folder = tmp_path / "data folder"  # a space, as people have them
    folder.mkdir()
    return Warehouse(folder, marts=(*STATEMENT, "dim_group_memberships", "dim_users"))


def day_ids(rows: list[tuple[Any, ...]]) -> list[str]:
    return [row[0].isoformat() for row in rows]


class Life:
    """Nights of one invented team, each with something that happens to real ones."""

    def __init__(self, warehouse: Warehouse) -> None:
        self.warehouse = warehouse

    def first_night(self) -> None:
        w = self.warehouse
        w.write_seed("plans", [",enterprise,,0.5"])
        w.read_groups(
            "2026-10-04 02:00",
            {
                "g_a": group("Alpha", (ANN, "2026-09-01 00:00", None), (BOB, "2026-09-01 00:00", None)),
                "g_b": group("Beta"),
            },
        )
        w.read_members("2026-10-04 02:00", ROSTER)
        w.read_events(
            "2026-10-01",
            [event("09:00", "ANN@example.com", "10"), event("09:00", "ann@example.com", "10"), event("10:00", BOB[1])],
            "2026-10-04 02:00",
        )
        w.read_events("2026-10-02", [event("09:00", BOB[1], "4"), event("15:00", BOB[1], "5")], "2026-10-04 02:00")
        w.read_events(
            "2026-10-03",
            [
                event("09:00", ANN[1], "7", conversation_id="c1"),
                event("10:00", CAT[1], "2"),
                event("11:00", "creator@example.com", "3", service_account_id="sa_1", service_account_name="ci"),
            ],
            "2026-10-04 02:00",
        )

    def a_move_seen_late_a_late_event_and_a_new_price(self) -> None:
        w = self.warehouse
        w.read_groups(
            "2026-10-05 02:00",
            {
                "g_a": group("Alpha", (ANN, "2026-09-01 00:00", None), (BOB, "2026-09-01 00:00", "2026-10-02 12:00")),
                "g_b": group("Beta", (BOB, "2026-10-02 12:03", None)),
            },
        )
        w.read_members("2026-10-05 02:00", ROSTER)
        w.read_events(
            "2026-10-01",
            [
                event("09:00", "ann@example.com", "10"),
                event("09:00", "ann@example.com", "5"),
                event("10:00", BOB[1]),
                event("23:59:59.999", ANN[1], "0.25"),
            ],
            "2026-10-05 02:00",
        )
        w.read_events("2026-10-04", [event("09:00", BOB[1], "4")], "2026-10-05 02:00")

    def a_rename_a_lost_e_mail_and_a_seed_row(self) -> None:
        w = self.warehouse
        w.write_seed("service_accounts", ["example,sa_1,ci,,,,g_b,,,2026-10-03"])
        w.read_groups(
            "2026-10-06 02:00",
            {
                "g_a": group("Alpha two", (ANN, "2026-09-01 00:00", None)),
                "g_b": group("Beta", (BOB, "2026-10-02 12:03", None)),
            },
        )
        w.read_events(
            "2026-10-03",
            [
                event("09:00", None, "7", conversation_id="c1"),
                event("10:00", CAT[1], "2"),
                event("11:00", None, "3", service_account_id="sa_1", service_account_name="ci"),
            ],
            "2026-10-06 02:00",
        )
        w.read_events("2026-10-05", [event("09:00", None, "6", conversation_id="c1")], "2026-10-06 02:00")

    def a_day_that_became_empty_a_departure_and_a_stranger_who_is_listed(self) -> None:
        w = self.warehouse
        w.read_groups(
            "2026-10-07 02:00",
            {
                "g_a": group("Alpha two", (ANN, "2026-09-01 00:00", None), (CAT, "2026-10-05 00:00", None)),
                "g_b": group("Beta", (BOB, "2026-10-02 12:03", "2026-10-06 18:00")),
            },
        )
        w.read_members("2026-10-07 02:00", [(*ANN, "member", False), (*CAT, "member", False)])
        w.read_events("2026-10-04", [], "2026-10-07 02:00")
        w.read_events("2026-10-06", [event("12:00", BOB[1], "8"), event("20:00", BOB[1], "9")], "2026-10-07 02:00")

    def a_second_user_id_and_a_plan_from_a_date(self) -> None:
        w = self.warehouse
        w.write_seed("plans", [",enterprise,,0.5", "example,enterprise,2026-10-06,0.8333"])
        w.read_groups(
            "2026-10-08 02:00",
            {
                "g_a": group("Alpha two", (ANN, "2026-09-01 00:00", None)),
                "g_b": group("Beta", (("u_bob2", BOB[1]), "2026-10-07 08:00", None)),
            },
            cycle=("2026-10-08", "2026-11-08"),
        )
        w.read_members("2026-10-08 02:00", [*ROSTER[:1], ("u_bob2", BOB[1], "member", False), (*CAT, "member", False)])
        w.read_events("2026-10-07", [event("07:00", BOB[1], "1"), event("09:00", BOB[1], "1")], "2026-10-08 02:00")

    def a_night_in_which_nothing_changed(self) -> None:
        self.warehouse.read_members(
            "2026-10-09 02:00", [*ROSTER[:1], ("u_bob2", BOB[1], "member", False), (*CAT, "member", False)]
        )


def test_after_any_nights_the_tables_are_those_of_a_full_refresh_and_every_rule_holds(warehouse: Warehouse) -> None:
    life = Life(warehouse)
    built_days = {}
    for night in (
        life.first_night,
        life.a_move_seen_late_a_late_event_and_a_new_price,
        life.a_rename_a_lost_e_mail_and_a_seed_row,
        life.a_day_that_became_empty_a_departure_and_a_stranger_who_is_listed,
        life.a_second_user_id_and_a_plan_from_a_date,
        life.a_night_in_which_nothing_changed,
    ):
        night()
        warehouse.build(*WITHOUT_TESTS)
        built_days[night.__name__] = day_ids(
            warehouse.rows("select usage_date from warehouse.intermediate.int_usage_days_to_build order by 1")
        )
        # a day that is not built again keeps what an earlier night made of it, so two comparisons see every night
        if night in (life.a_rename_a_lost_e_mail_and_a_seed_row, life.a_night_in_which_nothing_changed):
            assert warehouse.tables() == warehouse.tables_of_a_full_refresh(), night.__name__

    assert built_days == {
        "first_night": ["2026-10-01", "2026-10-02", "2026-10-03"],
        "a_move_seen_late_a_late_event_and_a_new_price": ["2026-10-01", "2026-10-02", "2026-10-04"],
        "a_rename_a_lost_e_mail_and_a_seed_row": ["2026-10-03", "2026-10-05"],
        "a_day_that_became_empty_a_departure_and_a_stranger_who_is_listed": ["2026-10-03", "2026-10-04", "2026-10-06"],
        # every day a version of which names the person with a new user id or on which they had a seat, and those of the
        # new plan
        "a_second_user_id_and_a_plan_from_a_date": [
            *("2026-10-01", "2026-10-02", "2026-10-04", "2026-10-05"),
            *("2026-10-06", "2026-10-07"),
        ],
        "a_night_in_which_nothing_changed": [],
    }
    assert [(*row[:2], str(row[2]), str(row[3]), *row[4:]) for row in warehouse.rows(EVENTS)] == [
        ("01 09:00", "ann@example.com", "5.000000", "2.500000", "Alpha", "reported_interval"),
        ("01 09:00", "ann@example.com", "10.000000", "5.000000", "Alpha", "reported_interval"),
        ("01 10:00", "bob@example.com", "1.000000", "0.500000", "Alpha", "reported_interval"),
        ("01 23:59", "ann@example.com", "0.250000", "0.125000", "Alpha", "reported_interval"),
        ("02 09:00", "bob@example.com", "4.000000", "2.000000", "Alpha", "reported_interval"),
        ("02 15:00", "bob@example.com", "5.000000", "2.500000", "Beta", "reported_interval"),
        ("03 09:00", "ann@example.com", "7.000000", "3.500000", "Alpha", "reported_interval"),
        ("03 10:00", "cat@example.com", "2.000000", "1.000000", "Unassigned", "unassigned_gap"),
        ("03 11:00", "sa_1", "3.000000", "1.500000", "Beta", "service_account_map"),
        ("05 09:00", "ann@example.com", "6.000000", "3.000000", "Alpha", "reported_interval"),
        ("06 12:00", "bob@example.com", "8.000000", "6.666400", "Beta", "reported_interval"),
        ("06 20:00", "bob@example.com", "9.000000", "7.499700", "Beta", "last_known_group"),
        ("07 07:00", "bob@example.com", "1.000000", "0.833300", "Beta", "last_known_group"),
        ("07 09:00", "bob@example.com", "1.000000", "0.833300", "Beta", "reported_interval"),
    ]
    warehouse.build("--exclude-resource-type", "unit_test", "--select", "fqn:*", full_tests=True)
    unit_tests = warehouse.dbt("test", "--select", "test_type:unit")
    assert unit_tests.returncode == 0, unit_tests.stdout
    assert "Done. PASS=" in unit_tests.stdout


def test_a_restated_event_and_one_that_lost_its_e_mail_keep_their_keys(warehouse: Warehouse) -> None:
    warehouse.read_events(
        "2026-10-01",
        [event("09:00", ANN[1], "10"), event("09:30", BOB[1], "4", kind="Usage-based")],
        "2026-10-02 02:00",
    )
    warehouse.build(*WITHOUT_TESTS, "--select", "+fct_usage_events")
    before = dict(warehouse.rows("select user_email, usage_event_id from marts.fct_usage_events"))
    warehouse.read_events(
        "2026-10-01",
        [event("09:00", None, "2.5"), event("09:30", BOB[1], "0", kind="Errored, Not Charged")],
        "2026-10-03 02:00",
    )
    warehouse.build(*WITHOUT_TESTS, "--select", "+fct_usage_events")

    assert warehouse.rows("select usage_event_id, user_email, usage_cents from marts.fct_usage_events order by 3") == [
        (before["bob@example.com"], "bob@example.com", Decimal("0.000000")),
        (before["ann@example.com"], "ann@example.com", Decimal("2.500000")),
    ]


def test_a_fact_that_lost_an_event_fails_the_build(warehouse: Warehouse) -> None:
    warehouse.read_events(
        "2026-10-01", [event("09:00", ANN[1], "10"), event("09:00", ANN[1], "10")], "2026-10-02 02:00"
    )
    warehouse.execute("delete from raw.usage_events where rowid = 0")

    result = warehouse.dbt("build", "--exclude-resource-type", "unit_test", "--select", "+fct_usage_events")

    assert result.returncode == 1
    assert "conserves_fct_usage_events" in result.stdout


def test_without_a_plan_no_event_can_be_billed_and_the_build_says_so(warehouse: Warehouse) -> None:
    warehouse.read_events("2026-10-01", [event("09:00", ANN[1], "10")], "2026-10-02 02:00")

    result = warehouse.dbt("build", "--exclude-resource-type", "unit_test", "--select", "+fct_usage_events", plan="")

    assert result.returncode == 1
    assert "fct_usage_events_a_plan_for_every_day" in result.stdout
