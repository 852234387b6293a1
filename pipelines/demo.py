"""The whole path against the bundled simulator: what a newcomer runs first. Needs no key and no account."""

from __future__ import annotations

from datetime import datetime, timedelta

import pendulum

from pipelines.config import Settings, TeamSettings
from pipelines.nightly import RunOptions, run
from pipelines.paths import DataPaths
from pipelines.runs import Clock, prepare_data_folder, read_runs
from pipelines.simulator import Organisation, SimulatorServer
from pipelines.simulator.seeds import write_invoices

DEMO_NOW = pendulum.datetime(2026, 11, 16, 2, tz="UTC")
TEAM = "acme"


def run_demo(paths: DataPaths, now: pendulum.DateTime | None = None) -> pendulum.DateTime:
    """Three nights of an invented company; answers the clock it ended at.

    On the first one, 90 days ago, it was set up: since then the roster is known, and who has had a seat. The last two
    follow each other, so that prices restated between them show. A data folder that already holds the demo is continued
    at its last clock, which a `close` under the real one may have moved on: a night on which nothing changed.
    """
    prepare_data_folder(paths)
    last = max((one.now for one in read_runs(paths) if one.exit_code != 2), default="")
    now = now or max(DEMO_NOW, pendulum.instance(datetime.fromisoformat(last)) if last else DEMO_NOW)
    organisation = Organisation.invent()
    if not paths.seeds_dir.exists():
        organisation.write_seeds(paths.seeds_dir)
        write_invoices(organisation, now.date(), paths.seeds_dir)
    set_up = now - timedelta(days=90)
    nights = [night for night in (set_up, now - timedelta(days=1), now) if night.to_iso8601_string() >= last] or [now]
    with SimulatorServer(organisation, now=nights[0], rate_limited=False) as server:
        settings = Settings(paths=paths, plan=None, stale_hours=36, base_url=server.base_url)
        team = TeamSettings(
            team=TEAM,
            api_key=server.api_key,
            base_url=server.base_url,
            start_date=set_up.date(),
            lookback_days=3,
            rate_limit_per_minute=0,
            rate_limit_shared=False,
            rate_limit_window_seconds=60.0,
            organization_api_key=organisation.organization_key,
            organization_id=organisation.organization_id,
        )
        for night in nights:
            server.set_now(night)
            run(settings, [team], RunOptions("demo", builds=night != set_up), Clock(night))
    return now
