"""The simulator's own arithmetic for seats and statements: what the tables are held against must itself be right."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from simulator_client import at, small

from pipelines.simulator import Behaviour, Organisation
from pipelines.simulator.instants import cycle_bounds, days_between
from pipelines.simulator.seat_truth import (
    AuditWindow,
    MembersAnswer,
    RosterChange,
    SeatBooks,
    SeatDay,
    SeatTruth,
    members_answer,
    roster_changes,
)
from pipelines.simulator.statements import ClosedMonths, Line, day_price_micro, statement, whole_cents

OCTOBER, NOVEMBER, DECEMBER = date(2026, 10, 1), date(2026, 11, 1), date(2026, 12, 1)
ANNA, BEN = "anna@example.com", "ben@example.com"


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def answer(text: str, **roles: str) -> MembersAnswer:
    """Who the roster showed; a role `removed` is the flag."""
    rows = (
        (f"{name}@example.com", "member" if role == "removed" else role, role == "removed")
        for name, role in roles.items()
    )
    return MembersAnswer(moment(text), tuple(rows))


def change(text: str, name: str, what: str, role: str | None = None) -> RosterChange:
    return RosterChange(at(text), f"{name}@example.com", what, role)


def truth(
    answers: Sequence[MembersAnswer] = (),
    changes: Sequence[RosterChange] = (),
    books: SeatBooks | None = None,
    audit_from: date | None = date(2026, 10, 1),
    usage: Mapping[str, Sequence[int]] | None = None,
    *,
    hold: bool = True,
) -> SeatTruth:
    """A team whose cycles begin on the 5th and whose people are all in one group."""
    return SeatTruth(
        answers,
        changes,
        audit_from,
        books or SeatBooks(),
        group_at=lambda email, at_ms: "group_a",
        usage_of=usage or {},
        cycle_of=lambda at_ms: cycle_bounds(at_ms, 5),
        hold_after_removal=hold,
    )


def held(seats: SeatTruth, first: str, last: str, email: str = ANNA) -> dict[str, str]:
    """Status by day of month, of the days on which the person has a seat."""
    rows = seats.days(days_between(date.fromisoformat(first), date.fromisoformat(last)))
    return {row.day.isoformat()[5:]: row.status for row in rows if row.email == email}


# --- who holds a seat -------------------------------------------------------------------------------------------------


def test_before_the_first_evidence_nobody_holds_a_seat_and_the_join_day_counts() -> None:
    snapshot = truth([answer("2026-10-05T02:00", anna="member")])
    assert list(held(snapshot, "2026-10-01", "2026-10-07")) == ["10-05", "10-06", "10-07"]
    absent = truth([answer("2026-10-03T02:00", ben="member"), answer("2026-10-05T02:00", anna="member")])
    assert list(held(absent, "2026-10-01", "2026-10-07")) == ["10-05", "10-06", "10-07"]
    joined = truth([answer("2026-10-05T02:00", anna="member")], [change("2026-10-03T17:00", "anna", "added", "member")])
    assert list(held(joined, "2026-10-01", "2026-10-05")) == ["10-03", "10-04", "10-05"]


def test_the_leave_day_does_not_count_and_the_audit_event_dates_it_before_the_next_roster() -> None:
    answers = [answer("2026-10-05T02:00", anna="member"), answer("2026-10-09T02:00", anna="removed")]
    assert list(held(truth(answers), "2026-10-04", "2026-10-12")) == ["10-05", "10-06", "10-07", "10-08"]
    dated = truth(answers, [change("2026-10-07T23:59:59", "anna", "removed")])
    assert list(held(dated, "2026-10-04", "2026-10-12")) == ["10-05", "10-06"]
    gone = [answers[0], answer("2026-10-09T02:00", ben="member")]
    assert list(held(truth(gone), "2026-10-04", "2026-10-12")) == ["10-05", "10-06", "10-07", "10-08"]


def test_a_removal_is_evidence_for_the_time_before_it_back_to_the_first_day_of_the_audit_log() -> None:
    removal = [change("2026-10-04T12:00", "anna", "removed")]
    assert list(held(truth([], removal), "2026-09-28", "2026-10-08")) == ["10-01", "10-02", "10-03"]
    only_ever_removed = truth([answer("2026-10-05T02:00", anna="removed")])
    assert held(only_ever_removed, "2026-10-01", "2026-10-08") == {}


@pytest.mark.parametrize(("role", "counts"), [("owner", True), ("free-owner", False), ("auditor", False)])
def test_only_owners_and_members_hold_seats(role: str, counts: bool) -> None:
    answers = [answer("2026-10-05T02:00", anna="member"), answer("2026-10-09T02:00", anna=role)]
    seats = truth(answers, [change("2026-10-07T12:00", "anna", "role_changed", role)])
    assert list(held(seats, "2026-10-05", "2026-10-09")) == ["10-05", "10-06"] + ["10-07", "10-08", "10-09"] * counts


def test_where_the_audit_log_names_no_role_the_next_evidence_does_and_of_one_instant_the_answer_counts() -> None:
    added, promoted = change("2026-10-03T12:00", "anna", "added"), at("2026-10-05T12:00")
    changed = RosterChange(promoted, ANNA, "role_changed", "member", role_before="free-owner")
    assert list(held(truth([], [added, changed]), "2026-10-01", "2026-10-06")) == ["10-05", "10-06"]
    assert list(held(truth([], [added]), "2026-10-01", "2026-10-04")) == ["10-03", "10-04"]
    at_once = [answer("2026-10-05T02:00", anna="free-owner")], [change("2026-10-05T02:00", "anna", "added", "member")]
    assert held(truth(*at_once), "2026-10-05", "2026-10-06") == {}


def test_a_service_account_in_the_roster_holds_no_seat() -> None:
    books = SeatBooks(service_account_emails=frozenset({ANNA}))
    assert held(truth([answer("2026-10-05T02:00", anna="member")], books=books), "2026-10-05", "2026-10-06") == {}


def test_a_removed_person_with_usage_in_the_cycle_keeps_the_seat_to_its_end_or_to_their_return() -> None:
    answers = [answer("2026-10-20T02:00", anna="member", ben="member")]
    removal = change("2026-11-02T12:00", "anna", "removed")
    used, before = {ANNA: [at("2026-10-06T09:00")]}, {ANNA: [at("2026-10-04T09:00")]}
    kept = held(truth(answers, [removal], usage=used), "2026-11-01", "2026-11-07")
    assert kept == {
        "11-01": "taken",
        "11-02": "held_after_removal",
        "11-03": "held_after_removal",
        "11-04": "held_after_removal",
    }
    for seats in (truth(answers, [removal], usage=before), truth(answers, [removal], usage=used, hold=False)):
        assert held(seats, "2026-11-01", "2026-11-07") == {"11-01": "taken"}
    back = [removal, change("2026-11-04T08:00", "anna", "added", "free-owner")]
    assert list(held(truth(answers, back, usage=used), "2026-11-01", "2026-11-07")) == ["11-01", "11-02", "11-03"]
    back = [removal, change("2026-11-04T08:00", "anna", "added", "member")]
    assert (
        list(held(truth(answers, back, usage=used), "2026-11-03", "2026-11-06").values())
        == ["held_after_removal"] + ["taken"] * 3
    )
    unpaid = [change("2026-11-01T12:00", "anna", "role_changed", "free-owner"), removal]
    assert held(truth(answers, unpaid, usage=used), "2026-11-01", "2026-11-07") == {}


def test_a_seat_says_what_it_rests_on() -> None:
    seats = truth([answer("2026-10-05T02:00", anna="member")], [change("2026-10-03T12:00", "anna", "added", "member")])
    rows = seats.days(days_between(date(2026, 10, 3), date(2026, 10, 6)))
    assert [row.evidence for row in rows] == ["audit_log", "audit_log", "roster_snapshot", "carried_forward"]


# --- what it costs ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("price", ["40", "32.50", "0.01", "119.99", "0"])
@pytest.mark.parametrize("month", [date(2026, 2, 1), date(2024, 2, 1), date(2026, 11, 1), date(2026, 10, 1)])
def test_the_days_of_a_month_add_up_to_its_price_and_differ_by_a_millionth_of_a_cent_at_most(
    price: str, month: date
) -> None:
    days = days_between(month, (month + timedelta(days=31)).replace(day=1) - timedelta(days=1))
    micro = [day_price_micro(Decimal(price), day) for day in days]
    assert sum(micro) == Decimal(price) * 100_000_000
    assert max(micro) - min(micro) <= 1


def test_price_and_type_are_those_in_force_on_the_day() -> None:
    books = SeatBooks(
        prices={
            "standard": [(OCTOBER, Decimal(31)), (date(2026, 10, 3), Decimal(62))],
            "premium": [(OCTOBER, Decimal(310))],
        },
        types={ANNA: [(date(2026, 10, 4), "premium")]},
    )
    seats = truth([answer("2026-10-02T02:00", anna="member")], books=books)
    rows = seats.days(days_between(date(2026, 10, 2), date(2026, 10, 4)))
    found = [(row.seat_type, row.monthly_price_usd, row.seat_micro) for row in rows]
    assert found == [("standard", 31, 100_000_000), ("standard", 62, 200_000_000), ("premium", 310, 1_000_000_000)]
    with pytest.raises(LookupError, match="standard seat on 2026-09-30"):
        books.monthly_price("standard", date(2026, 9, 30))


def test_without_any_price_seats_are_counted_and_cost_nothing_known() -> None:
    [row] = truth([answer("2026-10-02T02:00", anna="member")]).days([date(2026, 10, 2)])
    assert (row.seat_count, row.monthly_price_usd, row.seat_micro) == (1, None, None)


def test_committed_seats_that_nobody_holds_are_one_row_that_nobody_bears() -> None:
    books = SeatBooks(
        prices={"standard": [(OCTOBER, Decimal(31))], "premium": [(OCTOBER, Decimal(62))]},
        committed={"standard": [(OCTOBER, 3), (date(2026, 10, 4), 1)], "premium": [(OCTOBER, 1)]},
    )
    seats = truth([answer("2026-10-03T02:00", anna="member", ben="owner")], books=books)
    unused = [row for row in seats.days([date(2026, 10, 3), date(2026, 10, 4)]) if row.email is None]
    rest = ("committed_unused", None, "unattributed", "roster_snapshot")
    assert unused == [
        SeatDay(date(2026, 10, 3), "premium", *rest, Decimal(62), 1, 200_000_000),
        SeatDay(date(2026, 10, 3), "standard", *rest, Decimal(31), 1, 100_000_000),
        SeatDay(date(2026, 10, 4), "premium", *rest[:3], "carried_forward", Decimal(62), 1, 200_000_000),
    ]


# --- what the API lets one see ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("vocabulary", ["current", "spring"])
def test_the_audit_log_tells_the_true_roster_between_two_answers(vocabulary: str) -> None:
    organisation = small(Behaviour(audit_vocabulary=vocabulary), people=30)
    first, last = moment("2026-10-31T02:00"), moment("2026-11-30T02:00")
    seats = truth(
        [members_answer(organisation, first), members_answer(organisation, last)],
        roster_changes(organisation, [AuditWindow(first, last, last)]),
        audit_from=first.date(),
    )
    accounts = organisation.roster.accounts.values()
    compared: Counter[str | None] = Counter()
    for hour in range(0, 29 * 24, 5):
        now = at("2026-10-31T02:00") + hour * 3_600_000
        for email in {account.email.lower() for account in accounts}:
            own = [account for account in accounts if account.email.lower() == email and account.is_on_team(now)]
            role = own[-1].role_at(now) if own else None
            # `spring` does not name the role of a removal's or a join's subject; members join as members
            assert seats.role_at(email, now) == role, (email, hour)
            compared[role] += 1
    assert compared.keys() == {"member", "owner", "free-owner", None}
    assert len(roster_changes(organisation, [AuditWindow(first, last, last)])) > 5


def test_what_the_audit_log_no_longer_serves_or_was_not_read_is_not_known() -> None:
    organisation = small(Behaviour(audit_retention_days=10), people=30)
    changes = roster_changes(
        organisation, [AuditWindow(moment("2026-11-01"), moment("2026-11-25"), moment("2026-11-26"))]
    )
    assert min(one.at_ms for one in changes) >= at("2026-11-16")
    assert max(one.at_ms for one in changes) < at("2026-11-25")


def test_the_invented_company_has_every_kind_of_seat(tmp_path: Path) -> None:
    organisation = Organisation.invent()
    organisation.write_seeds(tmp_path)
    rows = {path.stem: list(csv.DictReader(path.open(encoding="utf-8"))) for path in tmp_path.iterdir()}
    october = [row for row in rows["seat_prices"] if "2026-10-01" < row["valid_from_date"] <= "2026-10-31"]
    assert [row["seat_type"] for row in october] == ["standard"], "a price changes within a month"
    assert any(row["valid_from_date"] in {price["valid_from_date"] for price in october} for row in rows["seat_types"])
    assert {row["seat_type"] for row in rows["committed_seats"]} == {"standard", "premium"}
    accounts = organisation.roster.accounts.values()
    assert any([role for _, role in account.roles] == ["member", "owner", "free-owner"] for account in accounts)
    removed = [account for account in accounts if account.removed_ms is not None]
    emails = Counter(account.email for account in accounts)
    assert any(emails[account.email] > 1 for account in removed), "somebody is removed and comes back"
    assert any(emails[account.email] == 1 for account in removed)


# --- statements -------------------------------------------------------------------------------------------------------


def usage(month: date, group_id: str, charge_type: str = "usage") -> Line:
    return Line(month, group_id, charge_type)


def adjusts(month: date, group_id: str, adjusted: date, charge_type: str = "usage") -> Line:
    return Line(month, group_id, "adjustment", adjusted, charge_type)


def test_whole_cents_go_to_the_largest_remainders_and_ties_to_the_lowest_line() -> None:
    lines = {
        usage(OCTOBER, "group_b"): Decimal("10.5"),
        usage(OCTOBER, "group_a", "usage"): Decimal("1.5"),
        usage(OCTOBER, "group_a", "seat"): Decimal("1.5"),
        usage(OCTOBER, "group_c"): Decimal("-2.3"),
    }
    assert list(whole_cents(lines).values()) == [10, 1, 2, -2]
    assert sum(whole_cents(lines).values()) == 11
    assert list(whole_cents({usage(OCTOBER, "a"): Decimal("-0.5")}).values()) == [-1]
    assert list(statement({usage(OCTOBER, "a"): Decimal("0.5"), usage(NOVEMBER, "a"): Decimal("0.4")}).values()) == [
        Decimal("0.01"),
        Decimal("0.00"),
    ]


def test_a_closed_month_stays_and_differences_stand_in_the_first_open_month() -> None:
    books = ClosedMonths()
    sent = {usage(OCTOBER, "a"): Decimal(100), usage(NOVEMBER, "a"): Decimal(50)}
    assert books.published(sent) == sent
    books.close(OCTOBER, sent)
    assert books.published(sent) == sent
    today = {
        usage(OCTOBER, "a"): Decimal(93),
        usage(OCTOBER, "b", "seat"): Decimal(4),
        usage(NOVEMBER, "a"): Decimal(50),
    }
    expected = {
        usage(OCTOBER, "a"): Decimal(100),
        usage(NOVEMBER, "a"): Decimal(50),
        adjusts(NOVEMBER, "a", OCTOBER): Decimal(-7),
        adjusts(NOVEMBER, "b", OCTOBER, "seat"): Decimal(4),
    }
    assert books.published(today) == expected
    books.close(NOVEMBER, today)
    assert books.published(today) == expected, "what is adjusted once is not adjusted again"
    later = today | {usage(OCTOBER, "a"): Decimal(95), usage(NOVEMBER, "a"): Decimal(51)}
    assert books.published(later) == expected | {
        adjusts(DECEMBER, "a", OCTOBER): Decimal(2),
        adjusts(DECEMBER, "a", NOVEMBER): Decimal(1),
    }
    assert sum(books.published(later).values()) == sum(later.values())
    with pytest.raises(ValueError, match="2026-10 cannot be closed after 2026-11"):
        books.close(OCTOBER, later)
