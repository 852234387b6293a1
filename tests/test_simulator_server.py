"""The simulator as a server: keys, limits, faults, and the log of what was asked."""

from __future__ import annotations

import base64
import http.client
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import requests
from simulator_client import DAY, EVENTS, NOW, Client, serve, small

from pipelines.simulator import Behaviour, Fault, SimulatorProcess, SimulatorServer
from pipelines.simulator.limits import RateWindows

NEVER_ENDING_WINDOW = 1e9  # seconds: no test run crosses its end


@pytest.fixture(scope="module")
def server() -> Iterator[SimulatorServer]:
    with serve(small()) as running:
        yield running


@pytest.fixture
def client(server: SimulatorServer) -> Iterator[Client]:
    server.faults.clear()
    server.requests.clear()
    yield Client(server)
    server.faults.clear()


# --- keys -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("authorization", ["", "Bearer KEY", "Basic not-base64", "Basic S0VZ", "Basic S0VZOg=="])
def test_a_missing_or_wrong_key_is_refused(server: SimulatorServer, authorization: str) -> None:
    response = requests.get(server.base_url + "/teams/members", headers={"Authorization": authorization}, timeout=5)
    assert (response.status_code, response.json()) == (
        401,
        {"error": "Unauthorized", "message": "Invalid API key"},
    )


def test_the_key_is_the_user_name_and_the_password_is_empty(server: SimulatorServer) -> None:
    assert requests.get(server.base_url + "/teams/members", auth=(server.api_key, ""), timeout=5).status_code == 200
    assert requests.get(server.base_url + "/teams/members", auth=(server.api_key, "x"), timeout=5).status_code == 401


def test_the_colon_after_the_key_matters(server: SimulatorServer) -> None:
    for text, status in ((f"{server.api_key}:", 200), (server.api_key, 401)):
        header = {"Authorization": "Basic " + base64.b64encode(text.encode()).decode()}
        assert requests.get(server.base_url + "/teams/members", headers=header, timeout=5).status_code == status


def test_key_families_are_not_interchangeable(server: SimulatorServer, client: Client) -> None:
    organization = Client(server, server.organisation.organization_key)
    assert organization.get("/teams/members").status_code == 401
    assert organization.post("/organizations/pooled-usage", organizationId="org_other").json() == {
        "code": "error",
        "message": "Not authorized",
    }
    assert client.post("/organizations/pooled-usage", organizationId="org_acme").status_code == 401


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_without_admin_scope_passes_the_self_test_and_nothing_else(status: int) -> None:
    with serve(small(Behaviour(scope_error=status))) as server:
        limited = Client(server, server.organisation.limited_key)
        assert limited.get("/v1/me").status_code == 200
        assert limited.get("/teams/members").status_code == status


def test_a_teams_plan_has_no_billing_groups() -> None:
    with serve(small(Behaviour(plan="teams"))) as server:
        client = Client(server)
        answer = client.get("/teams/groups")
        assert (answer.status_code, answer.json()) == (
            403,
            {"error": "Forbidden", "message": "Enterprise access required"},
        )
        assert client.get("/teams/members").status_code == 200


# --- limits -----------------------------------------------------------------------------------------------------------


def test_each_endpoint_has_its_own_documented_allowance() -> None:
    behaviour = Behaviour(rate_window_seconds=NEVER_ENDING_WINDOW)
    with serve(small(behaviour), rate_limited=True) as server:
        client = Client(server)
        members = [client.get("/teams/members") for _ in range(22)]
        assert [answer.status_code for answer in members] == [200] * 20 + [429] * 2
        assert members[-1].json() == {
            "error": "Too Many Requests",
            "message": "Rate limit exceeded. Please try again later.",
        }
        assert "Retry-After" not in members[-1].headers
        start = int(datetime(2026, 11, 10, tzinfo=UTC).timestamp() * 1000)
        events = [client.post(EVENTS, startDate=start, endDate=start + 1, pageSize=1) for _ in range(61)]
        assert [answer.status_code for answer in events] == [200] * 60 + [429]
        assert server.throttled_count == 3
        usage = server.limiter_usage()[f"POST {EVENTS}"]
        assert (usage.allowed, usage.throttled, usage.per_window, usage.utilisation) == (60, 1, 60, 1.0)


def test_the_shared_bucket_counts_every_endpoint() -> None:
    with serve(
        small(Behaviour(rate_window_seconds=NEVER_ENDING_WINDOW, rate_shared=True)), rate_limited=True
    ) as server:
        client = Client(server)
        statuses = [client.get(path).status_code for path in ("/teams/members", "/teams/groups") * 11]
        assert statuses == [200] * 20 + [429] * 2


@pytest.mark.parametrize("style", ["seconds", "date"])
def test_retry_after_comes_in_seconds_or_as_a_date(style: str) -> None:
    behaviour = Behaviour(rate_window_seconds=NEVER_ENDING_WINDOW, retry_after=style)
    with serve(small(behaviour), rate_limited=True) as server:
        client = Client(server)
        header = [client.get("/teams/members") for _ in range(21)][-1].headers["Retry-After"]
        assert header.isdigit() if style == "seconds" else header.endswith(" GMT")


def test_a_window_counts_anew_when_it_is_over() -> None:
    now = [59.5]
    windows = RateWindows(60, shared=False, clock=lambda: now[0])
    assert [windows.refusal_seconds("key", "GET /x", 2) for _ in range(3)] == [None, None, 0.5]
    now[0] = 60.0
    assert windows.refusal_seconds("key", "GET /x", 2) is None
    assert windows.refusal_seconds("other key", "GET /x", 2) is None
    usage = windows.usage["GET /x"]
    assert (usage.allowed, usage.throttled, usage.windows) == (4, 1, {0: 2, 1: 2})


def test_an_unchanged_cached_answer_is_a_304_and_free() -> None:
    with serve(small(Behaviour(rate_window_seconds=NEVER_ENDING_WINDOW)), rate_limited=True) as server:
        client = Client(server)
        first = client.get("/analytics/ai-code/commits", startDate="2026-11-09")
        assert first.headers["Cache-Control"] == "public, max-age=900"
        again = {"If-None-Match": first.headers["ETag"]}
        answers = [client.get("/analytics/ai-code/commits", again, startDate="2026-11-09") for _ in range(30)]
        assert {(answer.status_code, answer.content) for answer in answers} == {(304, b"")}
        assert server.throttled_count == 0


# --- faults -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["401", "403", "404", "429", "500", "503", "504"])
def test_a_fault_with_a_status_has_the_documented_body_and_passes(client: Client, kind: str) -> None:
    client.server.faults.append(Fault("/teams/members", kind, after=1, times=2, retry_after="3"))
    answers = [client.get("/teams/members") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, int(kind), int(kind), 200]
    assert set(answers[1].json()) == {"error", "message"}
    assert answers[1].headers["Retry-After"] == "3"
    assert client.get("/teams/groups").status_code == 200


def test_a_bad_gateway_and_a_challenge_page_are_html(client: Client) -> None:
    client.server.faults += [Fault("/teams/*", "502"), Fault("/teams/members", "html", after=1)]
    answers = [client.get("/teams/members") for _ in range(3)]
    assert [(a.status_code, a.headers["Content-Type"]) for a in answers] == [
        (502, "text/html"),
        (200, "text/html; charset=utf-8"),
        (200, "application/json; charset=utf-8"),
    ]


def test_a_truncated_answer_is_no_json_and_a_short_one_ends_early(client: Client) -> None:
    client.server.faults += [Fault("/teams/members", "truncated_json"), Fault("/teams/members", "short_body", after=1)]
    truncated = client.get("/teams/members")
    assert truncated.status_code == 200
    with pytest.raises(requests.JSONDecodeError):
        truncated.json()
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        client.get("/teams/members")
    assert client.get("/teams/members").json()["teamMembers"]


def test_a_reset_connection_and_a_silent_one_give_no_answer(client: Client) -> None:
    client.server.faults += [Fault("/teams/members", "reset"), Fault("/teams/members", "stall", after=1, seconds=5)]
    with pytest.raises(requests.ConnectionError):
        client.get("/teams/members")
    with pytest.raises(requests.ReadTimeout):
        client.session.get(client.server.base_url + "/teams/members", timeout=0.2)
    assert client.get("/teams/members").status_code == 200
    assert [(record.status, record.fault) for record in client.server.requests] == [
        (0, "reset"),
        (0, "stall"),
        (200, None),
    ]


def test_a_key_can_be_missing_or_have_another_type(client: Client) -> None:
    for path, rows in (("/teams/members", "teamMembers"), ("/teams/groups", "groups")):
        client.server.faults[:] = [Fault(path, "missing_key"), Fault(path, "missing_key", after=1, key="email")]
        assert rows not in client.get(path).json()
        assert client.get(path).json()[rows]
    client.server.faults[:] = [Fault(EVENTS, "changed_type"), Fault(EVENTS, "changed_type", after=1, key="timestamp")]
    start = int(datetime(2026, 11, 10, tzinfo=UTC).timestamp() * 1000)
    first = client.page(start, start + 86_399_999)["usageEvents"]
    assert isinstance(first[0]["chargedCents"], dict)
    assert not isinstance(first[1]["chargedCents"], dict)
    assert isinstance(client.page(start, start + 86_399_999)["usageEvents"][0]["timestamp"], dict)
    assert client.day(DAY)[0]["chargedCents"] != first[0]["chargedCents"]


def test_a_fault_of_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="Unknown kind of fault 'meltdown'; known are 401, 403"):
        Fault("/teams/members", "meltdown")


# --- the log and the clock --------------------------------------------------------------------------------------------


def test_the_log_holds_what_was_asked_but_never_the_key(client: Client) -> None:
    client.get("/teams/groups", billingCycle="2026-10-20")
    client.post(EVENTS, startDate=5, endDate=6)
    client.session.delete(client.server.base_url + "/teams/groups/group_x", timeout=5)
    records = client.server.requests
    assert [(r.method, r.path, r.query, r.body, r.status) for r in records] == [
        ("GET", "/teams/groups", {"billingCycle": "2026-10-20"}, {}, 200),
        ("POST", EVENTS, {}, {"startDate": 5, "endDate": 6}, 200),
        ("DELETE", "/teams/groups/group_x", {}, {}, 404),
    ]
    assert client.server.api_key not in repr(records)


def test_one_connection_serves_many_requests_and_ends_with_the_server() -> None:
    server = serve(small())
    with server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
        for _ in range(3):
            connection.request("GET", "/v1/me")
            assert connection.getresponse().read()
    assert connection.sock.recv(1) == b"", "the server closed it"


def test_a_server_in_its_own_process_answers_the_same_bytes_prerendered_or_not() -> None:
    arguments = {"seed": 3, "people": 6, "start": DAY - timedelta(days=3), "end": DAY + timedelta(days=3)}
    start = int(datetime(2026, 11, 9, tzinfo=UTC).timestamp() * 1000)
    body = {"startDate": start, "endDate": start + 86_399_999, "pageSize": 1000}
    with SimulatorProcess(now=NOW - timedelta(days=4), **arguments) as process, serve(small(**arguments)) as server:
        mine = Client(server)
        there = requests.Session()
        there.auth = (process.api_key, "")
        for now in (NOW - timedelta(days=4), NOW):
            process.set_now(now)
            server.set_now(now)
            answer = there.post(process.base_url + EVENTS, json=body, timeout=10)
            assert answer.content == mine.post(EVENTS, **body).content
            assert len(answer.content) > 1000
        assert [record.path for record in process.state().requests] == [EVENTS, EVENTS]
