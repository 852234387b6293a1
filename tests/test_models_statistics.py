"""Forecasts, anomalies and budgets over hand-made warehouses and a simulated quarter: real dbt, real DuckDB files."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipelines.simulator.organisation import Organisation
from pipelines.simulator.truth import TrueEvent, Truth
from tests.warehouse import EVENT_DEFAULTS, Warehouse, days

ADA, BOB = ("u_ada", "ada@example.com"), ("u_bob", "bob@example.com")
MARTS = ("mart_budget_status", "mart_cost_anomalies", "fct_monthly_chargeback")
WITHOUT_TESTS = ("--exclude-resource-type", "unit_test", "--exclude-resource-type", "test")
NOW = datetime(2026, 11, 20, 2, tzinfo=UTC)  # what the models of a hand-made warehouse take for now
FORECASTS = """
    select strftime(charge_month, '%m'), owner_name, actual_cents::varchar, forecast_cents::varchar,
        forecast_low_cents::varchar, forecast_high_cents::varchar, complete_day_count, remaining_day_count,
        past_month_count, past_error_pct::varchar
    from marts.mart_cost_forecast
"""
BUDGETS = """
    select strftime(charge_month, '%m'), owner_type, owner_name, is_known_owner, budget_usd::varchar,
        actual_usd::varchar, forecast_usd::varchar, used_share::varchar, budget_state, api_limit_usd::varchar
    from marts.mart_budget_status order by all
"""


@pytest.fixture(scope="module")
def autumn(tmp_path_factory: pytest.TempPathFactory) -> Warehouse:
    """August to the 14th of November. Ada, in Search, costs 100 cents on weekdays and 10 on other days; Bob, in Data,
    50 every day; both hold a seat of 30 dollars a month. A service account that Data pays for costs 7 cents on each day
    of November. On the 16th of October Ada cost 1000 more.
    """
    w = Warehouse(tmp_path_factory.mktemp("autumn") / "data", start_date="2026-08-01", marts=MARTS)
    w.write_seed("seat_prices", [",standard,30.00,"])
    w.write_seed("service_accounts", [",sa1,Nightly,,,,g2,,,"])
    w.write_seed(
        "budgets",
        [
            ",2026-10-01,billing_group,g1,62.90",
            ",2026-11-01,billing_group,g1,50.00",
            ",2026-11-01,billing_group,g2,20.00",
            ",2026-11-01,service_account,sa1,0.97",
            ",2026-11-01,service_account,sa_slip,5.00",
            ",2026-12-01,billing_group,g1,50.00",
            "example,2026-11-01,billing_group,g2,100.00",
        ],
    )
    found_people(w, "2026-08-01")
    for day in days("2026-08-01", "2026-11-14"):
        cents = "10" if date.fromisoformat(day).weekday() >= 5 else "1100" if day == "2026-10-16" else "100"
        events = [event(cents), event("50", BOB[1])]
        if day >= "2026-11":
            events.append(event("7", ADA[1], service_account_id="sa1", automation_id="a1"))
        w.read_events(day, events, f"{date.fromisoformat(day) + timedelta(days=1)} 02:00")
    # the open day is not yet part of anything
    w.read_events("2026-11-15", [event("77777")], "2026-11-15 02:00")
    told = w.build(full_tests=True)
    assert "WARN 1 mart_budget_status_has_an_owner_that_nobody_knows" in told
    return w


def found_people(w: Warehouse, day: str) -> None:
    """Ada in Search and Bob in Data, each in a group that the company directory fills."""
    members = {"g1": ("Search", ADA), "g2": ("Data", BOB)}
    w.read_groups(
        f"{day} 01:00",
        {
            key: {"name": name, "members": [(*person, "2026-07-01", None)], "directory_group_id": f"dir_{key}"}
            for key, (name, person) in members.items()
        },
        cycle=None,
    )
    w.read_members(f"{day} 01:00", [(*ADA, "member", False), (*BOB, "member", False)])


def event(cents: str, user_email: str = ADA[1], **more: Any) -> dict[str, Any]:
    return {"at": "10:00", "user_email": user_email, "charged_cents": cents, **more}


def test_a_month_that_goes_on_is_what_it_was_and_what_its_days_to_come_cost_by_their_kind(autumn: Warehouse) -> None:
    # Ada's October came to 22 x 100 + 9 x 10 + 1000 and a seat of 3000; on the 14th nobody could know of the 1000
    error = str((Decimal(100) * 1000 / 6290 / 3).quantize(Decimal("0.000001")))
    total_error = str((Decimal(100) * 1000 / 10840 / 3).quantize(Decimal("0.000001")))
    assert autumn.rows(f"{FORECASTS} where charge_month = '2026-11-01' order by owner_type, owner_name") == [
        # 11 weekdays and 5 other days to come, with a seat of 100 cents on each. The account's 7 cents on 14 of 28 days
        # are 3.5 a day: nothing in the quietest of the four weeks, 7 in the busiest
        ("11", "Data", "2198.000000", "4654.000000", "4598.000000", "4710.000000", 14, 16, 3, "0.000000"),
        ("11", "Search", "2440.000000", "5190.000000", "5190.000000", "5190.000000", 14, 16, 3, error),
        ("11", "Nightly", "98.000000", "154.000000", "98.000000", "210.000000", 14, 16, 0, None),
        ("11", "Total", "4638.000000", "9844.000000", "9788.000000", "9900.000000", 14, 16, 3, total_error),
    ]


def test_months_that_are_over_are_their_statements(autumn: Warehouse) -> None:
    assert autumn.rows(
        """
        select months.charge_month, months.owner_id, months.forecast_cents = lines.billed_cents
        from marts.mart_cost_forecast as months
        left join (
            select charge_month, billing_group_id, sum(billed_cents) as billed_cents
            from marts.fct_monthly_chargeback group by all
        ) as lines on months.charge_month = lines.charge_month and months.owner_id = lines.billing_group_id
        where months.owner_type = 'billing_group' and months.is_month_over order by 1, 2
        """
    ) == [(date(2026, month, 1), group, True) for month in (8, 9, 10) for group in ("g1", "g2")]


def test_a_budget_stands_beside_what_was_and_will_be_charged_and_beside_the_limit_of_the_api(autumn: Warehouse) -> None:
    assert {row[-1] for row in autumn.rows(BUDGETS)} == {None}, "the route was never read"
    limits = {"team": autumn.team, "snapshot_id": "limits", "directory_group_id": "dir_g1", "monthly_limit_usd": 75}
    read = {"resource": "directory_groups", "outcome": "landed", "read_number": 9999, "read_at": "2026-11-15 02:00"}
    autumn.insert("directory_groups", [limits])
    autumn.insert("snapshot_reads", [{"team": autumn.team, "snapshot_id": "limits", "read_id": "limits", **read}])
    autumn.build("--select", "mart_budget_status", "--exclude-resource-type", "unit_test")
    assert autumn.rows(BUDGETS) == [
        ("10", "billing_group", "Search", True, "62.90", "62.90", "62.90", "1.000000", "on_track", "75.00"),
        ("11", "billing_group", "Data", True, "100.00", "21.98", "46.54", "0.219800", "on_track", None),
        ("11", "billing_group", "Search", True, "50.00", "24.40", "51.90", "0.488000", "at_risk", "75.00"),
        ("11", "service_account", "Nightly", True, "0.97", "0.98", "1.54", "1.010309", "exceeded", None),
        ("11", "service_account", "sa_slip", False, "5.00", "0.00", "0.00", "0.000000", "on_track", None),
        ("12", "billing_group", "Search", True, "50.00", "0.00", None, "0.000000", "not_known", "75.00"),
    ]


def test_an_adjustment_is_part_of_the_month_it_is_booked_in_from_its_first_night_on(tmp_path: Path) -> None:
    w = Warehouse(tmp_path / "data", start_date="2026-10-20", marts=MARTS)
    found_people(w, "2026-10-20")
    for day in days("2026-10-20", "2026-10-31"):
        w.read_events(day, [event("100")], "2026-11-05 02:00")
    w.build(*WITHOUT_TESTS)
    assert w.rows(f"{FORECASTS} where owner_id = 'g1' order by 1") == [
        ("10", "Search", *["1200.000000"] * 4, 12, 0, None, None),
        # nothing of it is read yet
        ("11", "Search", "0.000000", *["3000.000000"] * 3, 0, 30, 0, None),
    ]
    w.close("2026-10")
    # in the closed month the forecast goes on from what was sent; 30 cents for Data are new
    w.read_events("2026-10-25", [event("100"), event("30", BOB[1])], "2026-11-06 02:00")
    w.build(full_tests=True)
    assert w.rows(f"{FORECASTS} order by 1, 2") == [
        ("10", "Data", *["0.000000"] * 4, 12, 0, None, None),
        ("10", "Search", *["1200.000000"] * 4, 12, 0, None, None),
        ("10", "Total", *["1200.000000"] * 4, 12, 0, None, None),
        ("11", "Data", *["30.000000"] * 4, 0, 30, 0, None),
        ("11", "Search", "0.000000", *["3000.000000"] * 3, 0, 30, 0, None),
        ("11", "Total", "30.000000", *["3030.000000"] * 3, 0, 30, 0, None),
    ]


# --- anomalies: a simulated quarter -----------------------------------------------------------------------------------

FIRST_DAY, LAST_DAY = date(2026, 6, 15), date(2026, 11, 19)
# team: seed, people, groups, events per person and working day. Some of these have groups of one or two people
CALM = {
    "tiny": (21, 9, 4, 4.0),
    "thin": (103, 15, 12, 16.0),
    "busy": (136, 40, 4, 16.0),
    "wide": (5, 40, 12, 3.0),
    "lean": (7, 18, 3, 20.0),
    "large": (6, 80, 8, 8.0),
}
PLANTED = (3, 60, 8, 8.0)
ON_A_WEEKDAY, YESTERDAY = date(2026, 10, 14), date(2026, 11, 19)


def organisation(seed: int, people: int, groups: int, per_person_day: float) -> Organisation:
    return Organisation.invent(
        seed=seed, people=people, groups=groups, start=FIRST_DAY, end=LAST_DAY, events_per_person_day=per_person_day
    )


def stored(moment: datetime) -> str:
    """As raw holds it: UTC without zone."""
    return str(moment.replace(tzinfo=None))


def load(w: Warehouse, invented: Organisation, events_by_day: dict[date, list[TrueEvent]]) -> None:
    """Everything the API would have told of an organisation by now; each day was read once, four days after it."""
    w.insert("teams", [{"team": w.team, "start_date": FIRST_DAY, "first_run_at": stored(NOW)}])
    people: dict[str, list[tuple[str, str, str, str | None]]] = defaultdict(list)
    for stay in Truth(invented).memberships():
        left_at = None if stay.left_at is None or stay.left_at > NOW else stored(stay.left_at)
        people[stay.billing_group_id].append((stay.user_id, stay.email, stored(stay.joined_at), left_at))
    names = {group.group_id: group.names[0][1] for group in invented.roster.groups}
    w.read_groups(stored(NOW), {key: {"name": name, "members": people[key]} for key, name in names.items()}, cycle=None)
    rows, reads = [], []
    for number, (day, events) in enumerate(events_by_day.items()):
        batch = {"team": w.team, "usage_date": day, "batch_id": f"{w.team}-{number}"}
        reads.append(
            {
                **batch,
                "resource": "usage_events",
                "read_id": f"{w.team}-{number}",
                "read_number": number,
                "outcome": "landed",
                "row_count": len(events),
                "charged_cents": str(sum((one.charged_cents or Decimal(0) for one in events), Decimal(0))),
                "read_at": min(stored(NOW), f"{day + timedelta(days=4)} 02:00:00"),
            }
        )
        rows += [
            {
                **EVENT_DEFAULTS,
                **batch,
                "occurred_at": stored(one.occurred_at),
                "user_email": one.email,
                "service_account_id": one.service_account_id,
                "cloud_agent_id": one.cloud_agent_id,
                "automation_id": one.automation_id,
                "model": one.model,
                "kind": one.kind,
                "charged_cents": None if one.charged_cents is None else str(one.charged_cents),
            }
            for one in events
        ]
    with w.connect() as connection:
        for table, listed in (("usage_events", rows), ("load_windows", reads)):
            connection.register("listed", pa.Table.from_pylist(listed))
            connection.execute(f"insert into raw.{table} by name select * from listed")
            connection.unregister("listed")


@pytest.fixture(scope="module")
def quarter(tmp_path_factory: pytest.TempPathFactory) -> tuple[Warehouse, list[tuple[str, date]]]:
    """Six calm organisations as six teams, and one in which some days cost five times what they did."""
    w = Warehouse(tmp_path_factory.mktemp("quarter") / "data", marts=MARTS)
    w.execute("delete from raw.teams")
    accounts: list[str] = []
    planted: list[tuple[str, date]] = []
    for team, sizes in {**CALM, "planted": PLANTED}.items():
        w.team, invented = team, organisation(*sizes)
        truth = Truth(invented)
        by_day = {
            day: truth.events(day, NOW)
            for day in (FIRST_DAY + timedelta(days=number) for number in range((LAST_DAY - FIRST_DAY).days + 1))
        }
        if team == "planted":
            planted = plant(by_day)
        accounts += [
            f"{team},{account.service_account_id},,,,,{group},,,{since}"
            for account in invented.roster.service_accounts
            for since, group in account.mappings
        ]
        load(w, invented, by_day)
    w.write_seed("service_accounts", accounts)
    w.build()
    return w, planted


def plant(events_by_day: dict[date, list[TrueEvent]]) -> list[tuple[str, date]]:
    """The largest and a small group on a weekday, and one more yesterday, all at five times their cost."""
    cents: dict[str, Decimal] = defaultdict(Decimal)
    for day in (ON_A_WEEKDAY, YESTERDAY):
        for one in events_by_day[day]:
            cents[one.billing_group_id] += one.charged_cents or 0
    dear = sorted(
        (group for group in cents if group.startswith("group_") and cents[group] > 400), key=cents.__getitem__
    )
    planted = [(dear[-1], ON_A_WEEKDAY), (dear[0], ON_A_WEEKDAY), (dear[-2], YESTERDAY)]
    for group, day in planted:
        events_by_day[day] = [
            replace(one, charged_cents=one.charged_cents * 5)
            if one.billing_group_id == group and one.charged_cents is not None
            else one
            for one in events_by_day[day]
        ]
    return planted


def test_on_calm_quarters_hardly_any_day_of_a_group_stands_out(
    quarter: tuple[Warehouse, list[tuple[str, date]]],
) -> None:
    shares = quarter[0].rows(
        """
        select team, count(*) filter (where is_anomaly), count(*), count(distinct billing_group_id)
        from warehouse.intermediate.int_group_days_compared where team <> 'planted' group by team
        """
    )
    # each of them: measured 0 to 1.1 per cent
    assert {team for team, *_ in shares} == set(CALM)
    for team, standing_out, group_days, group_count in shares:
        assert group_days > 60 * group_count, team
        assert standing_out <= 0.02 * group_days, team


def test_a_day_that_costs_five_times_as_much_is_found_and_leads_the_list(
    quarter: tuple[Warehouse, list[tuple[str, date]]],
) -> None:
    w, planted = quarter
    found = w.rows(
        """
        select billing_group_id, charge_date, is_provisional from marts.mart_cost_anomalies
        where team = 'planted' order by score desc
        """
    )
    assert {(group, day) for group, day, _ in found[: len(planted)]} == set(planted)
    # the newest day may still change, and says so
    assert {day for _, day, is_provisional in found if is_provisional} == {YESTERDAY}
    ((group_days,),) = w.rows(
        "select count(*) from warehouse.intermediate.int_group_days_compared where team = 'planted'"
    )
    assert len(found) - len(planted) <= 0.02 * group_days
