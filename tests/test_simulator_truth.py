"""The truth that the simulator tells, and the organisation it invents."""

from __future__ import annotations

import csv
from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from simulator_client import DAY, NOW, Client, at, cents, hand_made, serve, small

from pipelines.simulator import Behaviour, Organisation, SnapshotRead, Truth
from pipelines.simulator.instants import cycle_bounds, day_of, iso, parse_moment, to_ms


def test_the_truth_agrees_with_a_recount_of_the_raw_answers() -> None:
    with serve(hand_made()) as server:
        _recount(Client(server), Truth(server.organisation))


def _recount(client: Client, truth: Truth) -> None:
    moved, left, back = at("2026-11-12T10:22:31"), at("2026-10-20"), at("2026-11-08T09:00")
    expected: dict[str, Decimal] = defaultdict(Decimal)
    days = [date(2026, 10, 15) + timedelta(days=offset) for offset in range(32)]
    for day in days:
        for event in client.day(day):
            ms, who = int(event["timestamp"]), event.get("userEmail")
            if "serviceAccountId" in event:
                group = "group_b" if ms >= at("2026-11-03") else "group_unassigned"
            elif who == "anna@example.com":
                group = "group_a" if ms < moved else "group_b"
            elif who == "ben@example.com":
                group = "group_unassigned" if left <= ms < back else "group_a"
            elif who == "cleo@example.com":
                group = "group_c" if ms < at("2026-11-10T15:00") else "group_unassigned"
            else:
                group = "group_a" if who == "dora@example.com" else "group_unassigned"
            expected[group] += event["chargedCents"]
    assert truth.group_cents(days, NOW) == expected
    assert min(expected.values()) > 0
    assert truth.day_cents(DAY, NOW) == cents(client.day(DAY))
    assert truth.day_count(DAY, NOW) == len(client.day(DAY))


@pytest.mark.parametrize(
    ("email", "moment", "expected"),
    [
        ("anna@example.com", "2026-11-12T10:22:30.999", ("group_a", "reported_interval")),
        ("ANNA@example.com ", "2026-11-12T10:22:31", ("group_b", "reported_interval")),
        ("ben@example.com", "2026-10-20", ("group_unassigned", "unassigned_gap")),
        ("cleo@example.com", "2026-11-10T14:59:59", ("group_c", "reported_interval")),
        ("dora@example.com", "2026-10-25T12:00", ("group_a", "last_known_group")),
        ("dora@example.com", "2026-11-09T09:00", ("group_a", "reported_interval")),
        ("emil@example.com", "2026-11-09", ("group_unassigned", "unassigned_gap")),
        ("nobody@example.com", "2026-11-09", ("group_unassigned", "unknown_user")),
    ],
)
def test_the_instant_decides_the_group(email: str, moment: str, expected: tuple[str, str]) -> None:
    assert Truth(hand_made()).attribution(email, datetime.fromisoformat(moment)) == expected


def test_with_the_snapshots_that_were_taken_the_truth_is_what_they_allow() -> None:
    organisation = hand_made(Behaviour(ended_stints_vanish="always"))
    nights = [datetime(2026, 11, day, 2, tzinfo=UTC) for day in (9, 11, 13)]
    reads = [SnapshotRead(resource, night) for night in nights for resource in ("billing_groups", "members")]
    truth = Truth(organisation, reads)
    late = Truth(organisation, [read for read in reads if read.at.day > 9])

    def ask(answers: Truth, who: str, moment: str) -> tuple[str, str]:
        return answers.attribution(f"{who}@example.com", datetime.fromisoformat(moment))

    assert ask(truth, "anna", "2026-11-12T10:22:30") == ("group_a", "inferred_interval")
    assert ask(truth, "anna", "2026-11-12T10:22:31") == ("group_b", "reported_interval")
    assert ask(truth, "cleo", "2026-11-11T01:59") == ("group_c", "inferred_interval")
    assert ask(truth, "cleo", "2026-11-11T02:00") == ("group_unassigned", "unassigned_gap")
    assert ask(late, "cleo", "2026-11-10T12:00") == ("group_unassigned", "unassigned_gap")
    assert ask(truth, "dora", "2026-10-30T12:00") == ("group_unassigned", "unassigned_gap")
    assert ask(truth, "nobody", "2026-10-30T12:00") == ("group_unassigned", "unknown_user")


def test_a_blanked_email_is_remembered_only_from_a_read_that_saw_it() -> None:
    organisation = small(Behaviour(nameless_share=0, twin_share=0), people=40, events_per_person_day=20)
    blanked = [a for a in organisation.roster.accounts.values() if a.blanked_ms is not None]
    assert blanked
    moment = max(a.blanked_ms for a in blanked if a.blanked_ms is not None)
    leaver = next(a for a in blanked if a.blanked_ms == moment)
    as_of = datetime.fromtimestamp(moment / 1000, UTC) + timedelta(days=1)
    days = [date(2026, 11, 1) + timedelta(days=offset) for offset in range(30)]
    truth = Truth(organisation)

    def nameless(earlier: list[datetime] | None) -> list[tuple[str | None, str]]:
        events = [e for day in days for e in truth.events(day, as_of, earlier_reads=earlier)]
        return [
            (e.email, e.attribution_method)
            for e in events
            if e.causer_email == leaver.email.lower() and not e.shown_email
        ]

    assert nameless([as_of - timedelta(hours=1)]) == [(None, "unattributed")] * len(nameless(None))
    assert {email for email, _ in nameless(None)} == {leaver.email.lower()}
    before = datetime.fromtimestamp(moment / 1000, UTC) - timedelta(hours=1)
    assert {email for email, _ in nameless([before])} >= {leaver.email.lower()}


def test_a_nameless_event_belongs_to_the_only_person_of_its_conversation() -> None:
    organisation = small(Behaviour(nameless_share=0.2, twin_share=0, sibling_share=0), events_per_person_day=30)
    events = Truth(organisation).events(DAY, NOW)
    found = [event for event in events if event.is_nameless and event.email is not None]
    lost = [event for event in events if event.is_nameless and event.email is None]
    assert found
    assert lost
    assert all(event.email == event.causer_email for event in found)
    assert {event.billing_group_id for event in lost} == {"unattributed"}


# --- the invented organisation ----------------------------------------------------------------------------------------


def test_the_same_arguments_give_the_same_bytes_and_another_seed_does_not() -> None:
    def answers(seed: int) -> list[bytes]:
        with serve(small(seed=seed)) as server:
            client = Client(server)
            window = {"startDate": to_ms(DAY), "endDate": to_ms(DAY) + 86_399_999}
            paths = ("/teams/groups", "/teams/members", "/teams/audit-logs", "/analytics/ai-code/commits")
            bodies = [
                client.post("/teams/filtered-usage-events", **window),
                client.post("/teams/daily-usage-data", **window),
            ]
            return [client.get(path).content for path in paths] + [body.content for body in bodies]

    first, again, other = answers(3), answers(3), answers(4)
    assert first == again
    assert all(a != b for a, b in zip(first, other, strict=True) if b"[]" not in a)


def test_the_demo_organisation_looks_real() -> None:
    organisation = Organisation.invent(seed=7)
    accounts = organisation.roster.accounts.values()
    emails = [account.email.lower() for account in accounts]
    assert len(set(emails)) == len(organisation.roster.persons) == 60
    assert len(emails) > 60, "a re-invited person has a second id"
    assert {role for account in accounts for _, role in account.roles} == {"member", "owner", "free-owner"}
    groups = organisation.roster.groups
    assert sum(group.deleted_ms is not None for group in groups) == 1
    assert sum(len(group.names) > 1 for group in groups) == 1
    assert sum(group.directory_group_id is not None for group in groups) == 1
    by_user: dict[str, list[Any]] = defaultdict(list)
    for stint in organisation.roster.stints:
        by_user[stint.user_id].append(stint)
    assert any(len({s.group_id for s in stints}) < len(stints) for stints in by_user.values()), "somebody rejoins"
    weights = sorted(person.weight for person in organisation.roster.persons)
    assert weights[-1] > 50 * weights[0]
    counts = {offset: len(organisation.events(date(2026, 11, 2) + timedelta(days=offset))) for offset in range(7)}
    assert min(counts[offset] for offset in range(5)) > 3 * max(counts[5], counts[6])
    robots = organisation.roster.service_accounts
    assert {robot.email is None for robot in robots} == {True, False}
    assert any(robot.email == robot.owner_email for robot in robots)
    assert any(not robot.mappings for robot in robots)


def test_nobody_is_in_two_groups_at_once_or_in_one_after_its_deletion() -> None:
    for seed in range(120):
        organisation = Organisation.invent(seed=seed, people=(5, 12, 25)[seed % 3], groups=(4, 6, 8)[seed % 3])
        ends = {group.group_id: group.deleted_ms for group in organisation.roster.groups}
        for account in organisation.roster.accounts.values():
            stints = organisation.stints_of(account.user_id)
            for stint, following in pairwise(stints):
                assert stint.left_ms is not None
                assert stint.joined_ms < stint.left_ms <= following.joined_ms
            for stint in stints:
                deleted = ends[stint.group_id]
                assert deleted is None or (stint.left_ms is not None and stint.left_ms <= deleted)
                assert account.removed_ms is None or (stint.left_ms is not None and stint.left_ms <= account.removed_ms)
                assert stint.joined_ms >= account.joined_ms


@pytest.mark.parametrize(("people", "groups"), [(1, 1), (2, 2), (5, 3), (12, 4)])
def test_a_tiny_organisation_is_possible(people: int, groups: int) -> None:
    organisation = Organisation.invent(people=people, groups=groups)
    with serve(organisation) as server:
        client = Client(server)
        assert len(client.day(DAY)) > 0
        assert client.groups()["groups"]
        assert client.ok(client.get("/teams/members"))["teamMembers"]


def test_the_companys_own_tables_have_the_columns_people_edit(tmp_path: Path) -> None:
    organisation = Organisation.invent(seed=7)
    organisation.write_seeds(tmp_path)
    rows = {path.stem: list(csv.DictReader(path.open(encoding="utf-8"))) for path in tmp_path.iterdir()}
    assert {name: list(table[0]) for name, table in rows.items()} == {
        "plans": ["team", "plan", "valid_from_date", "usage_rate"],
        "seat_prices": ["team", "seat_type", "monthly_price_usd", "valid_from_date"],
        "seat_types": ["team", "user_email", "seat_type", "valid_from_date"],
        "committed_seats": ["team", "seat_type", "seat_count", "valid_from_date"],
        "service_accounts": [
            "team",
            "service_account_id",
            "name",
            "email",
            "owner",
            "purpose",
            "billing_group_id",
            "key_rotated_on",
            "rotation_days",
            "valid_from_date",
        ],
        "billing_groups": ["team", "billing_group_id", "cost_center", "gl_account", "owner"],
        "budgets": ["team", "month", "owner_type", "owner_id", "budget_usd"],
    }
    groups = {group.group_id for group in organisation.roster.groups}
    assert {row["billing_group_id"] for row in rows["billing_groups"]} == groups
    assert {row["billing_group_id"] for row in rows["service_accounts"]} <= groups
    assert rows["plans"] == [{"team": "", "plan": "enterprise", "valid_from_date": "2025-07-01", "usage_rate": "1"}]
    # July to December, for the six groups that are there all the time and the accounts that somebody pays for
    assert {row["month"] for row in rows["budgets"]} == {f"2026-{month:02d}-01" for month in range(7, 13)}
    owners = {(row["owner_type"], row["owner_id"]) for row in rows["budgets"]}
    lasting = {group.group_id for group in organisation.roster.groups if group.deleted_ms is None}
    new = {group.group_id for group in organisation.roster.groups if group.created_ms >= at("2026-07-01")}
    paid_for = {row["service_account_id"] for row in rows["service_accounts"] if row["billing_group_id"]}
    assert owners == {("billing_group", group) for group in lasting - new} | {
        ("service_account", one) for one in paid_for
    }
    assert len(lasting - new) == 6


def test_times_are_read_in_every_documented_spelling() -> None:
    now = to_ms(NOW)
    spellings = {
        "now": now,
        "today": now - 7_200_000,
        "yesterday": now - 7_200_000 - 86_400_000,
        "7d": now - 7 * 86_400_000,
        "5h": now - 18_000_000,
        "300s": now - 300_000,
        "2026-11-10": at("2026-11-10"),
        "2026-11-10T08:00:00+02:00": at("2026-11-10T06:00"),
        "1794268800": 1_794_268_800_000,
        "1794268800123": 1_794_268_800_123,
    }
    assert {text: parse_moment(text, now) for text in spellings} == spellings
    with pytest.raises(ValueError, match="Invalid isoformat"):
        parse_moment("soon", now)
    assert iso(1_794_268_800_004) == "2026-11-10T00:00:00.004Z"
    assert day_of(at("2026-11-10T23:59:59")) == DAY


def test_cycles_begin_on_the_anchor_day() -> None:
    assert cycle_bounds(at("2026-11-05"), 5) == (at("2026-11-05"), at("2026-12-05"))
    assert cycle_bounds(at("2026-11-04T23:59:59"), 5) == (at("2026-10-05"), at("2026-11-05"))
    assert cycle_bounds(at("2026-12-31"), 28) == (at("2026-12-28"), at("2027-01-28"))
