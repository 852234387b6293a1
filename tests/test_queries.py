"""models/QUERIES.md: every question is answered on the demo, and what it answers is worked out a second time here."""

from __future__ import annotations

import csv
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb
import pytest
import sqlglot
from published import make_published

from pipelines.paths import PROJECT_DIR, DataPaths
from pipelines.report import Report, read_report
from pipelines.simulator import Organisation

TEXT = (PROJECT_DIR / "models" / "QUERIES.md").read_text(encoding="utf-8")
SECTION = re.compile(r"^## (?P<title>.+)\n\n(?P<reading>[^\n]+)\n\n```sql\n(?P<sql>[^`]+)```$", re.M)
SEPTEMBER, OCTOBER, NOVEMBER = date(2026, 9, 1), date(2026, 10, 1), date(2026, 11, 1)
CENT = Decimal("0.01")
Row = dict[str, Any]


@dataclass(frozen=True)
class Question:
    title: str
    reading: str
    sql: str


QUESTIONS = {found["title"]: Question(**found.groupdict()) for found in SECTION.finditer(TEXT)}


def ask(connection: duckdb.DuckDBPyConnection, sql: str) -> list[Row]:
    found = connection.execute(sql)
    names = [column[0] for column in found.description]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


@dataclass
class Demo:
    """The demo's folder, its published file and its warehouse."""

    paths: DataPaths
    published: duckdb.DuckDBPyConnection
    warehouse: duckdb.DuckDBPyConnection

    @cached_property
    def report(self) -> Report:
        return read_report(self.paths, OCTOBER)

    def rows(self, sql: str) -> list[Row]:
        return ask(self.published, sql)

    def seed(self, name: str) -> list[dict[str, str]]:
        with (self.paths.seeds_dir / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    def by_actor(self, month: date) -> dict[str, Decimal]:
        """Cents charged per person or service account, from events and seat days themselves."""
        found: dict[str, Decimal] = defaultdict(Decimal)
        for row in self.rows(
            "select coalesce(user_email, service_account_id, actor_type) as actor, billed_cents as cents "
            f"from marts.fct_usage_events where usage_month = date '{month}' union all "
            "select coalesce(user_email, 'unattributed'), coalesce(seat_cents, 0) from marts.fct_daily_seat_costs "
            f"where date_trunc('month', seat_date) = date '{month}'"
        ):
            found[row["actor"]] += row["cents"]
        return found


@pytest.fixture(scope="module")
def demo(demo_data: DataPaths) -> Iterator[Demo]:
    with (
        duckdb.connect(str(demo_data.published), read_only=True) as published,
        duckdb.connect(str(demo_data.warehouse), read_only=True) as warehouse,
    ):
        yield Demo(demo_data, published, warehouse)


def usd(cents: Decimal) -> Decimal:
    """Whole cents, half away from zero, as a cast of the database rounds."""
    return (cents * CENT).quantize(CENT, rounding="ROUND_HALF_UP")


# --- what each must answer: a second way to the same figures ----------------------------------------------------------


def increase(rows: list[Row], demo: Demo) -> None:
    before, after = demo.by_actor(SEPTEMBER), demo.by_actor(OCTOBER)
    changes = {actor: after[actor] - before[actor] for actor in {*before, *after}}
    top = sorted(changes, key=lambda actor: (-usd(changes[actor]), actor))[:10]
    assert [(row["actor"], row["billed_usd"], row["change_usd"]) for row in rows] == [
        (actor, usd(after[actor]), usd(changes[actor])) for actor in top
    ]


def per_developer(rows: list[Row], demo: Demo) -> None:
    shown = {row["billing_group_name"]: row["usd_per_active_member"] for row in rows}
    for line in demo.report.lines:
        active = line.active_member_count
        wanted = (line.billed_usd / active).quantize(CENT) if active else None
        assert shown[line.billing_group_name] == wanted
    assert any(value is not None for value in shown.values())


def automation(rows: list[Row], demo: Demo) -> None:
    lines = {line.billing_group_name: line for line in demo.report.lines}
    assert {row["billing_group_name"]: row["automation_usd"] for row in rows} == {
        name: line.automation_usd for name, line in lines.items()
    }
    for row in rows:
        if row["usage_usd"]:
            assert abs(row["automation_share"] - row["automation_usd"] / row["usage_usd"]) < Decimal("0.001")


def since_the_statement(rows: list[Row], demo: Demo) -> None:
    assert sum(row["statement_usd"] for row in rows) == demo.report.total.billed_usd
    assert {row["adjusted_usd"] for row in rows} == {Decimal(0)}  # nothing is closed yet


def restatements(rows: list[Row], demo: Demo) -> None:
    cents: dict[date, list[Decimal]] = defaultdict(list)
    for day, charged in demo.warehouse.execute(
        "select usage_date, charged_cents from raw.load_windows "
        "where outcome = 'landed' and usage_date >= '2026-10-01' order by read_number"
    ).fetchall():
        cents[day].append(charged)
    changed = {day: usd(versions[-1] - versions[-2]) for day, versions in cents.items() if len(versions) == 2}
    assert {row["usage_date"]: row["change_usd"] for row in rows} == changed
    assert [abs(row["change_usd"]) for row in rows] == sorted(map(abs, changed.values()), reverse=True)


def unused_seats(rows: list[Row], demo: Demo) -> None:
    assert [row["billing_group_name"] for row in rows if row["average_seats"]] != []
    idle = demo.rows(
        "select user_email from marts.fct_daily_seat_costs where seat_status = 'taken' and seat_date >= '2026-10-17' "
        "except select user_email from marts.fct_usage_events where usage_date >= '2026-10-17'"
    )
    assert sum(row["unused_seat_count"] for row in rows) <= len(idle)
    assert all((row["unused_seat_usd"] > 0) == (row["unused_seat_count"] > 0) for row in rows)


def unassigned(rows: list[Row], demo: Demo) -> None:
    (line,) = [line for line in demo.report.lines if line.billing_group_id == "group_unassigned"]
    assert abs(sum(row["billed_usd"] for row in rows) - line.billed_usd) <= CENT * len(rows)


def unassigned_people(rows: list[Row], demo: Demo) -> None:
    cents: dict[str, Decimal] = defaultdict(Decimal)
    for row in demo.rows(
        "select user_email, billed_cents from marts.fct_usage_events "
        "where usage_month = '2026-10-01' and billing_group_id = 'group_unassigned' and user_email is not null "
        "union all select user_email, seat_cents from marts.fct_daily_seat_costs "
        "where seat_date between '2026-10-01' and '2026-10-31' and billing_group_id = 'group_unassigned'"
    ):
        cents[row["user_email"]] += row["billed_cents"]
    shown = {row["user_email"]: row["last_month_usd"] for row in rows if row["last_month_usd"]}
    assert shown == {email: usd(amount) for email, amount in cents.items()}
    assert all(row["unassigned_since_date"] <= date(2026, 11, 16) for row in rows)


def from_events(demo: Demo, column: str) -> dict[Any, tuple[int, Decimal]]:
    found: dict[Any, tuple[int, Decimal]] = {}
    for row in demo.rows(
        f"select {column} as name, usage_cents from marts.fct_usage_events where usage_month = '2026-10-01'"
    ):
        count, cents = found.get(row["name"], (0, Decimal()))
        found[row["name"]] = (count + 1, cents + row["usage_cents"])
    return {name: (count, usd(cents)) for name, (count, cents) in found.items()}


def models(rows: list[Row], demo: Demo) -> None:
    assert {row["model"]: (row["event_count"], row["usage_usd"]) for row in rows} == from_events(demo, "model")


def surfaces(rows: list[Row], demo: Demo) -> None:
    shown = {f"{row['surface']} {row['actor_type']}": (row["event_count"], row["usage_usd"]) for row in rows}
    assert shown == from_events(demo, "surface || ' ' || actor_type")


def repositories(rows: list[Row], demo: Demo) -> None:
    assert abs(sum(row["billed_usd"] for row in rows) - demo.report.total.billed_usd) <= CENT * len(rows)
    assert "(no repository)" in {row["repository_name"] for row in rows}


def service_accounts(rows: list[Row], demo: Demo) -> None:
    used = {
        row["id"]
        for row in demo.rows("select distinct service_account_id as id from marts.fct_usage_events")
        if row["id"]
    }
    seed = {row["service_account_id"]: row for row in demo.seed("service_accounts")}  # the last row is the current one
    wanted = {(one, "no_owner") for one in used | seed.keys() if not seed.get(one, {}).get("owner")}
    wanted |= {(one, "no_group") for one in used | seed.keys() if not seed.get(one, {}).get("billing_group_id")}
    assert {(row["service_account_id"], row["finding"]) for row in rows} == wanted


def budgets(rows: list[Row], demo: Demo) -> None:
    seed = Counter(
        (date.fromisoformat(row["month"]), row["owner_type"], Decimal(row["budget_usd"]))
        for row in demo.seed("budgets")
        if row["month"] in (str(OCTOBER), str(NOVEMBER))
    )
    assert Counter((row["charge_month"], row["owner_type"], row["budget_usd"]) for row in rows) == seed
    groups = {line.billing_group_name: line.billed_usd for line in demo.report.lines}
    for row in rows:
        if row["actual_usd"] is not None and abs(row["actual_usd"] - row["budget_usd"]) > CENT:
            assert (row["budget_state"] == "exceeded") == (row["actual_usd"] > row["budget_usd"])
        if row["charge_month"] == OCTOBER and row["owner_name"] in groups:
            assert abs(row["actual_usd"] - groups[row["owner_name"]]) <= CENT


def forecast(rows: list[Row], demo: Demo) -> None:
    total, *groups = rows
    for name in ("actual_usd", "forecast_usd"):  # the quietest week of one group need not be that of another
        assert abs(total[name] - sum(row[name] for row in groups)) <= CENT * len(rows)
    assert all(row["actual_usd"] <= row["forecast_low_usd"] <= row["forecast_high_usd"] for row in rows)
    assert {row["remaining_day_count"] for row in rows} == {15}  # the 16th was open when it was read
    complete = demo.rows("select sum(billed_cents) as cents from marts.fct_daily_charges "
                         "where charge_date between '2026-11-01' and '2026-11-15'")  # fmt: skip
    assert abs(total["actual_usd"] - usd(complete[0]["cents"])) <= CENT


def reconciliation(rows: list[Row], demo: Demo) -> None:
    assert (
        sum(row["control_count"] for row in rows)
        == demo.rows("select count(*) as n from marts.mart_reconciliation")[0]["n"]
    )
    unexplained = [row["status"] == "unexplained" for row in rows]
    assert unexplained == sorted(unexplained, reverse=True)
    seats = [row for row in rows if row["control"] == "seats"]
    assert {(row["unit"], row["status"]) for row in seats} == {("seats", "matched")}
    assert all(row["reason"] is None for row in rows if row["status"] == "matched" and row["difference_value"] == 0)


def seat_evidence(rows: list[Row], demo: Demo) -> None:
    billed = demo.report.total.seat_billed_usd
    assert billed is not None
    assert abs(sum(row["seat_usd"] for row in rows) - billed) <= CENT * (len(rows) + len(demo.report.lines))
    taken = sum(row["seat_days"] for row in rows if row["seat_status"] != "committed_unused")
    people = demo.rows("select count(*) as n from marts.fct_daily_seat_costs where user_email is not null "
                       "and seat_date between '2026-10-01' and '2026-10-31'")  # fmt: skip
    assert taken == people[0]["n"]


def provisional(rows: list[Row], demo: Demo) -> None:
    days = demo.rows(
        "select distinct cast(date_trunc('month', coverage_date) as date) as month from marts.mart_load_coverage "
        "where resource = 'usage_events' and status = 'provisional'"
    )
    assert {row["charge_month"] for row in rows if row["provisional_share"]} == {row["month"] for row in days} != set()
    (october,) = [row for row in rows if row["charge_month"] == OCTOBER]
    assert (october["billed_usd"], october["provisional_share"]) == (demo.report.total.billed_usd, 0)


def top_ten(rows: list[Row], demo: Demo) -> None:
    people = {actor: cents for actor, cents in demo.by_actor(OCTOBER).items() if "@" in actor}
    top = sorted(people, key=lambda actor: (-usd(people[actor]), actor))[:10]
    assert [(row["user_email"], row["billed_usd"]) for row in rows] == [(actor, usd(people[actor])) for actor in top]


def moves(rows: list[Row], demo: Demo) -> None:
    """Against the invented company itself, which knows who joined which group and when."""
    roster = Organisation.invent().roster
    first, last = (
        int(datetime.combine(month, datetime.min.time(), UTC).timestamp() * 1000) for month in (OCTOBER, NOVEMBER)
    )
    joined = {
        (
            roster.accounts[stint.user_id].email.lower(),
            datetime.fromtimestamp(stint.joined_ms / 1000, UTC).replace(tzinfo=None),
        )
        for stint in roster.stints
        if first <= stint.joined_ms < last
    }
    assert {(row["user_email"], row["moved_at"]) for row in rows} == joined


def ledger(rows: list[Row], demo: Demo) -> None:
    wanted: dict[tuple[str | None, str | None], Decimal] = defaultdict(Decimal)
    for line in demo.report.lines:
        wanted[(line.cost_center, line.gl_account)] += line.billed_usd
    shown: dict[tuple[str | None, str | None], Decimal] = defaultdict(Decimal)
    for row in rows:
        shown[(row["cost_center"], row["gl_account"])] += row["billed_usd"]
    assert {key: value for key, value in wanted.items() if value} == {
        key: value for key, value in shown.items() if value
    }


def unpriced(rows: list[Row], demo: Demo) -> None:
    stored = demo.warehouse.execute(
        "select sum(row_count) from (select arg_max(row_count, read_number) as row_count from raw.load_windows "
        "where usage_date between '2026-10-01' and '2026-10-31' group by usage_date)"
    ).fetchone()
    assert stored is not None
    assert sum(row["event_count"] for row in rows) == stored[0]
    assert {row["unpriced_event_count"] for row in rows} == {0}  # the invented company has none


def gaps(rows: list[Row], demo: Demo) -> None:
    (usage,) = [row for row in rows if row["resource"] == "usage_events"]
    assert (usage["status"], usage["day_count"], usage["last_date"]) == ("final", 31, date(2026, 10, 31))
    missing = [row["status"] == "missing" for row in rows]
    assert missing == sorted(missing, reverse=True)


def anomalies(rows: list[Row], demo: Demo) -> None:
    flagged = demo.rows("select billing_group_name, excess_cents from marts.mart_cost_anomalies "
                        "where date_trunc('month', charge_date) = '2026-10-01'")  # fmt: skip
    assert sum(row["day_count"] for row in rows) == len(flagged)
    largest = max((row["excess_cents"] for row in flagged), default=None)
    assert max((row["largest_excess_usd"] for row in rows if row["day_count"]), default=None) == (
        None if largest is None else usd(largest)
    )


CHECKS: dict[str, Callable[[list[Row], Demo], None]] = {
    "Who drove the increase?": increase,
    "What does an active developer cost?": per_developer,
    "How much of it is automation?": automation,
    "What changed since the statement was sent?": since_the_statement,
    "Which days were restated most?": restatements,
    "Which seats does nobody use?": unused_seats,
    "What is in Unassigned?": unassigned,
    "Who has been in Unassigned since when?": unassigned_people,
    "What does each model cost?": models,
    "What does each repository cost?": repositories,
    "Where is it used: editor, cloud agents, automations?": surfaces,
    "Which service accounts have no owner or no group?": service_accounts,
    "Who is over budget?": budgets,
    "What will this month cost?": forecast,
    "Where do we differ from Cursor, and why?": reconciliation,
    "What do the seats rest on?": seat_evidence,
    "How much of it can still move?": provisional,
    "Who are the ten most expensive people?": top_ten,
    "Who changed groups?": moves,
    "What goes into the ledger?": ledger,
    "Is any usage without a price?": unpriced,
    "Are there days we never read?": gaps,
    "Which days stand out?": anomalies,
}


def test_every_section_is_a_question_with_a_line_to_read_it_by_and_one_query() -> None:
    assert list(QUESTIONS) == list(CHECKS)
    assert TEXT.count("\n## ") == TEXT.count("```sql") == len(QUESTIONS) >= 20


@pytest.mark.parametrize("title", CHECKS)
def test_a_query_is_short_and_reads_the_marts_alone_in_sql_of_several_engines(title: str) -> None:
    sql = QUESTIONS[title].sql
    assert len(sql.splitlines()) <= 25
    assert sql.count(";") == 1
    for word in ("group by all", "qualify", "::", " using ", "filter (", "pivot", '"'):
        assert word not in sql, word
    for dialect in ("duckdb", "spark", "postgres"):
        tables = list(sqlglot.parse_one(sql, read=dialect).find_all(sqlglot.exp.Table))
        assert {table.db for table in tables if table.name != "stints"} == {"marts"}


@pytest.mark.parametrize("title", CHECKS)
def test_the_answer_is_that_of_a_second_way(title: str, demo: Demo) -> None:
    rows = demo.rows(QUESTIONS[title].sql)
    assert rows, "no row"
    named = {
        name
        for name in re.findall(r"`([a-z_]+)`", QUESTIONS[title].reading)
        if name.endswith(("_usd", "_count", "_share", "_pct"))
    }
    assert named <= rows[0].keys()
    assert not any(isinstance(value, float) for row in rows for name, value in row.items() if name.endswith("_usd"))
    CHECKS[title](rows, demo)


def test_what_was_adjusted_since_the_statement_stands_beside_it(tmp_path: Path) -> None:
    line = {"team": "acme", "billing_group_id": "group_a", "charge_month": OCTOBER, "charge_type": "usage"}
    later = {**line, "charge_month": NOVEMBER, "charge_type": "adjustment", "adjusts_charge_type": "usage"}
    path = make_published(
        tmp_path / "chargeback.duckdb",
        {
            "dim_billing_groups": [{"team": "acme", "billing_group_id": "group_a", "billing_group_name": "A"}],
            "fct_monthly_chargeback": [
                {**line, "billed_usd": "100.00"},
                {**later, "charge_month": OCTOBER, "adjusts_month": SEPTEMBER, "billed_usd": "5.00"},
                {**later, "adjusts_month": OCTOBER, "billed_usd": "-7.25"},
                {**later, "adjusts_month": SEPTEMBER, "billed_usd": "1.00"},
                {**line, "charge_month": NOVEMBER, "billed_usd": "50.00"},
            ],
        },
    )
    with duckdb.connect(str(path), read_only=True) as connection:
        rows = ask(connection, QUESTIONS["What changed since the statement was sent?"].sql)
    assert rows == [
        {
            "team": "acme",
            "billing_group_name": "A",
            "statement_usd": Decimal("105.00"),
            "adjusted_usd": Decimal("-7.25"),
        }
    ]
