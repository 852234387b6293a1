"""Loading: every team in its turn. One that fails does not cost the others their night."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa

from pipelines.config import SOURCE, Settings, TeamSettings
from pipelines.cursor_admin.tables import SCHEMAS
from pipelines.errors import ApiError, ConfigError, FileError, TeamsFailedError
from pipelines.landing import Landing
from pipelines.ledger import read_ledger
from pipelines.runs import Clock, Progress, file_error_message
from pipelines.team_load import LoadResult, TeamLoad, naive

DEFAULT_HISTORY_DAYS = 90


def load(
    settings: Settings,
    teams: list[TeamSettings],
    *,
    clock: Clock,
    run_id: str,
    since: date | None = None,
    accept_shrink: bool = False,
    new_team: bool = False,
    progress: Progress,
) -> LoadResult:
    """Load every team into the warehouse. What was committed before an error stays.

    A team that the API lets down is named in `failed_teams`, with the reason and the next step, and the others are
    loaded. What concerns the whole warehouse stops the run.

    Raises:
        ConfigError: an unknown team slug, or dates that cannot be. Nothing was asked for.
        RefusedRequestError: a key or an address that cannot be used. Nothing was asked for.
        ApiError: the only team failed: the API refused, failed for too long, or answered in a shape that is not known.
        TeamsFailedError: there are several, and all of them failed.
        LoadError: the destination does not hold what was read.
        FileError: a file or folder cannot be used.
    """
    result = LoadResult()
    loads = [TeamLoad(settings, team, clock, run_id, progress, result) for team in teams]
    start_dates = _new_start_dates(settings, teams, naive(clock.now()).date(), since, new_team, progress)
    working = settings.paths.build_dir / "load"
    shutil.rmtree(working, ignore_errors=True)  # of a run that was killed: its packages are dropped, never resumed
    working.mkdir(parents=True, mode=0o700)
    try:
        if start_dates:
            _pin(settings, start_dates, clock, working)
        for one in loads:
            try:
                one.run(working, since, accept_shrink)
            except ApiError as error:
                _name_section(error, one.team)
                if len(teams) == 1:
                    raise
                result.failed_teams.append(f"{one.team.team}: {error}")
                progress.warn(f"{one.team.team} could not be loaded: {error}")
    except OSError as error:
        raise FileError(file_error_message(error)) from error
    finally:
        shutil.rmtree(working, ignore_errors=True)
    if len(result.failed_teams) == len(teams):
        raise TeamsFailedError.of(result.failed_teams, "No team could be loaded; what is published stays as it was.")
    return result


def _new_start_dates(
    settings: Settings,
    teams: list[TeamSettings],
    today: date,
    since: date | None,
    new_team: bool,
    progress: Progress,
) -> dict[str, date]:
    """The first day of each team that the warehouse does not know yet. An empty warehouse takes all of them."""
    if since and since > today:
        raise ConfigError(f"--since {since} is in the future.")
    start_dates: dict[str, date] = {}
    for team in teams:
        ledger = read_ledger(settings.paths.warehouse, team.team)
        if ledger.start_date is not None:
            if team.start_date and team.start_date != ledger.start_date:
                progress.note(
                    f"start_date was pinned to {ledger.start_date} by the first run; --since reads further back"
                )
            continue
        if ledger.teams and not new_team:
            known = ", ".join(sorted(ledger.teams))
            raise ConfigError(
                f"The team {team.team!r} is new to this warehouse, which holds {known}. If a team was renamed, "
                "everything would count twice: set SOURCES__CURSOR_ADMIN__TEAM, or the name of its section, back. "
                "If it is another one, add --new-team once."
            )
        start_dates[team.team] = team.start_date or today - timedelta(days=DEFAULT_HISTORY_DAYS)
        if start_dates[team.team] > today:
            raise ConfigError(f"SOURCES__CURSOR_ADMIN__START_DATE {start_dates[team.team]} is in the future.")
    return start_dates


def _pin(settings: Settings, start_dates: Mapping[str, date], clock: Clock, working: Path) -> None:
    """Write down all new teams before any is read: a killed first run must not make strangers of the others."""
    rows = [
        {"team": team, "start_date": start_date, "first_run_at": naive(clock.now())}
        for team, start_date in start_dates.items()
    ]
    pinned = pa.Table.from_pylist(rows, schema=SCHEMAS["teams"])
    Landing(settings.paths.warehouse, working / "dlt").create_tables({"teams": pinned})


def _name_section(error: ApiError, team: TeamSettings) -> None:
    """The source knows of one section only; the next step must name the one that this team's settings come from."""
    error.args = (str(error).replace(f"[{SOURCE}]", f"[{team.section}]"), *error.args[1:])
