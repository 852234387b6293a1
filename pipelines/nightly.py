"""One run: load, build and publish, or a part of it, under the lock, with its log and its line in `runs.jsonl`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import date

import pendulum

from pipelines import publish, seeds
from pipelines.build import ChecksFailedError, build
from pipelines.config import Settings, TeamSettings
from pipelines.errors import ConfigError, RefusedRequestError, TeamsFailedError
from pipelines.landing import add_missing_tables
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


@dataclass(frozen=True)
class ActiveRun:
    """A run that holds the lock: where it notes what it does, and what a child process must inherit."""

    record: RunRecord
    progress: Progress
    lock_descriptor: int


@contextmanager
def recorded_run(paths: DataPaths, command: str, clock: Clock) -> Iterator[ActiveRun]:
    """Holds the lock for one run, and leaves a line in `runs.jsonl` whatever happens in it.

    Raises:
        ConfigError: `--now` is earlier than the last run.
        LockedError: another run holds the lock; leaves no line.
    """
    prepare_data_folder(paths)
    with run_lock(paths, command) as lock_descriptor:
        now = clock.now()
        record = RunRecord(
            run_id=new_run_id(now),
            command=command,
            now=now.to_iso8601_string(),
            started_at=pendulum.now("UTC").to_iso8601_string(),
        )
        with Progress(paths.logs_dir / f"{record.run_id}.log") as progress:
            try:
                _refuse_the_past(paths, clock)
                yield ActiveRun(record, progress, lock_descriptor)
                record.result, record.exit_code = "ok", 0
            except KeyboardInterrupt:
                record.result, record.error = "interrupted", "interrupted by a person"
                raise
            except BaseException as error:
                record.error = str(error) or type(error).__name__
                record.exit_code = 2 if isinstance(error, ConfigError | RefusedRequestError) else 1
                record.failing = error.failing if isinstance(error, ChecksFailedError) else []
                raise
            finally:
                record.warnings = progress.warnings
                record.ended_at = pendulum.now("UTC").to_iso8601_string()
                append_run(paths, record)


def run(settings: Settings, teams: Sequence[TeamSettings], options: RunOptions, clock: Clock) -> RunRecord:
    """Do it, and leave a line in `runs.jsonl` whatever happens.

    Raises:
        ConfigError: a setting, a seed file or an argument is wrong.
        LockedError: another run holds the lock; leaves no line.
        TeamsFailedError: some of several teams failed; the others are published.
        ChargebackError, ApiError: the run failed; the published file is as it was.
    """
    with recorded_run(settings.paths, options.command, clock) as active:
        _do(settings, teams, options, clock, active)
    return active.record


def _do(
    settings: Settings, teams: Sequence[TeamSettings], options: RunOptions, clock: Clock, active: ActiveRun
) -> None:
    seeds.create_missing_seeds(settings.paths)
    if options.builds:  # before the first request: a night must not load for an hour to hear of a slip in a file
        seeds.check_plans(settings.plan, seeds.read_seeds(settings.paths), [one.team for one in teams], settings.paths)
    add_missing_tables(settings.paths)
    failed_teams: list[str] = []
    if options.loads:
        loaded = load(
            settings,
            list(teams),
            clock=clock,
            run_id=active.record.run_id,
            since=options.since,
            accept_shrink=options.accept_shrink,
            new_team=options.new_team,
            progress=active.progress,
        )
        active.record.load = asdict(loaded)
        active.record.refused_snapshots = loaded.refused_snapshots
        active.record.suspect_days = loaded.suspect_days
        active.record.failed_teams = failed_teams = loaded.failed_teams
    if options.builds:
        build_tables(settings, clock, active, full_refresh=options.full_refresh)
        publish_tables(settings, active)
    if failed_teams:
        done = "loaded and published" if options.builds else "loaded"
        raise TeamsFailedError.of(
            failed_teams, f"{len(failed_teams)} of {len(teams)} teams failed, the rest is {done}."
        )


def build_tables(settings: Settings, clock: Clock, active: ActiveRun, *, full_refresh: bool = False) -> None:
    """Build and test, and no more: what passed lies in the build file."""
    built = build(
        settings,
        clock=clock,
        run_id=active.record.run_id,
        full_refresh=full_refresh,
        lock_descriptor=active.lock_descriptor,
        progress=active.progress,
    )
    active.record.build = asdict(built)


def publish_tables(settings: Settings, active: ActiveRun) -> None:
    """Publish what was built."""
    publish.publish(settings.paths, active.record.run_id, active.progress)
    active.record.published = True
    active.progress.note(f"published {settings.paths.published}")


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
