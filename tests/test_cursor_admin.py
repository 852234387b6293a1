"""Loading, with real dlt into a real DuckDB file, from an API whose every answer is written by hand."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path

import pytest
from hand_made import HandMadeApi, Night, billing_group, roster, stint, usage_event

from pipelines.errors import ApiShapeError, AuthError, ConfigError, IncompleteWindowError, LoadError
from pipelines.landing import Landing

MONDAY = datetime(2026, 11, 16, 2)
TUESDAY = datetime(2026, 11, 17, 2)
WEDNESDAY = datetime(2026, 11, 18, 2)
THURSDAY = datetime(2026, 11, 19, 2)
SUNDAY = date(2026, 11, 15)
NOON = datetime(2026, 11, 15, 12)
OLD_NOON = datetime(2026, 11, 10, 12)
PEOPLE = ("ada", "bob", "cyd", "dan", "eve", "fay", "gus", "hal", "ivy", "jan", "kim", "leo")


@pytest.fixture
def api() -> Iterator[HandMadeApi]:
    with HandMadeApi(now=MONDAY) as api:
        yield api


@pytest.fixture
def night(api: HandMadeApi, tmp_path: Path) -> Night:
    return Night(api, tmp_path / "data folder")


def test_the_same_night_twice_changes_nothing(api: HandMadeApi, night: Night) -> None:
    api.events = [usage_event(NOON, cents=12.345678), usage_event(OLD_NOON, cents=1)]
    night.run()
    rows = night.query("select * from raw.usage_events order by occurred_at")
    again = night.run()
    assert night.query("select * from raw.usage_events order by occurred_at") == rows
    assert (again.days_changed, again.events_landed) == (0, 0)
    assert night.outcomes(SUNDAY) == ["landed", "unchanged"]
    assert night.current_cents() == {date(2026, 11, 10): (1, "1.000000"), SUNDAY: (1, "12.345678")}


def test_a_restated_price_a_late_event_and_a_withdrawn_one_replace_the_day(api: HandMadeApi, night: Night) -> None:
    api.events = [usage_event(NOON, cents=80), usage_event(NOON.replace(hour=13), cents=5)]
    night.run()
    api.events = [usage_event(NOON, cents=40), usage_event(NOON.replace(hour=1), cents=2)]
    night.run(TUESDAY)
    assert night.current_cents() == {SUNDAY: (2, "42.000000")}
    assert night.query("select count(*) from raw.usage_events") == [(4,)]  # nothing raw is ever deleted


def test_identical_twins_and_siblings_of_one_millisecond_are_all_kept(api: HandMadeApi, night: Night) -> None:
    api.events = [usage_event(NOON, cents=7), usage_event(NOON, cents=7), usage_event(NOON, cents=9)]
    night.run()
    api.events = api.events[:1] + api.events[2:]
    night.run(TUESDAY)
    assert night.outcomes(SUNDAY) == ["landed", "landed"]
    assert night.current_cents() == {SUNDAY: (2, "16.000000")}


def test_the_first_and_the_last_millisecond_of_a_day_belong_to_it_once(api: HandMadeApi, night: Night) -> None:
    api.events = [
        usage_event(datetime(2026, 11, 14), cents=1),
        usage_event(datetime(2026, 11, 14, 23, 59, 59, 999000), cents=2),
        usage_event(datetime(2026, 11, 15), cents=4),
    ]
    night.run()
    assert night.current_cents() == {date(2026, 11, 14): (2, "3.000000"), SUNDAY: (1, "4.000000")}


def test_many_pages_make_one_day(api: HandMadeApi, night: Night) -> None:
    api.page_size = 3
    api.events = [usage_event(NOON.replace(minute=n % 60, second=n // 60), cents=1) for n in range(100)]
    assert night.run().events_landed == 100
    assert night.current_cents() == {SUNDAY: (100, "100.000000")}


def test_pages_that_move_are_read_again_until_they_agree(api: HandMadeApi, night: Night) -> None:
    api.events, api.drifting = [usage_event(NOON)], 2
    night.run()
    assert night.current_cents() == {SUNDAY: (1, "10.000000")}


def test_a_closed_day_that_never_agrees_fails_the_run_and_keeps_what_was_read(api: HandMadeApi, night: Night) -> None:
    api.events = [usage_event(NOON)]
    night.run()
    api.drifting = 1000
    with pytest.raises(IncompleteWindowError, match=r"changed while they were read, 3 times in a row"):
        night.run(TUESDAY)
    assert night.current_cents() == {SUNDAY: (1, "10.000000")}


def test_an_open_day_that_never_agrees_is_left_for_the_next_run(api: HandMadeApi, night: Night) -> None:
    night.run()
    whole = api._events

    def restless(body: dict) -> dict:
        answer = whole(body)
        if api.asked_days[-1] == api.now.date():
            answer["totalUsageEventsCount"] += 1
        return answer

    api._events = restless  # type: ignore[method-assign]
    result = night.run(TUESDAY)
    assert night.outcomes(TUESDAY.date()) == []
    assert result.suspect_days == []


def test_an_empty_answer_is_asked_twice_more_and_then_believed_while_the_day_is_provisional(
    api: HandMadeApi, night: Night
) -> None:
    api.events = [usage_event(NOON)]
    night.run()
    api.events = []
    night.run(TUESDAY)
    assert api.asked_days.count(SUNDAY) == 3
    assert night.outcomes(SUNDAY) == ["landed", "landed"]
    assert night.current_cents() == {}


def test_a_final_day_that_loses_its_events_is_suspect_until_another_date_agrees(api: HandMadeApi, night: Night) -> None:
    night.lookback_days = 9
    api.events = [usage_event(OLD_NOON, cents=3), usage_event(OLD_NOON, cents=4), usage_event(OLD_NOON, cents=5)]
    night.run()
    api.events = api.events[:1]
    result = night.run()
    day = OLD_NOON.date()
    assert result.suspect_days == [
        "default: 2026-11-10 is final with 3 events and now answers 1: kept as it was until another date agrees. "
        "If it is right, run with --accept-shrink."
    ]
    night.run()  # the same date once more proves nothing
    assert night.outcomes(day) == ["landed", "suspect", "suspect"]
    assert night.current_cents()[day] == (3, "12.000000")
    night.run(TUESDAY)
    assert night.outcomes(day)[-1] == "landed"
    assert night.current_cents()[day] == (1, "3.000000")


def test_accept_shrink_believes_a_final_day_at_once(api: HandMadeApi, night: Night) -> None:
    night.lookback_days = 9
    api.events = [usage_event(OLD_NOON)]
    night.run()
    api.events = []
    assert night.run(accept_shrink=True).suspect_days == []
    assert night.outcomes(OLD_NOON.date()) == ["landed", "landed"]


def test_only_days_that_can_still_change_are_asked(api: HandMadeApi, night: Night) -> None:
    night.run()
    night.run(TUESDAY)
    assert sorted(set(api.asked_days)) == [date(2026, 11, day) for day in (14, 15, 16, 17)]
    night.run(since=date(2026, 11, 12))
    assert sorted(set(api.asked_days)) == [date(2026, 11, day) for day in (12, 13, 14, 15, 16, 17)]


def test_missed_nights_are_made_up(api: HandMadeApi, night: Night) -> None:
    night.run()
    api.events = [usage_event(datetime(2026, 11, 18, 9), cents=6)]
    night.run(datetime(2026, 11, 24, 2))
    assert sorted(set(api.asked_days)) == [date(2026, 11, day) for day in range(14, 25)]
    assert night.current_cents() == {date(2026, 11, 18): (1, "6.000000")}


def test_a_changed_type_stops_the_load_and_nothing_of_the_day_is_stored(api: HandMadeApi, night: Night) -> None:
    api.events = [usage_event(NOON)]
    night.run()
    api.events = [usage_event(NOON, cents="40")]  # type: ignore[arg-type]
    with pytest.raises(ApiShapeError, match=r"/teams/filtered-usage-events: `chargedCents` is a string"):
        night.run(TUESDAY)
    assert night.current_cents() == {SUNDAY: (1, "10.000000")}


def test_rows_that_did_not_arrive_do_not_count(api: HandMadeApi, night: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    night.run()
    append = Landing.append
    monkeypatch.setattr(Landing, "append", lambda self, tables, reads=(): append(self, tables, ()))
    api.events = [usage_event(NOON)]
    with pytest.raises(LoadError, match=r"usage_events: 1 rows were read, 0 are in the warehouse"):
        night.run(TUESDAY)
    monkeypatch.undo()
    assert night.outcomes(SUNDAY) == ["landed"]
    night.run(TUESDAY)
    assert night.current_cents() == {SUNDAY: (1, "10.000000")}


def test_a_new_team_slug_is_refused_until_it_is_meant(api: HandMadeApi, night: Night) -> None:
    night.run()
    with pytest.raises(ConfigError, match=r"The team 'acme' is new to this warehouse, which holds default"):
        night.run(team="acme")
    night.run(team="acme", new_team=True)
    assert night.query("select team from raw.teams order by 1") == [("acme",), ("default",)]
    night.run(team="acme")


def test_the_first_day_is_pinned_by_the_first_run(api: HandMadeApi, night: Night) -> None:
    night.run()
    night.start = date(2026, 1, 1)
    night.run(TUESDAY)
    assert min(api.asked_days) == date(2026, 11, 14)
    assert night.query("select start_date from raw.teams") == [(date(2026, 11, 10),)]


def test_a_closed_billing_cycle_is_read_again_once_it_has_settled(api: HandMadeApi, night: Night) -> None:
    night.start = date(2026, 11, 20)
    for day in (1, 2):
        night.run(datetime(2026, 12, day, 2))
    assert min(api.asked_days) == date(2026, 11, 29)
    night.run(datetime(2026, 12, 3, 2))
    assert min(api.asked_days) == date(2026, 11, 20)
    night.run(datetime(2026, 12, 4, 2))
    assert min(api.asked_days) == date(2026, 12, 1)


def snapshot_outcomes(night: Night, resource: str = "billing_groups") -> list[str]:
    sql = (
        "select outcome from raw.snapshot_reads where is_current_cycle "
        f"and resource = '{resource}' order by read_at, read_number"
    )
    return [row[0] for row in night.query(sql)]


def test_a_snapshot_is_stored_when_it_changed_and_confirmed_when_not(api: HandMadeApi, night: Night) -> None:
    api.groups = [billing_group("search", [stint("ada", "2026-11-01T00:00:00.000Z")])]
    night.run()
    night.run()
    api.groups = [billing_group("search", [], [stint("ada", "2026-11-01T00:00:00.000Z", "2026-11-16T12:00:00.000Z")])]
    night.run(TUESDAY)
    assert snapshot_outcomes(night) == ["landed", "unchanged", "landed"]
    sql = "select is_current, left_at from raw.billing_group_members m join raw.snapshot_reads s using (snapshot_id)"
    assert night.query(f"{sql} where s.is_current_cycle and s.outcome = 'landed' order by read_number") == [
        (True, None),
        (False, datetime(2026, 11, 16, 12)),
    ]


def test_the_first_run_reads_every_cycle_back_to_the_first_day(api: HandMadeApi, night: Night) -> None:
    night.start = date(2026, 8, 20)
    night.run()
    cycles = (
        "select distinct month(cycle_start_at) from raw.snapshot_reads where resource = 'billing_groups' order by 1"
    )
    assert night.query(cycles) == [(8,), (9,), (10,), (11,)]
    night.run(TUESDAY)
    later = (
        "select count(*) from raw.snapshot_reads where resource = 'billing_groups' and read_at > timestamp '2026-11-17'"
    )
    assert night.query(later) == [(2,)]


def test_a_glitch_is_refused_and_the_last_accepted_answer_stays(api: HandMadeApi, night: Night) -> None:
    api.members = roster(*PEOPLE)
    night.run()
    api.members = roster(*PEOPLE[:3])
    result = night.run(TUESDAY)
    assert result.refused_snapshots == [
        "default: members answered with 3 current members, 12 before: refused, the last accepted one stays (seen on 1 "
        "of 3 dates). If it is right, run with --accept-shrink."
    ]
    api.members = roster(*PEOPLE)
    assert night.run(WEDNESDAY).refused_snapshots == []
    assert snapshot_outcomes(night, "members") == ["landed", "refused", "unchanged"]


def test_the_same_refused_content_on_three_dates_is_accepted_from_the_first_refusal_on(
    api: HandMadeApi, night: Night
) -> None:
    joined = "2026-11-01T00:00:00.000Z"
    api.groups = [
        billing_group("search", [stint(p, joined) for p in PEOPLE]),
        billing_group("ops", [stint("zoe", joined)]),
    ]
    night.run()
    api.groups = [billing_group("search", []), billing_group("ops", [stint("zoe", joined)])]
    night.run(TUESDAY)
    night.run(TUESDAY)
    night.run(WEDNESDAY)
    # the rest of the answer may go on changing
    api.groups = [billing_group("search", []), billing_group("ops", [stint(p, joined) for p in ("zoe", "yan")])]
    assert night.run(THURSDAY).refused_snapshots == []
    accepted = night.query(
        "select read_at, current_member_count from raw.snapshot_reads where resource = 'billing_groups' "
        "and is_current_cycle and outcome = 'landed' order by read_at, read_number"
    )
    assert accepted == [(MONDAY, 13), (TUESDAY, 1), (TUESDAY, 1), (WEDNESDAY, 1), (THURSDAY, 2)]


def test_accept_shrink_believes_a_roster_at_once(api: HandMadeApi, night: Night) -> None:
    api.members = roster(*PEOPLE)
    night.run()
    api.members = []
    assert night.run(TUESDAY, accept_shrink=True).refused_snapshots == []
    assert snapshot_outcomes(night, "members") == ["landed", "landed"]


def test_a_plan_without_billing_groups_goes_on_and_says_so(api: HandMadeApi, night: Night) -> None:
    api.statuses = {"/teams/groups": 403}
    api.events = [usage_event(NOON)]
    result = night.run()
    assert "everybody stays in Unassigned and billing cycles are calendar months" in result.notices[0]
    assert night.query("select outcome from raw.snapshot_reads where resource = 'billing_groups'") == [("unavailable",)]
    assert night.current_cents() == {SUNDAY: (1, "10.000000")}


def test_billing_groups_that_once_answered_and_are_refused_now_fail_the_run(api: HandMadeApi, night: Night) -> None:
    night.run()
    api.statuses = {"/teams/groups": 403}
    with pytest.raises(AuthError, match=r"/teams/groups.*403|403.*/teams/groups"):
        night.run(TUESDAY)


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("path", ["/teams/members", "/teams/filtered-usage-events"])
def test_a_route_that_is_needed_and_refused_stops_the_run(
    api: HandMadeApi, night: Night, status: int, path: str
) -> None:
    api.statuses = {path: status}
    with pytest.raises(AuthError) as error:
        night.run()
    assert str(status) in str(error.value)
    assert path in str(error.value)


def test_an_answer_that_names_no_cycle_is_taken_for_the_current_one(api: HandMadeApi, night: Night) -> None:
    api.sends_cycle = False
    night.run()
    assert snapshot_outcomes(night) == ["landed"]


def test_the_clock_of_the_answer_decides_what_is_final_when_it_is_behind(api: HandMadeApi, night: Night) -> None:
    night.run()
    latest = night.query("select max(read_at) from raw.load_windows")
    assert latest == [(MONDAY,)]


def test_a_load_leaves_nothing_outside_its_folder_and_no_working_files(
    api: HandMadeApi, night: Night, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    api.events = [usage_event(NOON)]
    night.run()
    assert list(home.rglob("*")) == []
    assert [path.name for path in (tmp_path / "data folder").rglob("*") if path.is_file()] == ["warehouse.duckdb"]
