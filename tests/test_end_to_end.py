"""Two nights of a company of three, through the command line, against totals worked out by hand.

Plan: enterprise, at half a cent per cent of usage. Ada is in Search and moves to Platform on 16 November at noon; Bob
is in Platform; Carol has no group. The service account `sa_ci`, whose events bear no e-mail, belongs to Platform.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from hand_made import HandMadeApi, billing_group, roster, stint, usage_event
from http_script import KEY
from nights import Installation, Outcome, last_run

NIGHT_1, NIGHT_2 = datetime(2026, 11, 16, 2), datetime(2026, 11, 17, 2)
NOON = datetime(2026, 11, 16, 12)
NOVEMBER = date(2026, 11, 1)


def event(at: str, email: str | None, cents: float, conversation: str | None = None, tokens: int = 10, **more):
    usage = {"inputTokens": tokens, "outputTokens": 20, "cacheWriteTokens": 0, "cacheReadTokens": 0, "totalCents": 1}
    mail = f"{email}@example.com" if email else None
    moment = datetime.fromisoformat(f"2026-11-{at}")
    return usage_event(moment, mail, cents, conversationId=conversation, tokenUsage=usage, **more)


TWIN = event("15T10:00:00", "bob", 7.25, "c2")
FIRST = [
    event("15T09:00:00", "ada", 40, "c1"),
    event("15T09:00:00", "ada", 12.5, "c1", tokens=11),  # the same millisecond, another charge
    TWIN,
    TWIN,
    event("15T11:00:00", None, 30, serviceAccountId="sa_ci", serviceAccountName="ci"),
    event("15T12:00:00", "Ada", 20, "c3", kind="Included in Business"),
    event("15T13:00:00", "carol", 5),
    event("15T14:00:00", None, 3),
    event("15T22:00:00", "ada", 100, "c4"),
    event("16T01:00:00", "ada", 1),
]
SECOND = [
    *FIRST[:8],
    event("15T22:00:00", "ada", 50, "c4"),  # its price has halved
    event("15T23:30:00", "bob", 25),  # it happened before the first night, and was not there yet
    FIRST[9],
    event("16T11:59:59.999", "ada", 10),
    event("16T12:00:00.000", "ada", 20),  # the instant of the move
]

# day, event time, person or service account, group, method, usage, billed
FIRST_ROWS = [
    ("15 09:00:00.000", "ada@example.com", "group_search", "reported_interval", "12.5", "6.25"),
    ("15 09:00:00.000", "ada@example.com", "group_search", "reported_interval", "40", "20"),
    ("15 10:00:00.000", "bob@example.com", "group_platform", "reported_interval", "7.25", "3.625"),
    ("15 10:00:00.000", "bob@example.com", "group_platform", "reported_interval", "7.25", "3.625"),
    ("15 11:00:00.000", "sa_ci", "group_platform", "service_account_map", "30", "15"),
    ("15 12:00:00.000", "ada@example.com", "group_search", "reported_interval", "20", "10"),
    ("15 13:00:00.000", "carol@example.com", "group_unassigned", "unassigned_gap", "5", "2.5"),
    ("15 14:00:00.000", None, "unattributed", "unattributed", "3", "1.5"),
    ("15 22:00:00.000", "ada@example.com", "group_search", "reported_interval", "100", "50"),
    ("16 01:00:00.000", "ada@example.com", "group_search", "reported_interval", "1", "0.5"),
]
SECOND_ROWS = [
    *FIRST_ROWS[:8],
    ("15 22:00:00.000", "ada@example.com", "group_search", "reported_interval", "50", "25"),
    ("15 23:30:00.000", "bob@example.com", "group_platform", "reported_interval", "25", "12.5"),
    FIRST_ROWS[9],
    ("16 11:59:59.999", "ada@example.com", "group_search", "reported_interval", "10", "5"),
    ("16 12:00:00.000", "ada@example.com", "group_platform", "reported_interval", "20", "10"),
]
# Group, usage, billed, statement in USD, share, events. Statements are whole cents: first night 86.75 + 22.25 + 2.5 +
# 1.5 = 113, of which 86 + 22 + 2 + 1 are whole; of the two cents left one goes to .75, one to the first of the two .5.
FIRST_MONTH = [
    ("group_platform", "44.5", "22.25", "0.22", "0.196903", 3),
    ("group_search", "173.5", "86.75", "0.87", "0.767699", 5),
    ("group_unassigned", "5", "2.5", "0.03", "0.022124", 1),
    ("unattributed", "3", "1.5", "0.01", "0.013274", 1),
]
# 66.75 + 44.75 + 2.5 + 1.5 = 115.5, rounded 116, of which 66 + 44 + 2 + 1 are whole; three cents are left.
SECOND_MONTH = [
    ("group_platform", "89.5", "44.75", "0.45", "0.387446", 5),
    ("group_search", "133.5", "66.75", "0.67", "0.577922", 6),
    ("group_unassigned", "5", "2.5", "0.03", "0.021645", 1),
    ("unattributed", "3", "1.5", "0.01", "0.012987", 1),
]
# The 16th is over, and a roster was read on it: Ada ended the day in Platform, with Bob. There is no price list.
SECOND_SEATS = [("group_platform", 2), ("group_unassigned", 1)]


@pytest.fixture(scope="module")
def api() -> Iterator[HandMadeApi]:
    with HandMadeApi(now=NIGHT_1, members=roster("ada", "bob", "carol")) as made:
        yield made


@pytest.fixture(scope="module")
def place(api: HandMadeApi, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    folder: Path = tmp_path_factory.mktemp("two nights") / "data"
    here = Installation(folder, api.server.base_url, KEY, date(2026, 11, 14))
    here.paths.seeds_dir.mkdir(parents=True)
    (here.paths.seeds_dir / "plans.csv").write_text(
        "team,plan,valid_from_date,usage_rate\n,enterprise,2026-01-01,0.5\n"
    )
    (here.paths.seeds_dir / "service_accounts.csv").write_text(
        "team,service_account_id,name,email,owner,purpose,billing_group_id,key_rotated_on,rotation_days,valid_from_date\n"
        ",sa_ci,ci,,,,group_platform,,,2026-01-01\n"
    )
    return here


def run_night(api: HandMadeApi, place: Installation, now: datetime) -> None:
    """The whole command line, with the API as it is on that night."""
    since = "2026-01-01T00:00:00.000Z"
    ada_in_search, bob = stint("ada", since), stint("bob", since)
    if now == NIGHT_1:
        api.events = FIRST
        api.groups = [billing_group("search", [ada_in_search]), billing_group("platform", [bob])]
    else:
        moved = "2026-11-16T12:00:00.000Z"
        api.events = SECOND
        api.groups = [
            billing_group("search", [], [stint("ada", since, moved)]),
            billing_group("platform", [bob, stint("ada", moved)]),
        ]
    api.now = now
    done = place.finish("run", "--now", now.isoformat())
    assert done == Outcome(0, "", ""), done


def events(place: Installation) -> list[tuple]:
    rows = place.query(
        "select occurred_at, coalesce(user_email, service_account_id), billing_group_id, attribution_method, "
        "usage_cents, billed_cents from marts.fct_usage_events order by all nulls last"
    )
    return [(f"{at:%d %H:%M:%S}.{at.microsecond // 1000:03d}", *rest) for at, *rest in rows]


def as_rows(rows: list[tuple]) -> list[tuple]:
    return [(*row[:4], Decimal(row[4]), Decimal(row[5])) for row in rows]


def month(place: Installation) -> list[tuple]:
    return place.query(
        "select team, charge_month, billing_group_id, billing_group_name, charge_type, usage_cents, billed_cents, "
        "billed_usd, billed_share, event_count, seat_days, is_estimate, is_provisional, is_closed "
        "from marts.fct_monthly_chargeback order by charge_type desc, billing_group_id"
    )


def as_month(rows: list[tuple]) -> list[tuple]:
    return [
        (
            "default",
            NOVEMBER,
            group,
            group.removeprefix("group_").title(),
            "usage",
            *map(Decimal, amounts),
            event_count,
            0,
            False,
            True,
            False,
        )
        for group, *amounts, event_count in rows
    ]


def as_seats(rows: list[tuple]) -> list[tuple]:
    nothing = (Decimal(0),) * 4
    return [
        (
            "default",
            NOVEMBER,
            group,
            group.removeprefix("group_").title(),
            "seat",
            *nothing,
            0,
            seat_days,
            True,
            True,
            False,
        )
        for group, seat_days in rows
    ]


def test_the_first_night_is_worked_out_by_hand(api, place):
    run_night(api, place, NIGHT_1)
    assert events(place) == as_rows(FIRST_ROWS)
    assert month(place) == as_month(FIRST_MONTH)


def test_the_second_night_brings_the_late_event_the_halved_price_and_the_move(api, place):
    run_night(api, place, NIGHT_2)
    assert events(place) == as_rows(SECOND_ROWS)
    assert month(place) == as_month(SECOND_MONTH) + as_seats(SECOND_SEATS)
    restated = place.query(
        "select usage_date, usage_cents_before, usage_cents_after, added_event_count, removed_event_count, "
        "repriced_event_count, billing_group_ids from marts.mart_restatements order by usage_date"
    )
    both = "group_platform,group_search"
    assert restated == [
        (date(2026, 11, 15), Decimal(225), Decimal(200), 1, 0, 1, both),
        (date(2026, 11, 16), Decimal(1), Decimal(31), 2, 0, 0, both),
    ]


def test_the_second_night_again_changes_nothing(api, place):
    keys = "select usage_event_id, usage_cents, billing_group_id from marts.fct_usage_events order by all"
    before = place.query(keys)
    run_night(api, place, NIGHT_2)
    assert place.query(keys) == before
    assert events(place) == as_rows(SECOND_ROWS)
    assert month(place) == as_month(SECOND_MONTH) + as_seats(SECOND_SEATS)
    assert (last_run(place)["load"]["days_changed"], last_run(place)["load"]["events_landed"]) == (0, 0)
