"""The simulator against the API reference: shapes, paging, windows, and what the clock changes."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from simulator_client import DAY, DAY_MS, EVENTS, NOW, Client, serve, small

from pipelines.simulator import Behaviour, Organisation, SimulatorServer, Truth
from pipelines.simulator.instants import to_ms


@pytest.fixture(scope="module")
def server() -> Iterator[SimulatorServer]:
    with serve(Organisation.invent(seed=7, people=60)) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: SimulatorServer) -> Client:
    return Client(server)


# --- shapes -----------------------------------------------------------------------------------------------------------

SHAPES: dict[str, dict[str, Any]] = {
    "event": {
        "timestamp": str,
        "userEmail": str,
        "conversationId": str,
        "model": str,
        "kind": str,
        "maxMode": bool,
        "requestsCosts": (int, Decimal),
        "isTokenBasedCall": bool,
        "isChargeable": bool,
        "isHeadless": bool,
        "tokenUsage": dict,
        "chargedCents": (int, Decimal),
        "cursorTokenFee": (int, Decimal),
    },
    "group": {
        "id": str,
        "name": str,
        "type": str,
        "directoryGroupId": (str, type(None)),
        "memberCount": int,
        "createdAt": str,
        "updatedAt": str,
        "spendCents": (int, Decimal),
        "currentMembers": list,
        "formerMembers": list,
        "dailySpend": list,
    },
    "group member": {
        "userId": str,
        "name": str,
        "email": str,
        "joinedAt": str,
        "leftAt": (str, type(None)),
        "spendCents": (int, Decimal),
    },
    "member": {"id": str, "name": str, "email": str, "role": str, "isRemoved": bool},
    "spend": {
        "userId": str,
        "name": str,
        "email": str,
        "role": str,
        "spendCents": (int, Decimal),
        "overallSpendCents": (int, Decimal),
        "fastPremiumRequests": int,
        "hardLimitOverrideDollars": int,
        "monthlyLimitDollars": type(None),
        "effectivePerUserLimitDollars": int,
    },
    "audit event": {
        "event_id": str,
        "timestamp": str,
        "ip_address": str,
        "user_email": str,
        "event_type": str,
        "application_type": str,
        "event_data": dict,
    },
}


def assert_shape(name: str, row: dict[str, Any]) -> None:
    shape = SHAPES[name]
    assert list(row) == list(shape), name
    wrong = {key: value for key, value in row.items() if not isinstance(value, shape[key])}
    assert not wrong, name


def test_an_event_has_the_fields_of_the_reference_in_its_types(client: Client) -> None:
    events = client.day(DAY)
    full = [event for event in events if "cursorTokenFee" in event and set(event) == set(SHAPES["event"])]
    assert_shape("event", full[0])
    assert set(full[0]["tokenUsage"]) <= {
        "inputTokens",
        "outputTokens",
        "cacheWriteTokens",
        "cacheReadTokens",
        "totalCents",
        "discountPercentOff",
    }
    optional = {"serviceAccountId", "serviceAccountName", "cloudAgentId", "automationId"}
    assert {key for event in events for key in event} == set(SHAPES["event"]) | optional
    assert all(value is not None for event in events for value in event.values()), "optional ids are absent, not null"


def test_what_is_charged_is_the_model_cost_less_the_discount_plus_the_fee(client: Client) -> None:
    for event in client.day(DAY):
        if event["isTokenBasedCall"]:
            usage = event["tokenUsage"]
            net = Decimal(usage["totalCents"]) * (100 - usage.get("discountPercentOff", 0)) / 100
            assert event["chargedCents"] == net + event.get("cursorTokenFee", 0)
        else:
            assert "tokenUsage" not in event
        assert Decimal(event["chargedCents"]) == round(Decimal(event["chargedCents"]), 6)
        if event["kind"].endswith("Not Charged"):
            assert event["chargedCents"] == 0


def test_groups_members_spend_and_audit_rows_have_the_fields_of_the_reference(client: Client) -> None:
    answer = client.groups()
    assert list(answer) == ["groups", "unassignedGroup", "billingCycle"]
    assert answer["billingCycle"] == {"cycleStart": "2026-11-05T00:00:00.000Z", "cycleEnd": "2026-12-05T00:00:00.000Z"}
    for group in [*answer["groups"], answer["unassignedGroup"]]:
        assert_shape("group", group)
        for member in [*group["currentMembers"], *group["formerMembers"]]:
            assert_shape("group member", member)
    detail = client.ok(client.get(f"/teams/groups/{answer['groups'][0]['id']}"))
    assert list(detail) == ["group", "billingCycle"]
    assert list(detail["group"]["currentMembers"][0]) == [*SHAPES["group member"], "dailySpend"]
    members = client.ok(client.get("/teams/members"))
    assert list(members) == ["teamMembers"]
    for member in members["teamMembers"]:
        assert_shape("member", member)
    spend = client.ok(client.post("/teams/spend", pageSize=10))
    assert list(spend) == ["teamMemberSpend", "subscriptionCycleStart", "totalMembers", "totalPages"]
    for row in spend["teamMemberSpend"]:
        assert_shape("spend", row)
    audit = client.ok(client.get("/teams/audit-logs", startTime="30d"))
    assert list(audit) == ["events", "pagination", "params"]
    for row in audit["events"]:
        assert_shape("audit event", row)


def test_commits_come_as_json_and_as_csv_with_the_same_cells(client: Client) -> None:
    answer = client.ok(client.get("/analytics/ai-code/commits", startDate="7d", pageSize=1000))
    rows = list(csv.DictReader(client.get("/analytics/ai-code/commits.csv", startDate="7d").text.splitlines(True)))
    assert len(rows) == answer["totalCount"] == len(answer["items"]) > 50
    for item, row in zip(answer["items"], rows, strict=True):
        assert (item["commitHash"], item["repoName"] or "", item["message"] or "") == (
            row["commit_hash"],
            row["repo_name"],
            row["message"],
        )
    hashes = [item["commitHash"] for item in answer["items"]]
    assert len(set(hashes)) < len(hashes), "an amended commit appears again"


def test_csv_columns_can_come_in_any_order() -> None:
    with serve(small(Behaviour(shuffled_csv_columns=True))) as server:
        lines = [Client(server).get("/analytics/ai-code/commits.csv").text.splitlines()[0]]
        server.set_now(NOW + timedelta(days=1))
        lines.append(Client(server).get("/analytics/ai-code/commits.csv").text.splitlines()[0])
    assert lines[0] != lines[1]
    assert sorted(lines[0].split(",")) == sorted(lines[1].split(","))
    assert len(lines[0].split(",")) == 18


def test_daily_usage_lists_active_people_only_unless_both_paging_fields_are_sent(client: Client) -> None:
    window = {"startDate": to_ms(DAY), "endDate": to_ms(DAY) + DAY_MS - 1}
    unpaged = client.ok(client.post("/teams/daily-usage-data", **window))
    paged = client.ok(client.post("/teams/daily-usage-data", **window, page=1, pageSize=1000))
    assert "pagination" not in unpaged
    assert all(row["isActive"] for row in unpaged["data"])
    assert len(paged["data"]) > len(unpaged["data"])
    assert paged["pagination"]["totalUsers"] == len(paged["data"])
    requests_counted = sum(row["subscriptionIncludedReqs"] + row["usageBasedReqs"] for row in unpaged["data"])
    assert 0 < requests_counted <= len(client.day(DAY))


def test_the_other_routes_answer_in_their_shape(client: Client) -> None:
    assert client.ok(client.get("/teams/directory-groups"))["pagination"]["totalCount"] == 1
    assert list(client.ok(client.get("/settings/repo-blocklists/repos"))["repos"][0]) == ["id", "url", "patterns"]
    assert client.ok(client.get("/v1/me"))["apiKeyName"] == "finops-elt"
    dau = client.ok(client.get("/analytics/team/dau", startDate="2026-11-09", endDate="2026-11-10"))
    assert [row["date"] for row in dau["data"]] == ["2026-11-09", "2026-11-10"]
    by_user = client.ok(client.get("/analytics/by-user/mcp"))
    assert set(by_user) == {"data", "pagination", "params"}
    assert set(by_user["data"]) <= {mapping["email"] for mapping in by_user["params"]["userMappings"]}
    assert client.get("/analytics/team/conversation-insights").status_code == 401
    pool = Client(client.server, client.server.organisation.organization_key)
    answer = pool.ok(pool.post("/organizations/pooled-usage", organizationId="org_acme"))
    assert answer["pool"]["usedCents"] == sum(team["usedCents"] for team in answer["teams"])
    assert client.get("/teams/nothing").json() == {"error": "Not Found", "message": "Resource not found"}


# --- paging and windows -----------------------------------------------------------------------------------------------


def test_pages_add_up_newest_first_and_the_page_beyond_the_end_is_empty(client: Client) -> None:
    start = to_ms(DAY)
    whole = client.page(start, start + DAY_MS - 1)["usageEvents"]
    pages = [client.page(start, start + DAY_MS - 1, page, 100) for page in range(1, -(-len(whole) // 100) + 2)]
    assert [event for page in pages for event in page["usageEvents"]] == whole
    times = [int(event["timestamp"]) for event in whole]
    assert times == sorted(times, reverse=True)
    assert pages[-1]["usageEvents"] == []
    assert pages[-1]["totalUsageEventsCount"] == len(whole)
    assert pages[-2]["pagination"] == {
        "numPages": len(pages) - 1,
        "currentPage": len(pages) - 1,
        "pageSize": 100,
        "hasNextPage": False,
        "hasPreviousPage": True,
    }


def test_both_bounds_of_an_event_window_are_inclusive(client: Client) -> None:
    start = to_ms(DAY)
    times = [int(event["timestamp"]) for event in client.day(DAY)]
    assert times[0] == start + DAY_MS - 1
    assert times[-1] == start
    assert client.page(start, start)["totalUsageEventsCount"] == times.count(start)
    assert client.page(times[0], times[0])["totalUsageEventsCount"] == times.count(times[0])
    assert client.page(times[10], times[10])["totalUsageEventsCount"] == times.count(times[10])
    two_days = client.page(start, start + 2 * DAY_MS - 1, size=1)["totalUsageEventsCount"]
    assert two_days == len(times) + len(client.day(DAY + timedelta(days=1)))


def test_a_window_across_days_pages_like_one_list(client: Client) -> None:
    start = to_ms(DAY) - 5 * 3_600_000
    pages = [client.page(start, start + DAY_MS + 3_600_000, page, 70) for page in range(1, 12)]
    events = [event for page in pages for event in page["usageEvents"]]
    assert len(events) == min(770, pages[0]["totalUsageEventsCount"])
    times = [int(event["timestamp"]) for event in events]
    assert times == sorted(times, reverse=True)
    assert {datetime.fromtimestamp(ms / 1000, UTC).day for ms in times} == {9, 10}


def test_event_filters_are_anded(client: Client) -> None:
    start, end = to_ms(DAY), to_ms(DAY) + DAY_MS - 1
    everything = client.day(DAY)
    email = next(event["userEmail"] for event in everything if "userEmail" in event).lower()
    mine = client.page(start, end, email=email)["usageEvents"]
    assert mine == [event for event in everything if event.get("userEmail", "").lower() == email]
    automated = client.page(start, end, automationId="*")["usageEvents"]
    assert automated == [event for event in everything if "automationId" in event]
    account = client.server.organisation.roster.service_accounts[0].service_account_id
    both = client.page(start, end, serviceAccountId=account, cloudAgentId="*")["usageEvents"]
    assert both == [event for event in everything if event.get("serviceAccountId") == account]
    assert client.post(EVENTS, startDate=start, endDate=end, hostingType="MOON").status_code == 400


@pytest.mark.parametrize(
    "body",
    [
        {"startDate": 0, "endDate": 31 * DAY_MS},
        {"startDate": "2026-11-10", "endDate": 5},
        {"startDate": 2, "endDate": 1},
        {"pageSize": 1001},
        {"page": 0},
    ],
)
def test_a_request_that_breaks_a_rule_is_refused(client: Client, body: dict[str, Any]) -> None:
    assert client.post(EVENTS, **body).status_code == 400


def test_a_billing_cycle_that_is_no_date_is_refused(client: Client) -> None:
    assert client.get("/teams/groups", billingCycle="2026-13-01").status_code == 400


# --- the clock --------------------------------------------------------------------------------------------------------


def test_an_event_appears_after_the_next_full_hour_unless_freshness_is_off() -> None:
    late_afternoon = datetime(2026, 11, 10, 14, 59, 59, tzinfo=UTC)
    for behaviour, newest_allowed in (
        (Behaviour(late_share=0), datetime(2026, 11, 10, 14, tzinfo=UTC)),
        (Behaviour(late_share=0, hourly_freshness=False), late_afternoon),
    ):
        with serve(small(behaviour, events_per_person_day=40), late_afternoon) as server:
            seen = [int(event["timestamp"]) for event in Client(server).day(DAY)]
            everything = [event.at_ms for event in server.organisation.events(DAY)]
            assert sorted(seen) == sorted(
                at for at in everything if at <= to_ms(newest_allowed) - behaviour.hourly_freshness
            )
            server.set_now(datetime(2026, 11, 10, 15, tzinfo=UTC))
            assert len(Client(server).day(DAY)) > len(seen) or not behaviour.hourly_freshness


def test_late_events_arrive_within_thirty_hours_and_never_leave() -> None:
    organisation = small(Behaviour(late_share=0.3))
    with serve(organisation, datetime(2026, 11, 11, 2, tzinfo=UTC)) as server:
        client, counts = Client(server), []
        for hours in (0, 12, 24, 31, 60):
            server.set_now(datetime(2026, 11, 11, 2, tzinfo=UTC) + timedelta(hours=hours))
            counts.append(len(client.day(DAY)))
    assert counts == sorted(counts)
    assert counts[0] < counts[-2] == counts[-1] == len(organisation.events(DAY))


def test_prices_are_restated_within_a_day_up_down_and_to_zero() -> None:
    organisation = small(Behaviour(restated_share=0.5, late_share=0, twin_share=0, sibling_share=0))
    with serve(organisation, datetime(2026, 11, 11, 0, tzinfo=UTC)) as server:
        client = Client(server)
        before = client.day(DAY)
        server.set_now(datetime(2026, 11, 12, 0, tzinfo=UTC))
        after = client.day(DAY)
        server.set_now(datetime(2026, 11, 20, 0, tzinfo=UTC))
        assert client.day(DAY) == after
    assert [event["timestamp"] for event in before] == [event["timestamp"] for event in after]
    moves = {
        "up": sum(a["chargedCents"] > b["chargedCents"] for b, a in zip(before, after, strict=True)),
        "down": sum(0 < a["chargedCents"] < b["chargedCents"] for b, a in zip(before, after, strict=True)),
        "zero": sum(a["chargedCents"] == 0 < b["chargedCents"] for b, a in zip(before, after, strict=True)),
        "kind only": sum(
            a["chargedCents"] == b["chargedCents"] and a["kind"] != b["kind"]
            for b, a in zip(before, after, strict=True)
        ),
    }
    assert min(moves.values()) > 0, moves
    for b, a in zip(before, after, strict=True):
        assert {k: v for k, v in b.items() if k in ("userEmail", "model", "conversationId")} == {
            k: v for k, v in a.items() if k in ("userEmail", "model", "conversationId")
        }
        if a["chargedCents"] == 0 < b["chargedCents"]:
            assert a["kind"] == "Errored, Not Charged"


def test_the_date_header_is_the_simulators_clock(client: Client) -> None:
    assert client.get("/teams/members").headers["Date"] == "Mon, 16 Nov 2026 02:00:00 GMT"


def test_rows_appear_between_pages_of_the_open_hour_until_the_hour_is_used_up() -> None:
    organisation = small(Behaviour(drift=True, late_share=0), events_per_person_day=80)
    with serve(organisation, datetime(2026, 11, 10, 14, 50, tzinfo=UTC)) as server:
        client = Client(server)
        start = to_ms(DAY)
        counts = [client.page(start, start + DAY_MS - 1, size=10)["totalUsageEventsCount"] for _ in range(7)]
        assert counts == sorted(counts)
        assert counts[0] < counts[-1] == counts[-2]
        assert len({client.page(start - DAY_MS, start - 1)["totalUsageEventsCount"] for _ in range(3)}) == 1
        truth = Truth(organisation)
        assert len(truth.events(DAY, server.now, reveals=20)) == counts[-1]


def test_events_older_than_the_retention_are_not_served() -> None:
    with serve(small(Behaviour(event_retention_days=5)), NOW) as server:
        client = Client(server)
        assert client.day(date(2026, 11, 10)) == []
        assert client.day(date(2026, 11, 11)) != []


def test_twins_siblings_and_nameless_events_exist_and_can_be_switched_off() -> None:
    def traits(behaviour: Behaviour) -> tuple[int, int, int]:
        organisation = small(behaviour, events_per_person_day=30)
        events = [event for offset in range(10) for event in organisation.events(DAY - timedelta(days=offset))]
        shown = [(e.at_ms, e.email, e.model, e.conversation_id, e.input_tokens, e.cache_read_tokens) for e in events]
        same_moment = [(e.at_ms, e.email, e.model, e.conversation_id) for e in events]
        people = [e for e in events if e.service_account is None]
        twins = len(shown) - len(set(shown))
        return twins, len(same_moment) - len(set(same_moment)) - twins, sum(e.email is None for e in people)

    assert min(traits(Behaviour())) > 0
    assert traits(Behaviour.plain()) == (0, 0, 0)


def test_unknown_kinds_null_amounts_and_extra_fields_appear_when_switched_on() -> None:
    behaviour = Behaviour(unknown_kind_share=0.2, null_charge_share=0.2, extra_fields=True)
    with serve(small(behaviour)) as server:
        events = Client(server).day(DAY)
    assert any(event["kind"] == "Sponsored" for event in events)
    assert any("chargedCents" not in event for event in events)
    assert any("chargedCents" in event and event["chargedCents"] is None for event in events)
    assert any("routing" in event for event in events)
