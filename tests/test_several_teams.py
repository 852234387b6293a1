"""Several teams in one warehouse: each with its own key, and none at the cost of another's night."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from nights import Installation, Outcome, instant

from pipelines.runs import read_runs
from pipelines.simulator import Behaviour, Fault, Organisation, SimulatorServer

FIRST = datetime(2026, 11, 16, 2, tzinfo=UTC)
SECOND = datetime(2026, 11, 17, 2, tzinfo=UTC)
START = date(2026, 11, 12)
SECTION = "SOURCES__CURSOR_ADMIN__TEAMS__{}__{}"


@pytest.fixture(scope="module")
def organisations() -> list[Organisation]:
    arguments: dict[str, Any] = {"people": 5, "groups": 2, "events_per_person_day": 1.0, "behaviour": Behaviour.plain()}
    return [Organisation.invent(seed=seed, start=START, end=date(2026, 11, 20), **arguments) for seed in (21, 22)]


@pytest.fixture
def servers(organisations: list[Organisation]) -> Iterator[dict[str, SimulatorServer]]:
    acme, bolt = (SimulatorServer(one, now=FIRST, rate_limited=False) for one in organisations)
    with acme, bolt:
        yield {"acme": acme, "bolt": bolt}


@pytest.fixture
def here(servers: dict[str, SimulatorServer], tmp_path: Path) -> Installation:
    """Two sections in the environment; the address at the top is nobody's."""
    place = Installation(tmp_path / "data", "http://127.0.0.1:9", "", START)
    for slug, server in servers.items():
        place.more |= {
            SECTION.format(slug.upper(), "API_KEY"): server.api_key,
            SECTION.format(slug.upper(), "BASE_URL"): server.base_url,
        }
    place.more["CHARGEBACK__PLAN"] = "enterprise"
    return place


def night(here: Installation, servers: dict[str, SimulatorServer], now: datetime, command: str = "load") -> Outcome:
    for server in servers.values():
        server.set_now(now)
    return here.command(command, "--now", instant(now))


def days_read(here: Installation, at: datetime) -> dict[str, int]:
    sql = f"select team, count(*) from raw.load_windows where read_at = timestamp '{at:%Y-%m-%d %H:%M:%S}' group by 1"
    return dict(here.query(sql, here.paths.warehouse))


def test_one_team_whose_key_is_revoked_does_not_cost_the_other_its_night(
    here: Installation, servers: dict[str, SimulatorServer]
) -> None:
    assert night(here, servers, FIRST, "run") == Outcome(0, "", "")
    assert here.query("select distinct team from marts.fct_daily_charges order by 1") == [("acme",), ("bolt",)]
    servers["acme"].faults.append(Fault("*", "401", times=None))
    done = night(here, servers, SECOND, "run")
    assert (done.exit_code, done.stdout) == (1, "")
    first_line, acme = done.stderr.rstrip("\n").split("\n")
    assert first_line == "1 of 2 teams failed, the rest is loaded and published."
    assert acme.startswith("  acme: Cursor refused the key (401, /teams/")
    assert "Set api_key under [sources.cursor_admin.teams.acme] in .dlt/secrets.toml" in acme
    assert not any(server.api_key in done.stderr for server in servers.values())
    assert days_read(here, SECOND).keys() == {"bolt"}
    record = read_runs(here.paths)[-1]
    assert (record.result, record.exit_code, record.published) == ("failed", 1, True)
    assert [line.split(":")[0] for line in record.failed_teams] == ["acme"]
    through = "select team, max(coverage_date) from marts.mart_load_coverage where resource = 'usage_events' group by 1"
    assert dict(here.query(through)) == {"acme": FIRST.date(), "bolt": SECOND.date()}
    code, out = here.command("status").exit_code, here.command("status").stdout
    assert code == 1
    assert out.startswith("! The last run (run, ")
    assert "acme: Cursor refused the key" in out.split("\n")[1]


def test_when_every_team_fails_nothing_is_built_and_each_is_named(
    here: Installation, servers: dict[str, SimulatorServer]
) -> None:
    for server in servers.values():
        server.faults.append(Fault("*", "401", times=None))
    done = night(here, servers, FIRST, "run")
    assert done.exit_code == 1
    first_line, *teams = done.stderr.rstrip("\n").split("\n")
    assert first_line == "No team could be loaded; what is published stays as it was."
    assert [line.split(":")[0] for line in teams] == ["  acme", "  bolt"]
    assert not here.paths.published.exists()


def test_an_empty_warehouse_takes_all_teams_and_a_later_one_must_be_meant(
    here: Installation, servers: dict[str, SimulatorServer], organisations: list[Organisation]
) -> None:
    servers["acme"].faults.append(Fault("*", "401", times=None))
    assert night(here, servers, FIRST).exit_code == 1
    servers["acme"].faults.clear()
    assert night(here, servers, FIRST) == Outcome(0, "", "")  # no stranger, although its first night failed
    assert days_read(here, FIRST).keys() == {"acme", "bolt"}
    third = Organisation.invent(seed=23, people=3, start=START, end=date(2026, 11, 20))
    with SimulatorServer(third, now=SECOND, rate_limited=False) as server:
        here.more |= {
            SECTION.format("CORE", "API_KEY"): server.api_key,
            SECTION.format("CORE", "BASE_URL"): server.base_url,
        }
        asked = [len(one.requests) for one in servers.values()]
        refused = night(here, servers, SECOND)
        assert refused.exit_code == 2
        assert refused.stderr.startswith("The team 'core' is new to this warehouse, which holds acme, bolt.")
        assert [len(one.requests) for one in servers.values()] == asked  # found before the first request
        for one in servers.values():
            one.set_now(SECOND)
        assert here.command("load", "--new-team", "--now", instant(SECOND)) == Outcome(0, "", "")
    assert days_read(here, SECOND).keys() == {"acme", "bolt", "core"}


def test_what_concerns_the_whole_warehouse_stops_every_team(
    here: Installation, servers: dict[str, SimulatorServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert night(here, servers, FIRST) == Outcome(0, "", "")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "warehouse.duckdb")

    monkeypatch.setattr("pipelines.landing.Landing.append", full)
    done = night(here, servers, SECOND)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("The disk is full: ")
    assert days_read(here, SECOND) == {}
