"""The whole path against the bundled simulator: what a newcomer runs first. Needs no key and no account."""

from __future__ import annotations

from datetime import timedelta

import pendulum

from pipelines.config import Settings, TeamSettings
from pipelines.nightly import RunOptions, run
from pipelines.paths import DataPaths
from pipelines.runs import Clock, prepare_data_folder, read_runs
from pipelines.simulator import Organisation, SimulatorServer

DEMO_NOW = pendulum.datetime(2026, 11, 16, 2, tz="UTC")
TEAM = "acme"


def run_demo(paths: DataPaths, now: pendulum.DateTime | None = None) -> pendulum.DateTime:
    """Two nights of an invented company, so that prices restated between them show; answers the clock it ended at.

    A data folder that already holds the demo is continued at the same clock: a night on which nothing changed.
    """
    prepare_data_folder(paths)
    now = now or DEMO_NOW
    organisation = Organisation.invent()
    if not paths.seeds_dir.exists():
        organisation.write_seeds(paths.seeds_dir)
    last = max((one.now for one in read_runs(paths)), default="")
    nights = [night for night in (now - timedelta(days=1), now) if night.to_iso8601_string() >= last] or [now]
    with SimulatorServer(organisation, now=nights[0], rate_limited=False) as server:
        settings = Settings(paths=paths, plan=None, stale_hours=36, base_url=server.base_url)
        team = TeamSettings(
            team=TEAM,
            api_key=server.api_key,
            base_url=server.base_url,
            start_date=(now - timedelta(days=90)).date(),
            lookback_days=3,
            rate_limit_per_minute=0,
            rate_limit_shared=False,
            rate_limit_window_seconds=60.0,
        )
        for night in nights:
            server.set_now(night)
            run(settings, [team], RunOptions("demo"), Clock(night))
    return now
