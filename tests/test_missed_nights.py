"""After nights without a run: what the API still tells of the time in between is asked for."""

from __future__ import annotations

from datetime import UTC, datetime

from nights import Installation, Outcome, instant

from pipelines.simulator import Organisation, SimulatorServer


def test_a_run_after_months_asks_for_every_billing_cycle_since_the_last_one(tmp_path):
    set_up, months_later = datetime(2026, 8, 18, 2, tzinfo=UTC), datetime(2026, 11, 15, 2, tzinfo=UTC)
    organisation = Organisation.invent(people=5, groups=3, events_per_person_day=0.5)
    with SimulatorServer(organisation, now=set_up, rate_limited=False) as server:
        here = Installation(tmp_path / "data", server.base_url, server.api_key, set_up.date())
        asked = []
        for night in (set_up, months_later, datetime(2026, 11, 16, 2, tzinfo=UTC)):
            server.set_now(night)
            assert here.command("load", "--now", instant(night)) == Outcome(0, "", "")
            cycles = here.query(
                "select strftime(cycle_start_at, '%m-%d') from raw.snapshot_reads where resource = 'billing_groups' "
                f"and read_at = timestamp '{night:%Y-%m-%d %H:%M:%S}' order by 1",
                here.paths.warehouse,
            )
            asked.append([start for (start,) in cycles])
    # every cycle begins on the 5th; the one of the last run has gone on since, and nightly two are enough
    assert asked == [["07-05", "08-05"], ["08-05", "09-05", "10-05", "11-05"], ["10-05", "11-05"]]
