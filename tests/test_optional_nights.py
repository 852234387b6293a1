"""Nights with the routes that no bill rests on: none of them can lose one, and nothing of them is stored twice."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hand_made import (
    COMMIT_HEADINGS,
    COMMITS_CSV,
    HandMadeApi,
    Night,
    billing_group,
    ms,
    stint,
    usage_event,
)

from pipelines.errors import AuthError, LoadError
from pipelines.landing import Landing, add_missing_tables
from pipelines.ledger import read_ledger
from pipelines.streams import days_due, spans

MONDAY = datetime(2026, 11, 16, 2)
TUESDAY = datetime(2026, 11, 17, 2)
NOON = datetime(2026, 11, 15, 12)
SPEND = "/teams/spend"
COMMITS = "/analytics/ai-code/commits"
DAILY = "/teams/daily-usage-data"
SNAPSHOTS = ("billing_group_details", "directory_groups", "member_spend", "repository_blocklists")
EVERY_ROUTE = (SPEND, DAILY, COMMITS, COMMITS_CSV, "/teams/directory-groups", "/settings/repo-blocklists/repos")


@pytest.fixture
def api() -> Iterator[HandMadeApi]:
    with HandMadeApi(now=MONDAY, events=[usage_event(NOON)]) as api:
        api.groups = [billing_group("search", [stint("ada", "2026-11-01T00:00:00.000Z")])]
        yield api


@pytest.fixture
def night(api: HandMadeApi, tmp_path: Path) -> Night:
    return Night(api, tmp_path / "data")


def day(number: int) -> datetime:
    return datetime(2026, 11, number)


def spend(cents: Any, email: str = "ada@example.com") -> dict[str, Any]:
    row = {"userId": f"user_{email}", "email": email, "spendCents": cents, "overallSpendCents": cents}
    return {
        "teamMemberSpend": [row],
        "subscriptionCycleStart": ms(day(1)),
        "totalMembers": 1,
        "totalPages": 1,
    }


def commit(number: int, at: datetime) -> dict[str, Any]:
    stamp = at.isoformat() + ".000Z"
    return {"commitHash": f"h{number}", "repoName": "acme/ledger", "commitTs": stamp, "createdAt": stamp}


def asked(api: HandMadeApi, path: str) -> int:
    return sum(seen.target.split("?")[0] == path for seen in api.server.seen)


def snapshot_ledger(night: Night, resource: str) -> list[tuple[str, str | None]]:
    sql = f"select outcome, snapshot_id from raw.snapshot_reads where resource = '{resource}' order by read_number"
    return night.query(sql)


def stream_ledger(night: Night, resource: str) -> list[tuple[Any, ...]]:
    return night.query(
        "select window_start_at, window_end_at, outcome, row_count from raw.stream_reads "
        f"where resource = '{resource}' order by read_number"
    )


# --- which days -------------------------------------------------------------------------------------------------------


def test_days_are_due_when_recent_or_never_wholly_read_or_asked_for() -> None:
    covered = [(day(1), day(5)), (day(6), day(8)), (day(8), datetime(2026, 11, 8, 2))]
    tonight: dict[str, Any] = {"start_date": date(2026, 11, 1), "today": date(2026, 11, 12), "lookback_days": 2}
    # of the 8th only the beginning was read
    assert [one.day for one in days_due(covered, **tonight)] == [5, 8, 9, 10, 11]
    again = days_due(covered, **tonight, since=date(2026, 11, 3))
    assert [one.day for one in again] == list(range(3, 12))


def test_days_are_asked_for_in_stretches_without_a_hole_and_not_too_long() -> None:
    days = [date(2026, 11, number) for number in (1, 2, 3, 4, 6, 7)]
    assert [(first.day, last.day) for first, last in spans(days, 3)] == [(1, 3), (4, 4), (6, 7)]


# --- a good night -----------------------------------------------------------------------------------------------------


def test_the_first_night_reads_every_route_and_the_second_stores_only_what_changed(
    api: HandMadeApi, night: Night
) -> None:
    api.optional[SPEND] = spend(12.5)
    one = 'h1,user_1,ada@example.com,a/b,"x\ny",2026-11-12T09:00:00.000Z,2026-11-12T09:00:01.000Z,4\n'
    in_closed_days = "startDate=2026-11-10"
    api.optional[COMMITS] = lambda seen: {"items": [], "totalCount": int(in_closed_days in seen.target)}
    api.optional[COMMITS_CSV] = lambda seen: (
        f"{COMMIT_HEADINGS}\n{one if in_closed_days in seen.target else ''}".encode()
    )
    result = night.run()
    assert (result.notices, night.warnings, result.failed_routes) == ([], [], [])
    for resource in SNAPSHOTS:
        assert [outcome for outcome, _ in snapshot_ledger(night, resource)] == ["landed"], resource
    open_day, closed_days = (day(16), MONDAY, "landed", 0), (day(10), day(16), "landed")
    assert stream_ledger(night, "daily_usage") == [open_day, (*closed_days, 0)]
    assert stream_ledger(night, "ai_commits") == [open_day, (*closed_days, 1)]
    assert night.query("select spend_cents, overall_spend_cents from raw.member_spend") == [(12.5, 12.5)]
    assert night.query("select commit_hash, tab_lines_added from raw.ai_commits") == [("h1", 4)]
    assert night.query("select cycle_start_at from raw.snapshot_reads where resource = 'member_spend'") == [(day(1),)]

    night.run()
    for resource in SNAPSHOTS:
        (first, snapshot_id), second = snapshot_ledger(night, resource)
        assert (first, second) == ("landed", ("unchanged", snapshot_id)), resource
    assert night.query("select count(*) from raw.member_spend") == [(1,)]
    api.optional[SPEND] = spend(13)
    night.run(TUESDAY)
    (_, before), _, (outcome, after) = snapshot_ledger(night, "member_spend")
    assert outcome == "landed"
    assert after != before
    assert night.query(f"select spend_cents from raw.member_spend where snapshot_id = '{after}'") == [(13,)]


def test_a_backfill_of_commits_is_csv_and_later_nights_are_json(api: HandMadeApi, night: Night) -> None:
    night.start = date(2026, 9, 20)
    night.run()
    windows = [(row[0], row[1]) for row in stream_ledger(night, "ai_commits")]
    assert windows == [  # the newest first: what is old must not stand in front of tonight
        (day(16), MONDAY),
        (datetime(2026, 10, 19), day(16)),
        (datetime(2026, 9, 20), datetime(2026, 10, 19)),
    ]
    assert asked(api, COMMITS_CSV) == 3
    night.run(TUESDAY)
    assert asked(api, COMMITS_CSV) == 0
    later = {name: [row[:2] for row in stream_ledger(night, name)][3:] for name in ("ai_commits", "daily_usage")}
    assert later == {
        "ai_commits": [(day(17), TUESDAY), (day(3), day(17))],
        "daily_usage": [(day(17), TUESDAY), (day(10), day(17))],
    }


def test_commits_are_read_page_by_page_where_there_is_no_csv(api: HandMadeApi, night: Night) -> None:
    api.statuses = {COMMITS_CSV: 403}
    api.optional[COMMITS] = lambda seen: (
        {"items": [commit(1, datetime(2026, 11, 12, 9))], "totalCount": 1}
        if "2026-11-10" in seen.target
        else {"items": [], "totalCount": 0}
    )
    result = night.run()
    (notice,) = result.notices
    assert notice.startswith("default: commits are read page by page, as the CSV route gave none: ")
    assert result.failed_routes == []
    assert asked(api, COMMITS_CSV) == 1  # not again for the next window
    assert night.query("select commit_hash from raw.ai_commits") == [("h1",)]


def test_the_pool_is_read_with_the_organisation_s_key_alone(api: HandMadeApi, night: Night) -> None:
    night.run()
    assert snapshot_ledger(night, "pooled_usage") == []
    key = "crsr_" + "0r9" * 20
    night.organization = {"organization_api_key": key, "organization_id": "org_1"}
    api.optional["/organizations/pooled-usage"] = {"pool": {"usedCents": 7}, "teams": [{"teamId": 1, "usedCents": 7}]}
    night.run(TUESDAY)
    assert [outcome for outcome, _ in snapshot_ledger(night, "pooled_usage")] == ["landed"]
    assert night.query("select used_cents, is_own_team from raw.pooled_usage") == [(7, True)]


# --- routes that do not answer ----------------------------------------------------------------------------------------


def test_a_key_without_these_routes_is_told_so_once_and_loses_nothing(api: HandMadeApi, night: Night) -> None:
    api.statuses = dict.fromkeys((*EVERY_ROUTE, "/teams/groups/group_search"), 403)
    first = night.run()
    assert len(first.notices) == 6
    assert all("is not available to this key" in notice for notice in first.notices)
    assert (night.warnings, first.failed_routes) == ([], [])
    second = night.run(TUESDAY)
    assert (second.notices, night.warnings) == ([], [])
    for resource in SNAPSHOTS:
        assert snapshot_ledger(night, resource) == [("unavailable", None)] * 2
    assert stream_ledger(night, "daily_usage") == [
        (day(10), MONDAY, "unavailable", 0),
        (day(17), TUESDAY, "unavailable", 0),
    ]
    assert night.current_cents() == {NOON.date(): (1, "10.000000")}
    api.statuses = {}
    assert night.run(TUESDAY).notices == []
    assert [row[2] for row in stream_ledger(night, "daily_usage")][2:] == ["landed", "landed"]
    assert stream_ledger(night, "daily_usage")[-1][0] == day(10)  # back to the first day


@pytest.mark.parametrize(("path", "resource"), [(SPEND, "member_spend"), (DAILY, "daily_usage")])
def test_a_route_that_used_to_answer_fails_the_run_when_all_else_is_committed(
    api: HandMadeApi, night: Night, path: str, resource: str
) -> None:
    night.run()
    api.statuses = {path: 403}
    api.events.append(usage_event(datetime(2026, 11, 16, 1), cents=5))
    with pytest.raises(AuthError, match=rf"{path}.*403|403.*{path}"):
        night.run(TUESDAY)
    assert night.current_cents() == {NOON.date(): (1, "10.000000"), MONDAY.date(): (1, "5.000000")}
    others = {"member_spend", "repository_blocklists"} - {resource}
    assert all(len(snapshot_ledger(night, other)) == 2 for other in others)
    assert night.warnings[-1].startswith(f"default: {resource} used to answer and is refused now: ")
    ledger = read_ledger(night.settings.paths.warehouse, "default")
    assert resource not in ledger.unavailable


@pytest.mark.parametrize(("path", "resource"), [(SPEND, "member_spend"), (DAILY, "daily_usage")])
def test_an_answer_nobody_can_read_is_told_and_the_night_goes_on(
    api: HandMadeApi, night: Night, path: str, resource: str
) -> None:
    night.run()
    good, api.optional[path] = api.optional[path], {"rows": "moved elsewhere"}
    result = night.run(TUESDAY)
    (failed,) = result.failed_routes
    assert failed.startswith(f"default: {resource} could not be read, the rest was: {path} answered without the key")
    assert failed in night.warnings
    last = night.query(
        "select outcome, detail from (select resource, outcome, detail, read_number from raw.snapshot_reads union all "
        "select resource, outcome, detail, read_number from raw.stream_reads) "
        f"where resource = '{resource}' order by read_number desc limit 1"
    )[0]
    assert last[0] == "failed"
    assert last[1].startswith(f"{path} answered without the key")
    api.optional[path] = good
    assert night.run(datetime(2026, 11, 18, 2)).failed_routes == []


def test_an_odd_value_is_named_once_a_night_and_never_shown(api: HandMadeApi, night: Night) -> None:
    def odd(seen: Any) -> dict[str, Any]:
        rows = [{"userId": 7, "email": "ada@example.com", "day": "2026-11-12", "isActive": "maybe"}]
        is_long = str(ms(day(10))).encode() in seen.body
        here = rows if is_long else [{**rows[0], "day": "2026-11-16"}]
        paging = {"page": 1, "totalUsers": 1, "hasNextPage": False}
        return {"data": here, "pagination": paging}

    api.optional[DAILY] = odd
    night.run()
    assert len(night.warnings) == 1
    assert night.warnings[0].startswith(f"default: {DAILY}: `isActive`")
    assert "maybe" not in night.warnings[0]
    assert night.query("select is_active, extra_json from raw.daily_usage") == [(None, '{"isActive":"maybe"}')] * 2


# --- runs that end in the middle --------------------------------------------------------------------------------------


def test_rows_without_their_ledger_row_do_not_count_and_are_read_again(
    api: HandMadeApi, night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.optional[SPEND] = spend(12.5)

    def killed(self: Landing, expected: object) -> None:
        raise LoadError("killed between the rows and their ledger row")

    monkeypatch.setattr(Landing, "check", killed)
    with pytest.raises(LoadError, match="killed"):
        night.run()
    monkeypatch.undo()
    assert snapshot_ledger(night, "member_spend") == []
    assert stream_ledger(night, "daily_usage") == []
    night.run()
    (outcome, snapshot_id), *more = snapshot_ledger(night, "member_spend")
    assert (outcome, more) == ("landed", [])
    assert night.query(f"select count(*) from raw.member_spend where snapshot_id = '{snapshot_id}'") == [(1,)]


def test_a_warehouse_of_the_version_before_gets_the_tables_and_the_answers(api: HandMadeApi, night: Night) -> None:
    night.run()
    paths = night.settings.paths
    with duckdb.connect(str(paths.warehouse)) as connection:
        for name in ("member_spend", "daily_usage", "ai_commits", "pooled_usage", "directory_groups"):
            connection.execute(f"drop table raw.{name}")
        connection.execute("delete from raw.snapshot_reads where resource not in ('members', 'billing_groups')")
        connection.execute("delete from raw.stream_reads where resource <> 'audit_logs'")
    assert read_ledger(paths.warehouse, "default").unavailable == frozenset()
    add_missing_tables(paths)
    api.optional[SPEND] = spend(1)
    assert night.run(TUESDAY).failed_routes == []
    assert night.query("select spend_cents from raw.member_spend") == [(1,)]
    assert stream_ledger(night, "daily_usage")[-1][0] == day(10)
