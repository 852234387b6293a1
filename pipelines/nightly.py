"""One run: load, build and publish, or a part of it, under the lock, with its log and its line in `runs.jsonl`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date

import pendulum

from pipelines import publish, seeds
from pipelines.build import ChecksFailedError, build
from pipelines.config import Settings, TeamSettings
from pipelines.errors import ConfigError
from pipelines.load import load
from pipelines.paths import DataPaths
from pipelines.runs import (
    Clock,
    Progress,
    RunRecord,
    append_run,
    new_run_id,
    prepare_data_folder,
    read_runs,
    run_lock,
)


@dataclass(frozen=True)
class RunOptions:
    """What a run does. `command` is the verb a person typed."""

    command: str
    loads: bool = True
    builds: bool = True
    since: date | None = None
    full_refresh: bool = False
    accept_shrink: bool = False
    new_team: bool = False


def run(settings: Settings, teams: Sequence[TeamSettings], options: RunOptions, clock: Clock) -> RunRecord:
    """Do it, and leave a line in `runs.jsonl` whatever happens.

    Raises:
        ConfigError: a setting, a seed file or an argument is wrong.
        LockedError: another run holds the lock; leaves no line.
        ChargebackError, ApiError: the run failed; the published file is as it was.
    """
    paths = settings.paths
    prepare_data_folder(paths)
    with run_lock(paths, options.command) as lock_descriptor:
        now = clock.now()
        record = RunRecord(
            run_id=new_run_id(now),
            command=options.command,
            now=now.to_iso8601_string(),
            started_at=pendulum.now("UTC").to_iso8601_string(),
        )
        with Progress(paths.logs_dir / f"{record.run_id}.log") as progress:
            try:
                _refuse_the_past(paths, clock)
                _do(settings, teams, options, clock, record, lock_descriptor, progress)
                record.result, record.exit_code = "ok", 0
            except KeyboardInterrupt:
                record.result, record.error = "interrupted", "interrupted by a person"
                raise
            except BaseException as error:
                record.error = str(error) or type(error).__name__
                record.exit_code = 2 if isinstance(error, ConfigError) else 1
                record.failing = error.failing if isinstance(error, ChecksFailedError) else []
                raise
            finally:
                record.warnings = progress.warnings
                record.ended_at = pendulum.now("UTC").to_iso8601_string()
                append_run(paths, record)
    return record


def _do(
    settings: Settings,
    teams: Sequence[TeamSettings],
    options: RunOptions,
    clock: Clock,
    record: RunRecord,
    lock_descriptor: int,
    progress: Progress,
) -> None:
    seeds.create_missing_seeds(settings.paths)
    if options.builds:  # before the first request: a night must not load for an hour to hear of a slip in a file
        seeds.check_plans(settings.plan, seeds.read_seeds(settings.paths), [one.team for one in teams], settings.paths)
    if options.loads:
        loaded = load(
            settings,
            list(teams),
            clock=clock,
            run_id=record.run_id,
            since=options.since,
            accept_shrink=options.accept_shrink,
            new_team=options.new_team,
            progress=progress,
        )
        record.load = asdict(loaded)
        record.refused_snapshots, record.suspect_days = loaded.refused_snapshots, loaded.suspect_days
    if options.builds:
        built = build(
            settings,
            clock=clock,
            run_id=record.run_id,
            full_refresh=options.full_refresh,
            lock_descriptor=lock_descriptor,
            progress=progress,
        )
        record.build = asdict(built)
        publish.publish(settings.paths, record.run_id, progress)
        record.published = True
        progress.note(f"published {settings.paths.published}")


def _refuse_the_past(paths: DataPaths, clock: Clock) -> None:
    if not clock.is_fixed:
        return
    times = [pendulum.parse(one.now) for one in read_runs(paths) if one.exit_code != 2]
    last = max((time for time in times if isinstance(time, pendulum.DateTime)), default=None)
    if last is not None and clock.now() < last:
        raise ConfigError(
            f"--now {clock.now().to_iso8601_string()} is earlier than the last run, at {last.to_iso8601_string()}: "
            "what was read then cannot be unread. Give a later instant, or another CHARGEBACK__DATA_DIR."
        )
