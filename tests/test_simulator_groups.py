"""What the simulator shows of groups and members: cycles, moves, deletion, glitches, spend, and the audit log."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from simulator_client import Client, at, cents, hand_made, serve

from pipelines.simulator import Behaviour, Glitch, SimulatorServer


@pytest.fixture(scope="module")
def server() -> Iterator[SimulatorServer]:
    with serve(hand_made()) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: SimulatorServer) -> Client:
    return Client(server)


def listed(answer: dict[str, Any]) -> dict[str, dict[str, list[tuple[str, str, str | None]]]]:
    return {
        group["name"]: {
            kind: [(member["userId"], member["joinedAt"], member["leftAt"]) for member in group[kind]]
            for kind in ("currentMembers", "formerMembers")
        }
        for group in answer["groups"]
    }


def test_the_current_cycle_shows_a_move_a_rejoining_and_a_second_id(client: Client) -> None:
    assert listed(client.groups()) == {
        "Alpha": {
            "currentMembers": [
                ("user_ben1", "2026-11-08T09:00:00.000Z", None),
                ("user_dora2", "2026-11-09T09:00:00.000Z", None),
            ],
            "formerMembers": [("user_anna1", "2026-03-02T00:00:00.000Z", "2026-11-12T10:22:31.000Z")],
        },
        "Beta Labs": {
            "currentMembers": [("user_anna1", "2026-11-12T10:22:31.000Z", None)],
            "formerMembers": [],
        },
    }


def test_a_past_cycle_is_found_by_any_date_in_it_and_lists_those_who_were_there(client: Client) -> None:
    answer = client.groups(billingCycle="2026-10-05")
    assert answer == client.groups(billingCycle="2026-11-04")
    assert answer["billingCycle"] == {"cycleStart": "2026-10-05T00:00:00.000Z", "cycleEnd": "2026-11-05T00:00:00.000Z"}
    assert listed(answer)["Alpha"] == {
        "currentMembers": [],
        "formerMembers": [
            ("user_anna1", "2026-03-02T00:00:00.000Z", "2026-11-12T10:22:31.000Z"),
            ("user_ben1", "2026-03-02T00:00:00.000Z", "2026-10-20T00:00:00.000Z"),
            ("user_dora1", "2026-03-02T00:00:00.000Z", "2026-10-25T12:00:00.000Z"),
        ],
    }


def test_former_members_of_earlier_cycles_are_listed_only_when_switched_on() -> None:
    with serve(hand_made(Behaviour(wide_former_members=True))) as server:
        former = listed(Client(server).groups())["Alpha"]["formerMembers"]
    assert [user_id for user_id, _, _ in former] == ["user_anna1", "user_ben1", "user_dora1"]


def test_a_deleted_group_is_gone_from_every_cycle_and_its_spend_is_unassigned() -> None:
    with serve(hand_made(), datetime(2026, 11, 10, 14, tzinfo=UTC)) as server:
        client = Client(server)
        past = client.groups(billingCycle="2026-10-20")
        gamma = next(group for group in past["groups"] if group["name"] == "Gamma")
        assert [member["userId"] for member in gamma["currentMembers"]] == ["user_cleo1"]
        assert gamma["spendCents"] > 0
        server.set_now(datetime(2026, 11, 10, 16, tzinfo=UTC))
        after = client.groups(billingCycle="2026-10-20")
        assert [group["name"] for group in after["groups"]] == ["Alpha", "Beta Labs"]
        assert after["unassignedGroup"]["spendCents"] == past["unassignedGroup"]["spendCents"] + gamma["spendCents"]
        assert client.get("/teams/groups/group_c").status_code == 404


def test_a_rename_shows_from_its_instant_on(server: SimulatorServer) -> None:
    with serve(hand_made(), datetime(2026, 10, 31, 23, 59, tzinfo=UTC)) as earlier:
        assert [group["name"] for group in Client(earlier).groups()["groups"]] == ["Alpha", "Beta", "Gamma"]
        earlier.set_now(datetime(2026, 11, 1, tzinfo=UTC))
        assert [group["name"] for group in Client(earlier).groups()["groups"]] == ["Alpha", "Beta Labs", "Gamma"]


def test_a_group_spends_what_its_members_spent_while_in_it() -> None:
    with serve(hand_made(replace(Behaviour.plain(), edge_events=True))) as server:
        _check_spend(Client(server))


def _check_spend(client: Client) -> None:
    events = [event for offset in range(12) for event in client.day(date(2026, 11, 5) + timedelta(days=offset))]
    answer = client.groups()
    for group in answer["groups"]:
        assert group["spendCents"] == sum(m["spendCents"] for m in [*group["currentMembers"], *group["formerMembers"]])
        assert len(group["dailySpend"]) <= 2
    total = sum(group["spendCents"] for group in [*answer["groups"], answer["unassignedGroup"]])
    assert total == cents(events)
    moved = at("2026-11-12T10:22:31")
    anna = [event for event in events if event.get("userEmail") == "anna@example.com"]
    assert any(int(event["timestamp"]) == moved for event in anna), "the instant of the move belongs to the new group"
    in_a = cents([event for event in anna if int(event["timestamp"]) < moved])
    assert answer["groups"][0]["formerMembers"][0]["spendCents"] == in_a > 0
    assert answer["groups"][1]["currentMembers"][0]["spendCents"] == cents(anna) - in_a > 0


def test_member_spend_of_the_cycle_reconciles_with_the_events(client: Client) -> None:
    events = [event for offset in range(12) for event in client.day(date(2026, 11, 5) + timedelta(days=offset))]
    rows = client.ok(client.post("/teams/spend", sortBy="user", sortDirection="asc"))["teamMemberSpend"]
    by_email: dict[str, Decimal] = defaultdict(Decimal)
    for row in rows:
        by_email[row["email"]] += Decimal(row["overallSpendCents"])
    people = {event["userEmail"] for event in events if "userEmail" in event}
    assert by_email == {email: cents([e for e in events if e.get("userEmail") == email]) for email in people}
    on_demand = cents([e for e in events if "userEmail" in e and e["kind"] in ("Usage-based", "User API Key")])
    assert sum(Decimal(row["spendCents"]) for row in rows) == on_demand


def test_unassigned_counts_people_and_lists_them_only_when_switched_on(client: Client) -> None:
    assert client.groups()["unassignedGroup"]["memberCount"] == 2
    assert client.groups()["unassignedGroup"]["currentMembers"] == []
    with serve(hand_made(Behaviour(unassigned_lists_members=True))) as server:
        members = Client(server).groups()["unassignedGroup"]["currentMembers"]
    assert [(m["userId"], m["joinedAt"]) for m in members] == [
        ("user_cleo1", "2026-11-10T15:00:00.000Z"),
        ("user_emil1", "2026-03-01T00:00:00.000Z"),
    ]


def test_the_answer_can_come_without_its_billing_cycle_and_without_left_members() -> None:
    with serve(hand_made(Behaviour(send_billing_cycle=False, ended_stints_vanish="leavers"))) as server:
        answer = Client(server).groups(billingCycle="2026-10-20")
    assert "billingCycle" not in answer
    assert [row[0] for row in listed(answer)["Alpha"]["formerMembers"]] == ["user_anna1", "user_ben1"]


@pytest.mark.parametrize(("how", "left"), [("empty", 0), ("halved", 1), ("thinned", 1)])
def test_a_glitch_lasts_one_night_and_hits_the_group_it_names(how: str, left: int) -> None:
    night = date(2026, 11, 14)
    glitches = (Glitch(night, "groups", how, "group_a"), Glitch(night, "members", how))
    with serve(hand_made(Behaviour(glitches=glitches)), datetime(2026, 11, 14, 2, tzinfo=UTC)) as server:
        client = Client(server)
        shown = {group["id"]: len(group["currentMembers"]) for group in client.groups()["groups"]}
        assert shown == {"group_a": left, "group_b": 1}
        assert (
            len(client.ok(client.get("/teams/members"))["teamMembers"]) == {"empty": 0, "halved": 3, "thinned": 2}[how]
        )
        server.set_now(datetime(2026, 11, 15, 2, tzinfo=UTC))
        assert len(client.groups()["groups"][0]["currentMembers"]) == 2
        assert len(client.ok(client.get("/teams/members"))["teamMembers"]) == 6


def test_removed_people_carry_a_flag_or_are_missing() -> None:
    for mode, expected in (
        ("flag", [("user_dora1", True), ("user_dora2", False)]),
        ("vanish", [("user_dora2", False)]),
    ):
        with serve(hand_made(Behaviour(removed_members=mode))) as server:
            rows = Client(server).ok(Client(server).get("/teams/members"))["teamMembers"]
        assert [(row["id"], row["isRemoved"]) for row in rows if row["email"] == "dora@example.com"] == expected


def test_older_and_undocumented_shapes_can_be_switched_on() -> None:
    behaviour = Behaviour(
        numeric_member_ids=True,
        daily_spend_in_list=True,
        undocumented_spend_fields=True,
        audit_retention_days=3,
        cycle_anchor_day=10,
        spend_basis="on_demand",
    )
    with serve(hand_made(behaviour)) as server:
        client = Client(server)
        assert {type(row["id"]) for row in client.ok(client.get("/teams/members"))["teamMembers"]} == {int}
        answer = client.groups()
        assert answer["billingCycle"]["cycleStart"] == "2026-11-10T00:00:00.000Z"
        assert all("dailySpend" in member for group in answer["groups"] for member in group["currentMembers"])
        spend = client.ok(client.post("/teams/spend"))["teamMemberSpend"]
        assert {"includedSpendCents", "billingTier", "removedAt"} <= set(spend[0])
        groups = [*answer["groups"], answer["unassignedGroup"]]
        events = [event for offset in range(7) for event in client.day(date(2026, 11, 10) + timedelta(days=offset))]
        on_demand = [event for event in events if event["kind"] in ("Usage-based", "User API Key")]
        assert sum(group["spendCents"] for group in groups) == cents(on_demand) < cents(events)
        assert client.ok(client.get("/teams/audit-logs", startTime="20d"))["pagination"]["totalCount"] == 0


def test_the_audit_log_tells_joins_departures_and_directory_moves_but_no_billing_groups(client: Client) -> None:
    events = client.ok(client.get("/teams/audit-logs", startTime="2026-10-20", endTime="now"))["events"]
    assert [(event["timestamp"], event["event_type"], event["user_email"]) for event in events] == [
        ("2026-10-25T12:00:00.000Z", "credentials_revoked", "System"),
        ("2026-10-25T12:00:00.000Z", "remove_user", "SCIM"),
        ("2026-11-09T09:00:00.000Z", "add_user", "anna@example.com"),
        ("2026-11-12T10:22:31.000Z", "add_user_to_directory_group", "SCIM"),
    ]
    assert events[-1]["event_data"] == {"directory_group_id": "dir_b", "user_email": "anna@example.com"}
    assert client.get("/teams/audit-logs", startTime="31d").status_code == 400
    with serve(hand_made(Behaviour(audit_vocabulary="spring", audit_newest_first=True))) as server:
        spring = Client(server).ok(Client(server).get("/teams/audit-logs", startTime="25d"))["events"]
    assert [event["event_type"] for event in spring][1:] == ["member_added", "member_removed", "credentials_revoked"]
