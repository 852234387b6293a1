"""The tables somebody must act on, and cost by repository, over two nights of a small team with a month closed between.

What the optional routes answer is as bad as it gets: amended commits, ids of either kind, two ids for one address,
people nobody knows, commits without lines, a blocklist somebody typed.
"""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.optional_routes import CONTROLS, OptionalRoutes
from tests.warehouse import days

ADA, BOB, CY, DEE, EVE, FLO = (f"{name}@example.com" for name in ("ada", "bob", "cy", "dee", "eve", "flo"))
FIRST_NIGHT, SECOND_NIGHT = "2026-11-19 02:00", "2026-11-20 01:00"
CONSERVED = """
    with differences as (
        select team, charge_date, actor_type, user_email, usage_cents, billed_cents from marts.fct_daily_charges
        union all
        select team, charge_date, actor_type, user_email, -usage_cents, -billed_cents from marts.mart_repository_costs
    )
    select team, charge_date, actor_type, user_email, sum(usage_cents), sum(billed_cents) from differences
    group by all having sum(usage_cents) <> 0 or sum(billed_cents) <> 0
"""


def event(user_email: str | None, cents: str, **columns: Any) -> dict[str, Any]:
    return {"at": "10:00", "user_email": user_email, "charged_cents": cents, **columns}


def commit(commit_hash: str, user: tuple[str | None, str | None], repository: str | None, **fields: Any) -> dict:
    user_id, user_email = user
    return {
        "commit_hash": commit_hash,
        "user_id": user_id,
        "user_email": user_email,
        "repository_name": repository,
        "tab_lines_added": 0,
        "composer_lines_added": 0,
        "committed_at": "2026-11-03 09:00",
        "created_at": "2026-11-03 09:00:21",
        **fields,
    }


EVENTS = {
    "2026-10-02": [event(CY, "3")],
    "2026-10-05": [event(ADA, "50")],
    "2026-10-20": [event(BOB, "7")],
    "2026-11-03": [
        event(ADA, "100"),
        event(BOB, "5"),
        event(EVE, "10"),
        event(None, "4", service_account_id="sa1"),
        event(None, "6", service_account_id="sa2"),
        event(None, "2"),
    ],
}
ADA_COMMITS = ("u_ada", " Ada@Example.com")
COMMITS = [
    commit("h1", ADA_COMMITS, "Acme/Ledger", tab_lines_added=10, composer_lines_added=20),
    # amended two days later: seen again, and counted once
    commit(
        "h1", ADA_COMMITS, "acme/ledger", tab_lines_added=10, composer_lines_added=40, created_at="2026-11-05 07:00"
    ),
    commit("h2", ADA_COMMITS, "acme/vault", composer_lines_added=25),
    commit("h3", ADA_COMMITS, None, tab_lines_added=25),
    commit("h4", ADA_COMMITS, "acme/empty"),
    commit("h5", ("7001", None), "acme/ledger", tab_lines_added=1),
    commit("h6", ("u_eve2", None), "acme/site", composer_lines_added=2),
    commit("h7", ("u_xyz", "stranger@example.com"), "acme/ledger", composer_lines_added=500),
    commit("h8", ("9999", None), "acme/ledger", composer_lines_added=500),
    commit("h9", (None, None), "acme/ledger", composer_lines_added=500),
]


def groups_answer(bob_left_at: str | None) -> dict[str, Any]:
    return {
        "g1": {
            "name": "Search",
            "directory_group_id": "d1",
            "members": [("u_ada", ADA, "2026-09-01", None), ("u_bob", BOB, "2026-09-01", bob_left_at)],
        },
        "g2": {
            "name": "Data",
            "members": [
                (f"u_{name}", f"{name}@example.com", "2026-09-01", None) for name in ("cy", "dee", "eve", "flo")
            ],
        },
    }


def first_night(w: OptionalRoutes) -> None:
    """Bob left Search on 15 October and is in no group since. Cy and Flo do nothing; Dee takes completions."""
    w.write_seed("seat_prices", [",standard,30.00,"])
    w.write_seed("service_accounts", [",sa1,Nightly,,,builds,g1,,,"])
    w.read_groups("2026-10-02 01:00", groups_answer(None))
    w.read_groups(FIRST_NIGHT, groups_answer("2026-10-15 12:00"), cycle=("2026-11-01", "2026-12-01"))
    roster = [
        (f"u_{name}", f"{name}@example.com", "member", False) for name in ("ada", "bob", "cy", "dee", "eve", "flo")
    ]
    # invited again: two ids share an address
    roster.append(("u_eve2", EVE, "member", False))
    w.read_members("2026-10-02 01:00", roster)
    w.read_members(FIRST_NIGHT, roster)
    for day in days("2026-10-02", "2026-11-18"):
        w.read_events(day, EVENTS.get(day, []), FIRST_NIGHT)
    w.read_audit_log(
        "2026-10-02",
        FIRST_NIGHT,
        [
            {
                "event_id": f"e{number}",
                "occurred_at": occurred_at,
                "event_type": "service_account",
                "data": {"action": action, "service_account_id": account, "service_account_name": account.upper()},
            }
            for number, (occurred_at, action, account) in enumerate(
                [("2026-11-02 09:00", "archive", "sa2"), ("2026-10-10 09:00", "create", "sa3")]
            )
        ],
        FIRST_NIGHT,
    )
    w.read_snapshot(
        "directory_groups",
        FIRST_NIGHT,
        {
            "directory_groups": [
                {"directory_group_id": "d1", "name": "search-all", "monthly_limit_usd": "500"},
                {"directory_group_id": "d2", "name": "data", "monthly_limit_usd": None},
            ],
            "directory_group_members": [
                {"directory_group_id": "d1", "user_id": "u_bob", "user_email": "BOB@example.com"},
                {"directory_group_id": "d2", "user_id": "u_bob", "user_email": BOB},
                {"directory_group_id": "d2", "user_id": "u_eve2", "user_email": None},
            ],
        },
    )
    w.read_snapshot(
        "repository_blocklists",
        FIRST_NIGHT,
        {
            "repository_blocklists": [
                {"repository_id": "r1", "url": "https://github.com/Acme/Vault.git", "patterns_json": '["*"]'},
                {"repository_id": "r2", "url": "somewhere, ask Ines", "patterns_json": '["*"]'},
                {"repository_id": "r3", "url": "https://github.com/acme/ledger", "patterns_json": '["*.env"]'},
                {"repository_id": "r4", "url": None, "patterns_json": None},
            ]
        },
    )
    w.read_snapshot(
        "member_spend",
        FIRST_NIGHT,
        {
            "member_spend": [
                {"user_id": "u_ada", "user_email": ADA, "effective_limit_usd": "150", "billing_tier": "Premium"},
                {"user_id": "u_eve", "user_email": EVE, "effective_limit_usd": "20"},
                {"user_id": "u_eve2", "user_email": EVE, "effective_limit_usd": "40"},
            ]
        },
    )
    w.read_stream(
        "daily_usage",
        "2026-11-01",
        FIRST_NIGHT,
        [
            {
                "usage_date": "2026-11-10",
                "user_id": "7002",
                "user_email": DEE,
                "is_active": False,
                "tabs_shown_count": 9,
            },
            {
                "usage_date": "2026-11-10",
                "user_id": "7003",
                "user_email": FLO,
                "is_active": False,
                "tabs_shown_count": 0,
            },
            # two numbers share an address
            {
                "usage_date": "2026-11-03",
                "user_id": "7001",
                "user_email": EVE,
                "is_active": True,
                "most_used_model": "model-one",
            },
            {"usage_date": "2026-11-03", "user_id": "7009", "user_email": EVE, "is_active": True},
        ],
        FIRST_NIGHT,
    )
    w.read_stream("ai_commits", "2026-11-01", FIRST_NIGHT, COMMITS, FIRST_NIGHT)


def second_night(w: OptionalRoutes) -> None:
    """October is closed. Then a commit of Ada's from the 5th of it shows up, and an event of hers from the 6th."""
    w.close("2026-10")
    w.read_events("2026-10-06", [event(ADA, "3")], SECOND_NIGHT)
    w.read_events("2026-11-19", [], SECOND_NIGHT)
    late = commit("h20", ADA_COMMITS, "acme/old", tab_lines_added=1, committed_at="2026-10-05 09:00")
    late["created_at"] = "2026-11-19 09:00"
    w.read_stream("ai_commits", "2026-11-05", SECOND_NIGHT, [COMMITS[1], late], SECOND_NIGHT)


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> OptionalRoutes:
    built = OptionalRoutes(
        tmp_path_factory.mktemp("controls"), start_date="2026-10-02", marts=(*CONTROLS, "fct_monthly_chargeback")
    )
    first_night(built)
    built.build_untested()
    second_night(built)
    built.build_and_test_controls()
    return built


def text(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Amounts without their zeros at the end, for the eye."""
    return [tuple(f"{value.normalize():f}" if isinstance(value, Decimal) else value for value in row) for row in rows]


def test_a_day_is_split_by_the_lines_of_commits_however_they_name_people_and_repositories(
    warehouse: OptionalRoutes,
) -> None:
    rows = warehouse.rows(
        """
        select split_part(coalesce(user_email, actor_type), '@', 1), repository_name, is_blocked, commit_count,
            ai_lines_added, ai_lines_share, usage_cents, seat_cents, billed_cents
        from marts.mart_repository_costs where charge_date = '2026-11-03' order by user_email nulls last, 1, 2
        """
    )
    nothing = "(no repository)"
    assert text(rows) == [
        ("ada", nothing, False, 1, 25, "0.25", "25", "25", "50"),
        ("ada", "acme/ledger", False, 1, 50, "0.5", "50", "50", "100"),
        ("ada", "acme/vault", True, 1, 25, "0.25", "25", "25", "50"),
        ("bob", nothing, False, 0, 0, None, "5", "100", "105"),
        ("cy", nothing, False, 0, 0, None, "0", "100", "100"),
        ("dee", nothing, False, 0, 0, None, "0", "100", "100"),
        ("eve", "acme/ledger", False, 1, 1, "0.333333", "3.333333", "33.333333", "36.666666"),
        ("eve", "acme/site", False, 1, 2, "0.666667", "6.666667", "66.666667", "73.333334"),
        ("flo", nothing, False, 0, 0, None, "0", "100", "100"),
        ("service_account", nothing, False, 0, 0, None, "10", "0", "10"),
        ("unattributed", nothing, False, 0, 0, None, "2", "0", "2"),
    ]


def test_repositories_lose_and_double_no_cent_of_the_daily_charges(warehouse: OptionalRoutes) -> None:
    assert warehouse.rows(CONSERVED) == []
    assert warehouse.rows("select count(*) from marts.mart_repository_costs where billed_cents <> 0") != [(0,)]


def test_a_late_commit_moves_cost_between_repositories_of_a_closed_day_and_not_its_sum(
    warehouse: OptionalRoutes,
) -> None:
    rows = warehouse.rows(
        """
        select charge_date::varchar, actor_type, repository_name, has_commit_data, usage_cents, billed_cents
        from marts.mart_repository_costs
        where (charge_date in ('2026-10-05', '2026-10-06') and user_email = 'ada@example.com')
            or (charge_date = '2026-11-01' and user_email is null)
        order by 1
        """
    )
    # each seat costs 30 dollars in 31 parts: the fifth is a digit smaller than the sixth
    assert text(rows) == [
        ("2026-10-05", "member", "acme/old", False, "50", "146.774193"),
        ("2026-10-06", "member", "(no repository)", False, "0", "96.774194"),
        # what was found for October since it was closed
        ("2026-11-01", "unattributed", "(no repository)", True, "3", "3"),
    ]


def test_two_nights_publish_what_a_full_refresh_publishes(warehouse: OptionalRoutes) -> None:
    published, refreshed = warehouse.tables(), warehouse.tables_of_a_full_refresh()
    assert [name for name in published if published[name] != refreshed[name] and name != "mart_publication"] == []


def test_unassigned_people_have_a_date_a_cost_and_a_hint(warehouse: OptionalRoutes) -> None:
    rows = warehouse.rows(
        """
        select user_email, user_id, unassigned_since_date::varchar, last_unassigned_date::varchar,
            last_billing_group_name, directory_group_count, directory_group_name, this_month_usage_cents,
            this_month_seat_cents, this_month_billed_cents, last_month_usage_cents, last_month_billed_cents
        from marts.mart_unassigned_spend
        """
    )
    # 15 to 31 October is 17 of 31 days of a seat of 30 dollars, 1 to 19 November 19 of 30
    october = Decimal(3_000_000_000 - 3_000_000_000 * 14 // 31) / 1_000_000
    assert text(rows) == [
        (BOB, "u_bob", "2026-10-15", "2026-11-19", "Search", 2, "data", "5", "1900", "1905", "7", f"{october + 7}")
    ]


def test_service_accounts_are_found_without_owner_group_use_or_end(warehouse: OptionalRoutes) -> None:
    rows = warehouse.rows(
        """
        select service_account_id, finding, since_date::varchar, service_account_name, this_month_billed_cents,
            last_month_billed_cents, automation_share
        from marts.mart_service_account_findings order by 1, 2
        """
    )
    assert text(rows) == [
        ("sa1", "no_owner", "2026-11-03", "Nightly", "4", "0", "0.4"),
        ("sa2", "carries_more_than_half_of_automation_cost", "2026-11-03", "SA2", "6", "0", "0.6"),
        ("sa2", "no_group", "2026-11-03", "SA2", "6", "0", "0.6"),
        ("sa2", "no_owner", "2026-11-03", "SA2", "6", "0", "0.6"),
        ("sa2", "used_after_archive", "2026-11-03", "SA2", "6", "0", "0.6"),
        ("sa3", "never_used", "2026-10-10", "SA3", "0", "0", "0"),
        ("sa3", "no_group", "2026-10-10", "SA3", "0", "0", "0"),
        ("sa3", "no_owner", "2026-10-10", "SA3", "0", "0", "0"),
    ]


def test_a_seat_is_unused_without_events_and_without_free_completions(warehouse: OptionalRoutes) -> None:
    rows = warehouse.rows(
        """
        select user_email, billing_group_name, period_from_date::varchar, period_through_date::varchar,
            last_used_date::varchar, usage_evidence, event_day_count, daily_usage_day_count, monthly_price_usd,
            last_30_days_seat_cents
        from marts.mart_unused_seats order by 1
        """
    )
    # 21 to 31 October is 11 of 31 days, 1 to 19 November 19 of 30
    cost = Decimal(3_000_000_000 - 3_000_000_000 * 20 // 31) / 1_000_000 + 1900
    period = ("2026-10-21", "2026-11-19")
    # daily usage was read from 1 November to the night of the 19th
    evidence = ("events_and_some_daily_usage", 30, 18, "30", f"{cost}")
    assert text(rows) == [
        (CY, "Data", *period, "2026-10-02", *evidence),
        (FLO, "Data", *period, None, *evidence),
    ]


def test_dimensions_show_what_the_optional_routes_know(warehouse: OptionalRoutes) -> None:
    people = warehouse.rows(
        """
        select user_email, user_id, billing_tier, effective_limit_usd, last_active_date::varchar, directory_group_count,
            directory_group_name
        from marts.dim_users order by 1
        """
    )
    assert text(people) == [
        (ADA, "u_ada", "premium", "150", None, 0, None),
        (BOB, "u_bob", None, None, None, 2, "data"),
        (CY, "u_cy", None, None, None, 0, None),
        (DEE, "u_dee", None, None, "2026-11-10", 0, None),
        (EVE, "u_eve2", None, "40", "2026-11-03", 1, "data"),
        (FLO, "u_flo", None, None, None, 0, None),
    ]
    assert text(
        warehouse.rows(
            """
            select billing_group_id, directory_group_name, directory_group_limit_usd, api_spend_cents,
                api_spend_read_at::varchar
            from marts.dim_billing_groups where billing_group_id like 'g_' order by 1
            """
        )
    ) == [
        ("g1", "search-all", "500", "0", "2026-11-19 02:00:00"),
        ("g2", None, None, "0", "2026-11-19 02:00:00"),
    ]
    assert warehouse.rows(
        "select model, event_count, last_30_days_person_count, most_used_person_day_count from marts.dim_models"
    ) == [("model-one", 9, 3, 1)]
    assert warehouse.rows(
        """
        select service_account_id, created_at::varchar, archived_at::varchar
        from marts.dim_service_accounts order by 1
        """
    ) == [
        ("sa1", None, None),
        ("sa2", None, "2026-11-02 09:00:00"),
        ("sa3", "2026-10-10 09:00:00", None),
    ]


def test_routes_that_never_answered_leave_answers_that_say_not_known(tmp_path: Path) -> None:
    w = OptionalRoutes(tmp_path / "data", start_date="2026-10-02", marts=(*CONTROLS, "fct_monthly_chargeback"))
    w.read_members("2026-10-02 01:00", [("u_ada", ADA, "member", False)])
    for day in days("2026-10-02", "2026-11-02"):
        w.read_events(day, EVENTS.get(day, []), "2026-11-03 02:00")
    for resource in ("member_spend", "directory_groups", "repository_blocklists"):
        w.read_snapshot(resource, "2026-11-03 02:00", {}, outcome="unavailable")
    w.build_and_test_controls()
    assert w.rows(CONSERVED) == []
    assert w.rows("select distinct repository_name, is_blocked, has_commit_data from marts.mart_repository_costs") == [
        ("(no repository)", None, False)
    ]
    assert w.rows(
        """
        select user_email, billing_tier, effective_limit_usd, last_active_date, directory_group_count
        from marts.dim_users where user_email = 'ada@example.com'
        """
    ) == [(ADA, None, None, None, None)]
    assert w.rows("select user_email, usage_evidence, monthly_price_usd from marts.mart_unused_seats") == []
    assert w.rows("select * from marts.mart_service_account_findings") == []
    unassigned = w.rows("select user_email, directory_group_count from marts.mart_unassigned_spend order by 1")
    assert unassigned == [(email, None) for email in (ADA, BOB, CY)]
