"""The audit log in windows that overlap, each whole or not at all: from hand-made answers, and from the simulator."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pendulum
import pytest
from hand_made import HandMadeApi, Night, audit_event, usage_event
from simulator_client import hand_made, serve

from pipelines.config import TeamSettings
from pipelines.cursor_admin.answers import AuditLogPage
from pipelines.cursor_admin.audit_logs import AuditWindow, read_audit_window
from pipelines.cursor_admin.client import CursorAdminClient
from pipelines.errors import ApiError, ApiShapeError, AuthError, IncompleteWindowError, LoadError
from pipelines.landing import Landing
from pipelines.load import load
from pipelines.runs import Clock, Progress
from pipelines.simulator import Behaviour
from pipelines.streams import AuditLogReader, audit_windows

MONDAY = datetime(2026, 11, 16, 2)
TUESDAY = datetime(2026, 11, 17, 2)
SUNDAY_NOON = datetime(2026, 11, 15, 12)
START = date(2026, 11, 10)


@pytest.fixture
def api() -> Iterator[HandMadeApi]:
    with HandMadeApi(now=MONDAY) as api:
        yield api


@pytest.fixture
def night(api: HandMadeApi, tmp_path: Path) -> Night:
    return Night(api, tmp_path / "data", START)


def day(number: int, month: int = 11) -> datetime:
    return datetime(2026, month, number)


def stored(night: Night) -> list[str]:
    """Events of complete reads, each once, oldest first."""
    sql = (
        "select distinct e.event_id, e.occurred_at from raw.audit_events e join raw.stream_reads r using (batch_id) "
        "where r.resource = 'audit_logs' and r.outcome = 'landed' order by e.occurred_at, e.event_id"
    )
    return [event_id for event_id, _ in night.query(sql)]


def ledger(night: Night) -> list[tuple[Any, ...]]:
    return night.query(
        "select window_start_at, window_end_at, outcome, row_count from raw.stream_reads "
        "where resource = 'audit_logs' order by read_number"
    )


# --- which windows ----------------------------------------------------------------------------------------------------


def test_the_first_run_asks_back_to_the_first_day_in_windows_of_29_days() -> None:
    assert audit_windows([], start_date=date(2026, 9, 1), now=MONDAY) == [
        AuditWindow(day(1, 9), day(30, 9)),
        AuditWindow(day(30, 9), day(29, 10)),
        AuditWindow(day(29, 10), day(16)),
        AuditWindow(day(16), MONDAY, is_open=True),
    ]


def test_a_night_asks_again_for_at_least_a_day_before_what_is_covered_and_missed_nights_are_made_up() -> None:
    covered = [(day(10), day(16)), (day(16), MONDAY)]
    assert audit_windows(covered, start_date=START, now=TUESDAY) == [
        AuditWindow(day(15), day(17)),
        AuditWindow(day(17), TUESDAY, is_open=True),
    ]
    assert audit_windows(covered, start_date=START, now=datetime(2026, 12, 24, 2))[:2] == [
        AuditWindow(day(15), day(14, 12)),
        AuditWindow(day(14, 12), day(24, 12)),
    ]


def test_at_midnight_there_is_no_open_window() -> None:
    assert audit_windows([(day(10), day(16))], start_date=START, now=day(16)) == [AuditWindow(day(15), day(16))]


def test_what_is_covered_ends_at_the_first_hole() -> None:
    covered = [(day(1, 10), day(30, 10)), (day(10), day(16)), (day(16), MONDAY)]  # --since of October was interrupted
    assert audit_windows(covered, start_date=START, now=TUESDAY)[0].start_at == day(29, 10)


def test_since_asks_further_back_and_never_less_than_is_due() -> None:
    covered = [(day(10), day(16)), (day(16), MONDAY)]
    assert audit_windows(covered, start_date=START, now=TUESDAY, since=date(2026, 11, 3))[0].start_at == day(3)
    assert audit_windows(covered, start_date=START, now=TUESDAY, since=date(2026, 11, 17))[0].start_at == day(15)


# --- loading ----------------------------------------------------------------------------------------------------------


def test_events_land_once_a_window_and_the_next_night_overlaps_and_brings_late_ones(
    api: HandMadeApi, night: Night
) -> None:
    api.audit_log = [
        audit_event(SUNDAY_NOON, "add_user", role="MEMBER", invite_id="inv_1"),
        audit_event(datetime(2026, 11, 10), "member_removed"),
    ]
    api.audit_log[0]["region"] = "eu"  # a field nobody knows
    assert night.run().audit_events_read == 2
    assert ledger(night) == [(day(10), day(16), "landed", 2), (day(16), MONDAY, "landed", 0)]
    assert night.query("select * exclude (batch_id) from raw.audit_events order by occurred_at") == [
        ("default", "member_removed-10000000-0", day(10), "SCIM", "member_removed", "cursor",
         '{"user_email":"ada@example.com"}', None),
        ("default", "add_user-15120000-0", SUNDAY_NOON, "SCIM", "add_user", "cursor",
         '{"invite_id":"inv_1","role":"MEMBER","user_email":"ada@example.com"}', '{"region":"eu"}'),
    ]  # fmt: skip
    api.audit_log.append(audit_event(datetime(2026, 11, 15, 2, 30), "remove_user"))  # written a day late
    night.run(TUESDAY)
    assert api.asked_windows == [(day(15), day(17)), (day(17), TUESDAY)]
    assert stored(night) == ["member_removed-10000000-0", "remove_user-15023000-0", "add_user-15120000-0"]
    assert night.query("select count(*) from raw.audit_events") == [(4,)]


def test_every_read_has_a_number_of_its_own_however_often_a_run_commits(
    night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.team_load.COMMIT_ROWS", 0)  # after every day
    night.start = date(2026, 11, 14)
    night.run()
    numbers = "select read_number from raw.{}"
    every = " union all ".join(numbers.format(name) for name in ("stream_reads", "load_windows", "snapshot_reads"))
    assert night.query(f"select count(*) - count(distinct read_number) from ({every})") == [(0,)]


def test_an_event_on_the_instant_between_two_windows_is_kept(api: HandMadeApi, night: Night) -> None:
    api.audit_log = [audit_event(day(16)), audit_event(day(16) - timedelta(milliseconds=1))]
    night.run()
    assert stored(night) == ["add_user-15235959-0", "add_user-16000000-0"]


def test_many_pages_make_one_window_and_pages_that_move_are_read_again(api: HandMadeApi, night: Night) -> None:
    api.audit_page_size = 3
    api.audit_log = [audit_event(SUNDAY_NOON + timedelta(seconds=n), number=n) for n in range(20)]
    whole, answers = api._audit_log, []

    def moving(query: dict[str, str]) -> dict[str, Any]:
        answer = whole(query)
        answers.append(int(query["page"]))
        if len(answers) == 3:  # a new event on top shifts the pages: the count says so
            api.audit_log.append(audit_event(SUNDAY_NOON + timedelta(hours=1)))
        if len(answers) == 9:  # the same page once more, although another was asked for
            return whole({**query, "page": "1"})
        if len(answers) == 12:  # another order than before: one event twice, one never
            answer["events"] = [*answer["events"][:-1], api.audit_log[0]]
        return answer

    api._audit_log = moving  # type: ignore[method-assign]
    with pytest.raises(IncompleteWindowError, match=r"The audit log from 2026-11-10 00:00:00 to 2026-11-16 00:00:00"):
        night.run()
    assert ledger(night) == []
    assert answers == [*range(1, 8), 1, 2, *range(1, 8)]
    assert len(night.outcomes(SUNDAY_NOON.date())) == 1  # usage does not wait for it
    night.run(TUESDAY)
    assert len(stored(night)) == 21


class GrowingLog:
    """Two pages, oldest first; an event arrives at their end while the first window is read."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def audit_log_page(self, start: datetime, end: datetime, page: int) -> AuditLogPage:
        self.asked.append(page)
        count = 3 if len(self.asked) == 1 else 4
        rows = [audit_event(SUNDAY_NOON, number=n) for n in range(count)][2 * page - 2 : 2 * page]
        return AuditLogPage(rows, count, page, page == 1, None)


def test_a_window_whose_last_page_announces_more_than_the_first_is_read_again() -> None:
    client = GrowingLog()
    read = read_audit_window(client, AuditWindow(day(15), day(16)), team="t", batch_id="b")  # type: ignore[arg-type]
    assert (client.asked, read.rows.num_rows) == ([1, 2, 1, 2], 4)


class EndlessLog:
    """Announces what never comes, and always another page."""

    def audit_log_page(self, start: datetime, end: datetime, page: int) -> AuditLogPage:
        return AuditLogPage([], 9, page, True, None)


def test_pages_without_end_and_without_rows_are_given_up() -> None:
    with pytest.raises(IncompleteWindowError, match=r"announced 9, then 9, read 0 with 0 ids\. Nothing of that window"):
        read_audit_window(EndlessLog(), AuditWindow(day(15), day(16)), team="t", batch_id="b")  # type: ignore[arg-type]


def test_an_open_window_that_never_agrees_is_left_for_the_next_run(api: HandMadeApi, night: Night) -> None:
    whole = api._audit_log

    def restless(query: dict[str, str]) -> dict[str, Any]:
        answer = whole(query)
        answer["pagination"]["totalCount"] += query["startTime"].startswith("2026-11-16")
        return answer

    api._audit_log = restless  # type: ignore[method-assign]
    result = night.run()
    assert len(result.notices) == 1
    assert result.notices[0].startswith("the open day of the audit log is left for the next run: ")
    assert ledger(night) == [(day(10), day(16), "landed", 0)]


def test_an_interrupted_first_run_goes_on_where_it_stopped(
    api: HandMadeApi, night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.streams.AUDIT_LOGS_WINDOW_DAYS", 2)
    api.audit_log = [audit_event(datetime(2026, 11, 10, 9)), audit_event(datetime(2026, 11, 14, 9))]
    whole = api._audit_log
    api._audit_log = lambda query: {} if query["startTime"] > "2026-11-13" else whole(query)  # type: ignore
    with pytest.raises(ApiError, match=r"/teams/audit-logs answered without the key pagination"):
        night.run()
    assert ledger(night) == [(day(10), day(12), "landed", 1), (day(12), day(14), "landed", 0)]
    api._audit_log = whole  # type: ignore[method-assign]
    night.run()
    assert api.asked_windows == [(day(13), day(15)), (day(15), day(16)), (day(16), MONDAY)]
    assert stored(night) == ["add_user-10090000-0", "add_user-14090000-0"]


def test_rows_that_did_not_arrive_do_not_count(api: HandMadeApi, night: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    api.audit_log = [audit_event(SUNDAY_NOON)]
    append = Landing.append

    def lossy(self: Landing, tables: dict[str, Any], reads: Any = ()) -> None:
        lost = {"audit_events"} if any(rows.num_rows for rows in tables.get("audit_events", [])) else set()
        append(self, {name: rows for name, rows in tables.items() if name not in lost}, reads)

    monkeypatch.setattr(Landing, "append", lossy)
    with pytest.raises(LoadError, match=r"audit_events: 1 rows were read, 0 are in the warehouse"):
        night.run()
    monkeypatch.undo()
    assert ledger(night) == []
    night.run()
    assert stored(night) == ["add_user-15120000-0"]


def test_rows_without_their_ledger_row_are_read_again(
    api: HandMadeApi, night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.audit_log = [audit_event(SUNDAY_NOON)]

    def killed(self: Landing, expected: object) -> None:
        raise LoadError("killed between the rows and their ledger row")

    monkeypatch.setattr(Landing, "check", killed)
    with pytest.raises(LoadError, match="killed"):
        night.run()
    monkeypatch.undo()
    assert (night.query("select count(*) from raw.audit_events"), ledger(night)) == ([(1,)], [])
    night.run()
    assert api.asked_windows[0] == (day(10), day(16))
    assert stored(night) == ["add_user-15120000-0"]


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_was_never_let_in_goes_on_without_the_audit_log_and_says_so(
    api: HandMadeApi, night: Night, status: int
) -> None:
    api.statuses = {"/teams/audit-logs": status}
    api.events = [usage_event(SUNDAY_NOON)]
    result = night.run()
    assert "default: no audit log for this key: seats rest on snapshots of the roster alone." in result.notices[0]
    assert ledger(night) == [(day(10), MONDAY, "unavailable", 0)]
    assert night.current_cents() == {SUNDAY_NOON.date(): (1, "10.000000")}
    api.statuses = {}
    night.run(TUESDAY)
    assert api.asked_windows[0] == (day(10), day(17))
    assert [outcome for _, _, outcome, _ in ledger(night)] == ["unavailable", "landed", "landed"]


def test_a_key_that_was_let_in_once_and_is_refused_now_fails_the_run(api: HandMadeApi, night: Night) -> None:
    night.run()
    api.statuses = {"/teams/audit-logs": 403}
    api.events = [usage_event(datetime(2026, 11, 16, 9))]
    with pytest.raises(AuthError, match=r"/teams/audit-logs answered 403"):
        night.run(TUESDAY)
    assert [outcome for _, _, outcome, _ in ledger(night)] == ["landed", "landed"]
    assert night.current_cents() == {MONDAY.date(): (1, "10.000000")}


def test_a_key_that_is_refused_between_two_windows_fails_the_run(api: HandMadeApi, night: Night) -> None:
    whole = api._audit_log

    def closing(query: dict[str, str]) -> dict[str, Any]:
        api.statuses = {"/teams/audit-logs": 403}
        return whole(query)

    api._audit_log = closing  # type: ignore[method-assign]
    with pytest.raises(AuthError, match=r"/teams/audit-logs answered 403"):
        night.run()
    assert ledger(night) == [(day(10), day(16), "landed", 0)]


def test_an_api_that_does_not_heed_the_window_covers_nothing(api: HandMadeApi, night: Night) -> None:
    night.start = MONDAY.date()
    api.audit_log = [audit_event(SUNDAY_NOON)]
    api._audit_log = lambda query, whole=api._audit_log: whole({**query, "startTime": "2026-01-01T00:00:00.000Z"})  # type: ignore
    with pytest.raises(ApiShapeError, match=r"/teams/audit-logs: an event lies outside the window that was asked for"):
        night.run()
    assert ledger(night) == []


def test_the_server_s_clock_ends_a_window_when_it_is_behind(api: HandMadeApi, night: Night) -> None:
    night.run()
    api.now = datetime(2026, 11, 17, 1, 59)  # its clock; ours says two o'clock
    with Progress() as progress:
        team = TeamSettings("default", "crsr_x", api.server.base_url, START, 3, 0, False, 60.0)
        load(night.settings, [team], clock=Clock(pendulum.instance(TUESDAY, tz="UTC")), run_id="later",
             progress=progress)  # fmt: skip
    assert ledger(night)[-1][1] == datetime(2026, 11, 17, 1, 59)


def test_the_audit_log_is_read_beside_the_days(api: HandMadeApi, night: Night) -> None:
    api.audit_page_size = 1
    api.audit_log = [audit_event(SUNDAY_NOON, number=n) for n in range(30)]
    night.run()
    asked = [urlsplit(seen.target).path for seen in api.server.seen]
    log = [number for number, path in enumerate(asked) if path == "/teams/audit-logs"]
    events = [number for number, path in enumerate(asked) if path == "/teams/filtered-usage-events"]
    assert len(log) == 31
    assert log[0] < events[-1]
    assert events[0] < log[-1]


# --- against the invented organisation --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "behaviour",
    [
        pytest.param({"audit_newest_first": True}, id="newest first"),
        pytest.param({"audit_vocabulary": "spring"}, id="the vocabulary of spring"),
        pytest.param({"audit_retention_days": 20}, id="only the last 20 days are kept"),
    ],
)
def test_every_event_that_the_simulator_still_has_is_read_once(behaviour: dict[str, Any]) -> None:
    organisation = hand_made(Behaviour(**behaviour))
    now, start = MONDAY.replace(tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)
    windows = audit_windows([], start_date=start.date(), now=MONDAY)
    with (
        serve(organisation, now) as server,
        CursorAdminClient(api_key=server.api_key, base_url=server.base_url, rate_limit_per_minute=0) as client,
    ):
        reader = AuditLogReader(client, windows, team="default", run_id="run", now=MONDAY, has_answered=False)
        reader.read()
        found = [row for read in reader.take() if read.rows is not None for row in read.rows.to_pylist()]
    oldest = now - timedelta(days=behaviour.get("audit_retention_days", 365))
    expected = [
        (event.event_id, event.actor, event.event_type, event.data)
        for event in organisation.audit_trail
        if max(start, oldest) <= datetime.fromtimestamp(event.at_ms / 1000, UTC) <= now
    ]
    assert len(windows) == 12
    assert len(expected) > 1
    assert sorted(
        (row["event_id"], row["actor"], row["event_type"], json.loads(row["event_data_json"])) for row in found
    ) == sorted(expected, key=lambda event: event[0])
