"""A final day that answers nothing: gone from the bill, or only no longer served."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from hand_made import HandMadeApi, Night, usage_event
from nights import Installation, Outcome, instant

from pipelines.simulator import Behaviour, Organisation, SimulatorServer

NIGHTS = [datetime(2026, 11, day, 2) for day in (16, 17, 18)]
TENTH, ELEVENTH = date(2026, 11, 10), date(2026, 11, 11)


@pytest.fixture
def api() -> Iterator[HandMadeApi]:
    with HandMadeApi(now=NIGHTS[0]) as api:
        api.events = [usage_event(datetime(2026, 11, day, 12), cents=day) for day in (10, 11)]
        yield api


@pytest.fixture
def night(api: HandMadeApi, tmp_path: Path) -> Night:
    return Night(api, tmp_path / "data", lookback_days=9)


def test_an_empty_final_day_is_believed_on_a_second_date_while_an_earlier_one_is_still_served(
    api: HandMadeApi, night: Night
) -> None:
    night.run()
    api.events.pop()
    assert len(night.run(NIGHTS[1]).suspect_days) == 1
    assert night.run(NIGHTS[2]).suspect_days == []
    assert night.outcomes(ELEVENTH) == ["landed", "suspect", "landed"]
    assert night.current_cents() == {TENTH: (1, "10.000000")}


def test_days_that_are_no_longer_served_keep_their_events_on_every_date(api: HandMadeApi, night: Night) -> None:
    night.run()
    api.events.clear()
    for at in NIGHTS[1:]:
        told = night.run(at).suspect_days
        assert [line.split(" is final")[0] for line in told] == ["default: 2026-11-11", "default: 2026-11-10"]
    assert night.outcomes(TENTH) == ["landed", "suspect", "suspect"]  # there is no earlier day to ask for
    assert night.outcomes(ELEVENTH) == ["landed", "suspect", "suspect"]  # and the earlier one answers nothing either
    assert night.current_cents() == {TENTH: (1, "10.000000"), ELEVENTH: (1, "11.000000")}
    assert night.run(NIGHTS[2], accept_shrink=True).suspect_days == []
    assert night.current_cents() == {}


def test_a_closed_cycle_that_is_read_again_after_the_retention_loses_nothing(tmp_path: Path) -> None:
    start, end = date(2026, 10, 8), date(2026, 11, 12)
    behaviour = Behaviour.plain()
    whole, forgetful = (
        Organisation.invent(
            seed=5, people=3, groups=2, start=start, end=end, events_per_person_day=1.0,
            behaviour=replace(behaviour, event_retention_days=days),
        )
        for days in (None, 5)
    )  # fmt: skip
    nights = [datetime(2026, 11, day, 2, tzinfo=UTC) for day in (4, 7, 8, 9)]
    stored = "select usage_date, count(*), sum(charged_cents) from raw.usage_events group by 1 order by 1"
    with SimulatorServer(whole, now=nights[0], rate_limited=False) as server:
        here = Installation(tmp_path / "data", server.base_url, server.api_key, start)
        assert here.command("load", "--now", instant(nights[0])) == Outcome(0, "", "")
    final = f"usage_date <= date '2026-11-01' and usage_date >= date '{start}'"
    before = [row for row in here.query(stored, here.paths.warehouse) if start <= row[0] <= date(2026, 11, 1)]
    with SimulatorServer(forgetful, now=nights[1], rate_limited=False) as server:
        here = replace(here, base_url=server.base_url, api_key=server.api_key)
        for at in nights[1:]:  # the cycle that ended on the 5th is settled on the 7th, and read again
            server.set_now(at)
            assert here.command("load", "--now", instant(at)) == Outcome(0, "", "")
    outcomes = (
        f"select distinct outcome from raw.load_windows where {final} and row_count = 0 and read_at > '2026-11-05'"
    )
    assert here.query(outcomes, here.paths.warehouse) == [("suspect",)]
    current = """
        select w.usage_date, w.row_count, w.charged_cents
        from raw.load_windows w
        join (
            select usage_date, max(read_number) as read_number
            from raw.load_windows where outcome <> 'suspect' group by 1
        ) using (usage_date, read_number)
        where w.row_count > 0
        order by 1
    """
    after = [row for row in here.query(current, here.paths.warehouse) if row[0] <= date(2026, 11, 1)]
    assert after == before
    assert len(before) > 10
