"""`chargeback doctor` asks every route, and tells a refusal from a slip from an outage; and the two clocks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from doctor_findings import doctor, texts
from hand_made import HandMadeApi
from http_script import KEY
from nights import Installation

from pipelines.config import TeamSettings
from pipelines.doctor import access
from pipelines.doctor.findings import FAILING, HINT, OK, WARNING, Finding, is_well
from pipelines.doctor.warehouse import Known
from pipelines.simulator import Behaviour, Fault, Organisation, SimulatorServer

NOW = datetime(2026, 11, 16, 2, tzinfo=UTC)


def team_of(server: SimulatorServer, api_key: str | None = None) -> TeamSettings:
    return TeamSettings("acme", api_key or server.api_key, server.base_url, None, 3, 0, False, 60.0)


def test_a_refused_key_is_said_once_and_nothing_more_is_asked(tonight: Installation) -> None:
    tonight.api_key = "crsr_" + "0" * 64
    exit_code, findings = doctor(tonight)
    assert exit_code == 1
    refused = texts(findings, "access", FAILING)
    assert len(refused) == 1
    assert refused[0].startswith("default: POST /teams/filtered-usage-events is refused (401)")
    assert "Set api_key under [sources.cursor_admin]" in refused[0]
    assert "the other routes were not asked" in texts(findings, "access", HINT)[-1]


def test_a_plan_without_groups_is_a_hint_unless_they_used_to_answer() -> None:
    organisation = Organisation.invent(seed=3, people=4, behaviour=Behaviour(plan="teams"))
    with SimulatorServer(organisation, now=NOW, rate_limited=False) as server:
        known = Known()
        new = list(access.check_access(team_of(server), known, NOW.date()))
        known.answered = {("acme", "billing_groups")}
        old = list(access.check_access(team_of(server), known, NOW.date()))
    refused = "acme: GET /teams/groups is refused (403): no billing groups, so everybody is in Unassigned"
    assert refused in [one.text for one in new if one.level == HINT]
    assert is_well(new)
    assert [one.text for one in old if one.level == FAILING] == [f"{refused}; it used to answer, so the next run fails"]


def test_a_key_without_the_scope_is_told_from_one_that_does_not_exist() -> None:
    organisation = Organisation.invent(seed=3, people=4, behaviour=Behaviour(scope_error=403))
    with SimulatorServer(organisation, now=NOW, rate_limited=False) as server:
        found = list(access.check_access(team_of(server, organisation.limited_key), Known(), NOW.date()))
    assert found[0] == Finding(OK, "access", "acme: GET /v1/me answers")
    assert (found[1].level, "missing the required scope" in (found[1].advice or "")) == (FAILING, True)


def test_an_answer_in_an_unknown_shape_warns_and_fails_for_what_no_run_works_without() -> None:
    organisation = Organisation.invent(seed=3, people=4)
    with SimulatorServer(organisation, now=NOW, rate_limited=False) as server:
        server.faults = [
            Fault("/teams/spend", "missing_key", times=None, key="teamMemberSpend"),
            Fault("/teams/members", "missing_key", times=None, key="teamMembers"),
        ]
        found = list(access.check_access(team_of(server), Known(), NOW.date()))
    levels = {one.text.split()[2]: one.level for one in found if one.level != OK and one.area == "access"}
    assert levels["/teams/spend"] == WARNING
    assert levels["/teams/members"] == FAILING


def test_every_request_is_the_smallest_there_is() -> None:
    organisation = Organisation.invent(seed=3, people=4)
    with SimulatorServer(organisation, now=NOW, rate_limited=True) as server:
        list(access.check_access(team_of(server), Known(), NOW.date()))
        sizes = [int({**one.query, **one.body}.get("pageSize", 1)) for one in server.requests]
        assert set(sizes) == {1}
        assert len(server.requests) == len(access.ROUTES) - 1  # the organisation's key is not set
        assert server.throttled_count == 0


def test_an_address_where_nobody_answers_is_not_asked_thirteen_times(tmp_path: Path) -> None:
    with HandMadeApi() as api:
        gone = TeamSettings("acme", KEY, api.server.base_url, None, 3, 0, False, 60.0)
    seconds = access.SECONDS_PER_REQUEST
    access.SECONDS_PER_REQUEST = 0.2
    try:
        found = list(access.check_access(gone, Known(), NOW.date()))
    finally:
        access.SECONDS_PER_REQUEST = seconds
    assert [one.level for one in found] == [WARNING, FAILING, HINT]
    assert "the connection was refused" in (found[1].advice or "")


@pytest.mark.parametrize(
    ("skew", "level"),
    [
        (timedelta(seconds=119), OK),
        (timedelta(seconds=-121), WARNING),
        (timedelta(minutes=59), WARNING),
        (timedelta(hours=-1), FAILING),
    ],
)
def test_two_minutes_of_clock_skew_warn_and_an_hour_fails(skew: timedelta, level: str) -> None:
    assert access.check_clock(skew, is_loopback=False).level == level
    assert access.check_clock(skew, is_loopback=True).level in (OK, HINT)
