"""What `chargeback status` puts first, and what needs nobody."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pendulum
import pytest
from published import make_published

from pipelines.config import Settings
from pipelines.paths import DataPaths, data_paths
from pipelines.runs import RunRecord, append_run
from pipelines.status import Severity, Status, read_status
from pipelines.status_text import as_json

DAY = {"team": "acme", "resource": "usage_events", "coverage_date": "2026-11-14", "status": "final"}
RECONCILED = {"team": "acme", "control": "seats", "status": "unexplained", "cycle_start_date": "2026-11-05"}
BUDGET = {"team": "acme", "charge_month": "2026-11-01", "owner_type": "billing_group", "owner_id": "group_a"}
LATER_TABLES = ("mart_reconciliation", "mart_budget_status", "mart_service_account_findings")


@pytest.fixture
def paths(tmp_path: Path) -> DataPaths:
    paths = data_paths(tmp_path / "data")
    paths.data_dir.mkdir()
    return paths


def status(paths: DataPaths) -> Status:
    return read_status(Settings(paths, "enterprise", 36, "http://127.0.0.1:9"))


def ran(paths: DataPaths, **values: Any) -> None:
    now = pendulum.now("UTC").to_iso8601_string()
    told = {"run_id": "run-1", "command": "run", "now": now, "started_at": now, "ended_at": now, "published": True}
    append_run(paths, RunRecord(**{**told, "result": "ok", "exit_code": 0, "load": {}, **values}))


def published(paths: DataPaths, coverage: Sequence[Mapping[str, Any]] = (DAY,), **tables: Sequence[Any]) -> None:
    days = [{"suspect_read_count": 0, **one} for one in coverage]
    make_published(paths.published, {"mart_load_coverage": days, **tables})


def test_the_worst_comes_first(paths: DataPaths) -> None:
    published(
        paths,
        [
            {**DAY, "status": "missing"},
            {**DAY, "coverage_date": "2026-11-13", "suspect_read_count": 1},
            {**DAY, "resource": "member_spend", "status": "failed"},
        ],
        mart_reconciliation=[RECONCILED],
        mart_budget_status=[{**BUDGET, "owner_name": "Search", "budget_state": "exceeded"}],
    )
    ran(paths, build={"seed_findings": ["service_accounts.csv names a group nobody has"]})
    ran(paths, command="load", result="failed", published=False, error="bolt: Cursor refused the key",
        failing=["conserves_x"], failed_teams=["bolt: Cursor refused the key"])  # fmt: skip
    found = status(paths)
    assert [one.severity for one in found.attention] == [
        Severity.RUN,
        Severity.CHECKS,
        Severity.MISSING,
        Severity.KEPT_ASIDE,
        Severity.KEPT_ASIDE,
        Severity.SEEDS,
        Severity.MONEY,
        Severity.MONEY,
    ]
    assert found.attention[0].message == "The last run (load, run-1) failed: bolt: Cursor refused the key"
    assert [one.message for one in found.attention[-2:]] == [
        "acme: seats of the cycle from 2026-11-05 differs from ours for 1 of what it is about, and nothing known "
        "explains it. Look at the rows 'unexplained' of marts.mart_reconciliation.",
        "acme: the billing group Search has used up its budget of 2026-11. Look at marts.mart_budget_status.",
    ]
    assert not found.is_well
    assert '"severity": "kept_aside"' in as_json(found)


def test_a_team_that_failed_shows_until_it_is_loaded_again(paths: DataPaths) -> None:
    published(paths)
    ran(paths, result="failed", error="1 of 2 teams failed", failed_teams=["bolt: Cursor refused the key."])
    ran(paths, command="build", load=None)
    assert [(one.severity, one.message) for one in status(paths).attention] == [
        (Severity.RUN, "The last load (run-1) is without a team. bolt: Cursor refused the key.")
    ]
    ran(paths)
    assert status(paths).is_well


def test_a_route_that_failed_last_time_needs_a_look_and_one_that_is_not_available_does_not(paths: DataPaths) -> None:
    published(paths, [DAY, {**DAY, "resource": "directory_groups", "status": "unavailable"}])
    ran(paths, load={"failed_routes": ["acme: ai_commits could not be read, the rest was: no JSON"]})
    found = status(paths)
    assert [(one.severity, one.message) for one in found.attention] == [
        (Severity.KEPT_ASIDE, "acme: ai_commits could not be read, the rest was: no JSON")
    ]
    assert found.unavailable == ["acme: directory_groups"]
    ran(paths)
    assert status(paths).is_well


def test_a_route_that_failed_shows_without_its_run_too(paths: DataPaths) -> None:
    published(paths, [{**DAY, "resource": "ai_commits", "status": "failed"}])
    ran(paths, command="build", load=None)
    (found,) = status(paths).attention
    assert found.severity == Severity.KEPT_ASIDE
    assert found.message.startswith("acme: ai_commits could not be read last time;")


def test_money_that_is_explained_or_long_past_or_only_worth_a_thought_needs_nobody(paths: DataPaths) -> None:
    charge = {"team": "acme", "charge_month": "2026-11-01", "charge_type": "usage"}
    published(
        paths,
        mart_reconciliation=[{**RECONCILED, "status": "explained"}, {**RECONCILED, "cycle_start_date": "2026-06-05"}],
        mart_budget_status=[
            {**BUDGET, "budget_state": "at_risk"},
            {**BUDGET, "budget_state": "exceeded", "charge_month": "2026-10-01"},
        ],
        mart_service_account_findings=[{"team": "acme"}, {"team": "acme"}],
        fct_monthly_chargeback=[
            {
                **charge,
                "billing_group_id": "group_unassigned",
                "billing_group_name": "Unassigned",
                "billed_usd": "5.50",
            },
            {**charge, "billing_group_id": "unattributed", "billing_group_name": "Unattributed", "billed_usd": "0.00"},
        ],
    )
    ran(paths)
    found = status(paths)
    assert found.is_well
    assert found.hints == [
        "2 findings about service accounts: marts.mart_service_account_findings.",
        "acme: 5.50 USD of this month are Unassigned: no group pays for them yet.",
    ]


def test_a_file_of_an_older_version_lacks_these_tables_and_is_read_all_the_same(paths: DataPaths) -> None:
    published(paths)
    with duckdb.connect(str(paths.published)) as connection:
        for name in LATER_TABLES:
            connection.execute(f"drop table marts.{name}")
    ran(paths)
    found = status(paths)
    assert (found.is_well, found.hints) == (True, [])
