"""The control tables over what an invented organisation answers, against a second arithmetic written for this file."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from conftest import FIRST_NIGHT, Company

from pipelines.cursor_admin.tables import (
    AI_COMMIT_FIELDS,
    AI_COMMITS_PATH,
    DAILY_USAGE_FIELDS,
    DAILY_USAGE_PATH,
    DIRECTORY_GROUP_FIELDS,
    DIRECTORY_GROUP_MEMBER_FIELDS,
    DIRECTORY_GROUPS_PATH,
    INSTANT,
    Field,
)
from pipelines.simulator.instants import to_ms
from tests.optional_routes import CONTROLS, OptionalRoutes
from tests.simulator_client import Client

START, NIGHT = date(2026, 10, 20), "2026-11-16 02:00"
NOTHING = "(no repository)"


def moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text).astimezone(UTC).replace(tzinfo=None)


def raw_rows(items: Iterable[Mapping[str, Any]], fields: Iterable[Field], **more: Any) -> list[dict[str, Any]]:
    """Objects of an answer in the columns of the raw table."""
    return [
        {
            field.column: moment(item.get(field.key)) if field.type == INSTANT else item.get(field.key)
            for field in fields
        }
        | more
        for item in items
    ]


def ask_for_commits(client: Client) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    for page in range(1, 100):
        query = {"startDate": f"{START}T00:00:00Z", "endDate": "now", "page": page, "pageSize": 1000}
        answer = client.ok(client.get(AI_COMMITS_PATH, **query))
        items += answer["items"]
        if len(items) == answer["totalCount"]:
            return items
    raise AssertionError("no end of pages")


def read_optional_routes(w: OptionalRoutes, client: Client, commits: list[dict[str, Any]]) -> None:
    w.read_stream("ai_commits", f"{START}", NIGHT, raw_rows(commits, AI_COMMIT_FIELDS), NIGHT)
    end_ms = to_ms(datetime(2026, 11, 16, tzinfo=UTC)) - 1
    window = {"startDate": to_ms(START), "endDate": end_ms, "page": 1, "pageSize": 1000}
    activity: list[dict[str, Any]] = []
    for row in client.ok(client.post(DAILY_USAGE_PATH, **window))["data"]:
        activity += raw_rows([row], DAILY_USAGE_FIELDS, usage_date=row["day"])
    w.read_stream("daily_usage", f"{START}", "2026-11-16", activity, NIGHT)
    groups = client.ok(client.get(DIRECTORY_GROUPS_PATH, page=1, pageSize=100))["groups"]
    members: list[dict[str, Any]] = []
    for group in groups:
        path = f"{DIRECTORY_GROUPS_PATH}/{group['id']}/members"
        answer = client.ok(client.get(path, page=1, pageSize=100))["members"]
        members += raw_rows(answer, DIRECTORY_GROUP_MEMBER_FIELDS, directory_group_id=group["id"])
    tables = {"directory_groups": raw_rows(groups, DIRECTORY_GROUP_FIELDS), "directory_group_members": members}
    w.read_snapshot("directory_groups", NIGHT, tables)


@pytest.fixture(scope="module")
def commits(company: Company) -> list[dict[str, Any]]:
    company.server.set_now(FIRST_NIGHT)
    return ask_for_commits(Client(company.server))


@pytest.fixture(scope="module")
def warehouse(
    company: Company, commits: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> OptionalRoutes:
    """The warehouse of the first night, with what the optional routes answered then."""
    w = OptionalRoutes(tmp_path_factory.mktemp("organisation"), marts=CONTROLS)
    shutil.copyfile(company.first_night.paths.warehouse, w.path)
    shutil.copytree(company.first_night.paths.seeds_dir, w.seeds_path, dirs_exist_ok=True)
    with w.connect() as connection:
        w.team, w._number = connection.execute(
            "select (select team from raw.teams), greatest((select max(read_number) from raw.load_windows), "
            "(select max(read_number) from raw.snapshot_reads), (select max(read_number) from raw.stream_reads))"
        ).fetchall()[0]
    read_optional_routes(w, Client(company.server), commits)
    w.build_and_test_controls()
    return w


def lines_by_day(commits: list[dict[str, Any]]) -> dict[tuple[date, str], dict[str, int]]:
    """Lines of AI by day and person, and then repository: each commit once, as it was seen last."""
    sightings: dict[tuple[str, str | None, str], list[dict[str, Any]]] = defaultdict(list)
    for item in commits:
        repository = item["repoName"] and item["repoName"].lower()
        sightings[item["commitHash"], repository, item["userEmail"].lower()].append(item)
    lines: dict[tuple[date, str], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for (_, repository, email), seen in sightings.items():
        last = max(seen, key=lambda item: item["createdAt"])
        made = min(moment(text) for text in (last["commitTs"], *(item["createdAt"] for item in seen)) if text)
        lines[made.date(), email][repository or NOTHING] += last["tabLinesAdded"] + last["composerLinesAdded"]
    return lines


def split(amount: Decimal, lines: Mapping[str, int]) -> dict[str, Decimal]:
    """Floors in millionths of a cent; the rest goes to the largest line, ties to the first by name."""
    total, whole = sum(lines.values()), int(amount * 1_000_000)
    parts = {name: whole * count // total for name, count in lines.items()}
    largest = min(lines, key=lambda name: (-lines[name], name))
    parts[largest] += whole - sum(parts.values())
    return {name: Decimal(part) / 1_000_000 for name, part in parts.items()}


def test_every_day_of_everybody_is_split_as_a_second_arithmetic_splits_it(
    warehouse: OptionalRoutes, commits: list[dict[str, Any]]
) -> None:
    lines = lines_by_day(commits)
    expected = []
    for day, actor_type, email, usage, billed_usage, seat in warehouse.rows(
        """
        select charge_date, actor_type, user_email, sum(usage_cents),
            coalesce(sum(billed_cents) filter (charge_type = 'usage'), 0),
            coalesce(sum(billed_cents) filter (charge_type = 'seat'), 0)
        from marts.fct_daily_charges group by all
        """
    ):
        weights = {name: count for name, count in lines.get((day, email), {}).items() if count} or {NOTHING: 1}
        parts = [split(amount, weights) for amount in (usage, billed_usage, seat)]
        expected += [(day, actor_type, email, name, *(part[name] for part in parts)) for name in weights]
    rows = warehouse.rows(
        """
        select charge_date, actor_type, user_email, repository_name, usage_cents, billed_usage_cents, seat_cents
        from marts.mart_repository_costs
        """
    )
    assert sorted(rows, key=str) == sorted(expected, key=str)
    assert len({row[3] for row in rows}) > 3
    assert any(len(weights) > 2 for weights in lines.values())


def test_the_share_with_a_repository_is_what_the_rows_say(warehouse: OptionalRoutes) -> None:
    rows = warehouse.rows(
        f"""
        select charge_month, min(month_repository_share), max(month_repository_share),
            sum(billed_cents) filter (repository_name <> '{NOTHING}'), sum(billed_cents)
        from marts.mart_repository_costs group by all order by 1
        """
    )
    assert [row[0] for row in rows] == [date(2026, 10, 1), date(2026, 11, 1)]
    for _, lowest, highest, placed, total in rows:
        assert lowest == highest
        assert abs(lowest - placed / total) < Decimal("0.000001")
        assert 0 < lowest < 1


def test_the_tables_to_act_on_lose_and_double_no_cent_of_the_daily_charges(warehouse: OptionalRoutes) -> None:
    published = warehouse.rows(
        "select sum(last_month_billed_cents), sum(this_month_billed_cents) from marts.mart_unassigned_spend"
    )
    charged = warehouse.rows(
        """
        select
            sum(billed_cents) filter (charge_month = '2026-10-01'),
            sum(billed_cents) filter (charge_month = '2026-11-01')
        from marts.fct_daily_charges where billing_group_id = 'group_unassigned' and actor_type = 'member'
        """
    )
    assert published == charged
    accounts = warehouse.rows(
        """
        select sum(this_month_billed_cents + last_month_billed_cents) from (
            select distinct service_account_id, this_month_billed_cents, last_month_billed_cents
            from marts.mart_service_account_findings
        )
        """
    )
    found = warehouse.rows(
        """
        select sum(billed_cents) from marts.fct_daily_charges where service_account_id in (
            select service_account_id from marts.mart_service_account_findings
        )
        """
    )
    assert accounts == found
    models = "select model, sum(usage_cents) from marts.fct_daily_charges where model is not null group by 1 order by 1"
    assert warehouse.rows("select model, usage_cents from marts.dim_models order by 1") == warehouse.rows(models)
