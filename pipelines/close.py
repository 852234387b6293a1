"""Closing months: the lines finance has been sent go to a ledger, and are what is published from then on.

What is frozen is what today's data say and every check has passed: a build comes first. Lines are written before the
row that makes them count, so that a close that is killed has not happened. There is no reopening: what is found later
is an adjustment in the first month that is still open.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import pwd
from collections import Counter
from dataclasses import asdict, dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from secrets import token_hex

import duckdb
import pyarrow as pa
from rich import box
from rich.table import Table
from rich.text import Text

from pipelines import close_ledger, publish, seeds
from pipelines.build import ChecksFailedError
from pipelines.close_ledger import CLOSED_MONTHS, LINES, ClosedMonth, LinesProof, month_after
from pipelines.config import Settings
from pipelines.cursor_admin.windows import days_between
from pipelines.errors import ChargebackError, ConfigError, FileError
from pipelines.landing import Landing, add_missing_tables, fresh_working_dir
from pipelines.nightly import ActiveRun, build_tables, publish_tables, recorded_run
from pipelines.paths import DataPaths
from pipelines.runs import Clock, run_lock

DAYS_NAMED = 10
SETTLED = frozenset({"final", "before_history"})


class CloseRefusedError(ChargebackError):
    """A month cannot be closed yet; nothing was changed."""


@dataclass(frozen=True)
class _Request:
    """A month that is to be closed for one team. `covered_from` is the team's first covered day."""

    team: str
    month: date
    covered_from: date

    @property
    def days(self) -> list[date]:
        """The days of the month that are covered at all."""
        return days_between(max(self.month, self.covered_from), month_after(self.month) - timedelta(days=1))


@dataclass
class _Closing:
    """A request and what the build says about it: `unsettled` days as `2026-10-30 provisional`."""

    request: _Request
    close_id: str
    coverage: dict[str, int] = field(default_factory=dict)
    unsettled: list[str] = field(default_factory=list)
    lines: dict[str, pa.Table] = field(default_factory=dict)
    billed_usd: Decimal = Decimal(0)


def close(settings: Settings, month: date, *, team: str | None, is_forced: bool, clock: Clock) -> list[str]:
    """Close a month for one team, or for every team that covers it; answers what to tell, a line per team.

    Earlier months without any charge are closed with it: so late cost finds no open month behind a closed one.

    Raises:
        ConfigError: the month is not over, or no such team or month is covered.
        CloseRefusedError: a day is missing or provisional, or an earlier month is open.
        FileError: there is no warehouse, or the close ledger was changed by hand.
        BuildError: the build did not pass.
    """
    paths = settings.paths
    if month_after(month) > clock.now().date():
        raise ConfigError(f"{month:%Y-%m} is not over yet at {clock.now().date()} (UTC), and only past months close.")
    if not paths.warehouse.exists():
        raise FileError(f"There is no warehouse at {paths.warehouse}: nothing to close. Run `chargeback run` first.")
    with recorded_run(paths, "close", clock) as active:
        seeds.create_missing_seeds(paths)
        add_missing_tables(paths)
        requests, closed = _open_requests(paths, month, team)
        told = [
            f"{month:%Y-%m} of {one.team} is closed already, since {one.closed_at:%Y-%m-%d %H:%M} UTC by "
            f"{one.closed_by}: nothing was changed."
            for one in closed
            if one.charge_month == month
        ]
        if not requests:
            return told
        build_tables(settings, clock, active)
        with publish.open_read_only(paths.build_file, "The build") as connection:
            closings = [one for request in requests for one in _closings(connection, request, closed)]
        problems = [problem for one in closings if (problem := _problem(one)) is not None]
        if problems and not is_forced:
            raise CloseRefusedError("\n".join(problems))
        for one in closings:
            told.append(_write(paths, one, active, clock))
            active.progress.note(told[-1])
        try:
            build_tables(settings, clock, active)
            publish_tables(settings, active)
        except ChargebackError as error:
            failing = error.failing if isinstance(error, ChecksFailedError) else []
            raise ChecksFailedError(
                "\n".join([*told, f"That stands, but is not published yet: {error}"]), failing
            ) from error
        return told


def _open_requests(paths: DataPaths, month: date, team: str | None) -> tuple[list[_Request], list[ClosedMonth]]:
    """The requests that are still to be met, and the closed months of the teams they are about."""
    with publish.open_read_only(paths.warehouse, "The warehouse") as connection:
        close_ledger.verify_closed_months(connection, paths.warehouse)
        starts = dict(
            connection.execute(
                "select teams.team, least(min(teams.start_date), min(windows.usage_date)) from raw.teams as teams "
                "left join raw.load_windows as windows using (team) group by teams.team order by teams.team"
            ).fetchall()
        )
        closed = close_ledger.read_closed_months(connection)
    if team is not None and team not in starts:
        raise ConfigError(f"There is no team {team!r} in the warehouse. There are: {', '.join(starts)}.")
    wanted = [team] if team is not None else list(starts)
    covering = [one for one in wanted if starts[one] < month_after(month)]
    if not covering:
        first = min(starts[one] for one in wanted)
        raise ConfigError(f"Nothing of {month:%Y-%m} is covered: the first covered day is {first}.")
    closed = [one for one in closed if one.team in covering]
    done = {(one.team, one.charge_month) for one in closed}
    return [_Request(one, month, starts[one]) for one in covering if (one, month) not in done], closed


def _closings(connection: duckdb.DuckDBPyConnection, request: _Request, closed: list[ClosedMonth]) -> list[_Closing]:
    """What is to be closed: earlier months without charges, then the month itself. Months close in order."""
    team, month = request.team, request.month
    done = {one.charge_month for one in closed if one.team == team}
    if later := [one for one in done if one > month]:
        raise CloseRefusedError(
            f"{month:%Y-%m} of {team} cannot be closed: months close in order, and {max(later):%Y-%m} is closed. "
            "Its charges stay as they are published."
        )
    closings, one = [], request.covered_from.replace(day=1)
    while one <= month:
        if one not in done:
            closings.append(_Closing(_Request(team, one, request.covered_from), f"{one:%Y%m}-{token_hex(8)}"))
        one = month_after(one)
    for closing in closings:
        _fill(connection, closing)
    if charged := [one for one in closings[:-1] if one.lines["closed_monthly_chargeback"].num_rows]:
        first = charged[0].request.month
        raise CloseRefusedError(
            f"{month:%Y-%m} of {team} cannot be closed: months close in order, and {first:%Y-%m} is open. "
            f"Run `chargeback close {first:%Y-%m}` first."
        )
    return closings


def _fill(connection: duckdb.DuckDBPyConnection, closing: _Closing) -> None:
    """Coverage and lines, as the build file has them."""
    team, month = closing.request.team, closing.request.month
    statuses = dict(
        connection.execute(
            "select coverage_date, status from marts.mart_load_coverage "
            "where team = ? and resource = 'usage_events' and coverage_date >= ? and coverage_date < ?",
            [team, month, month_after(month)],
        ).fetchall()
    )
    days = {day: statuses.get(day, "missing") for day in closing.request.days}
    closing.coverage = dict(sorted(Counter(days.values()).items()))
    closing.unsettled = [f"{day} {status}" for day, status in days.items() if status not in SETTLED]
    for ledger_table, table in LINES.items():
        schema = close_ledger.CLOSE_SCHEMAS[ledger_table]
        names = ", ".join(schema.names[1:])
        closing.lines[ledger_table] = (
            connection.execute(
                f"select ? as close_id, {names} from marts.{table} where team = ? and charge_month = ?",
                [closing.close_id, team, month],
            )
            .fetch_arrow_table()
            .cast(schema)
        )
    billed = connection.execute(
        "select coalesce(sum(billed_usd), 0) from marts.fct_monthly_chargeback where team = ? and charge_month = ?",
        [team, month],
    ).fetchone()
    assert billed is not None
    closing.billed_usd = billed[0]


def _problem(closing: _Closing) -> str | None:
    """Why the month should not be closed yet; None when it is complete."""
    if not closing.unsettled:
        return None
    shown = ", ".join(closing.unsettled[:DAYS_NAMED])
    more = f" and {len(closing.unsettled) - DAYS_NAMED} more" if len(closing.unsettled) > DAYS_NAMED else ""
    return (
        f"{closing.request.month:%Y-%m} of {closing.request.team} cannot be closed yet: {shown}{more}. A day is final "
        "once it was read 48 hours after its end: run `chargeback run` and try again, or close it as it is with "
        "--force, which is recorded."
    )


def _write(paths: DataPaths, closing: _Closing, active: ActiveRun, clock: Clock) -> str:
    """Lines first; the row that makes them count when the warehouse holds exactly them. Answers what to tell."""
    request, lines = closing.request, closing.lines
    proof = close_ledger.prove(lines)
    header = ClosedMonth(
        team=request.team,
        charge_month=request.month,
        close_id=closing.close_id,
        closed_at=clock.now().naive(),
        run_id=active.record.run_id,
        closed_by=system_user(),
        was_forced=bool(closing.unsettled),
        detail=_detail(closing),
        **asdict(proof),
    )
    with fresh_working_dir(paths, "close") as working:
        landing = Landing(paths.warehouse, working)
        landing.append({table: [rows] for table, rows in lines.items() if rows.num_rows})
        landing.check({(table, closing.close_id): rows.num_rows for table, rows in lines.items()})
        with publish.open_read_only(paths.warehouse, "The warehouse") as connection:
            close_ledger.check_written(connection, closing.close_id, proof)
        landing.append({CLOSED_MONTHS: [close_ledger.table_of(asdict(header))]})
    return _told(closing, proof)


def system_user() -> str:
    """Who runs this process, as the system knows them: no variable of the environment can change it."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"


def _detail(closing: _Closing) -> str:
    """The evidence as JSON: how the days stood, from which day on, by which version, and what it was forced over."""
    return json.dumps(
        {
            "coverage": closing.coverage,
            "covered_from": max(closing.request.month, closing.request.covered_from).isoformat(),
            "forced_over": closing.unsettled,
            "version": importlib.metadata.version("cursor-chargeback"),
        },
        sort_keys=True,
    )


def _told(closing: _Closing, proof: LinesProof) -> str:
    request = closing.request
    partly = f", covered from {request.covered_from}" if request.covered_from > request.month else ""
    forced = f", forced over {len(closing.unsettled)} days that are not final" if closing.unsettled else ""
    return (
        f"Closed {request.month:%Y-%m} of {request.team}: {closing.billed_usd:,.2f} USD in "
        f"{proof.monthly_line_count} lines{partly}{forced}; sha256 {proof.lines_sha256[:12]}."
    )


def list_closed(paths: DataPaths, team: str | None = None) -> list[ClosedMonth]:
    """The closed months, by team and month, after checking that they are what was closed.

    Raises:
        FileError: there is no warehouse, or the close ledger was changed by hand.
        LockedError: a run is going on, and writes to the warehouse.
    """
    if not paths.warehouse.exists():
        raise FileError(f"There is no warehouse at {paths.warehouse}: nothing was closed. Run `chargeback run` first.")
    with run_lock(paths, "close --list"):
        add_missing_tables(paths)
        with publish.open_read_only(paths.warehouse, "The warehouse") as connection:
            close_ledger.verify_closed_months(connection, paths.warehouse)
            closed = close_ledger.read_closed_months(connection)
    return [one for one in closed if team in (None, one.team)]


def closed_table(closed: list[ClosedMonth]) -> Table:
    """The closed months for a person."""
    table = Table("Team", "Month", "Closed at (UTC)", "By", "Forced", "Run", "Lines", "sha256", box=box.SIMPLE_HEAD)
    for one in closed:
        table.add_row(
            Text(one.team),
            f"{one.charge_month:%Y-%m}",
            f"{one.closed_at:%Y-%m-%d %H:%M}",
            Text(one.closed_by),
            f"over {len(json.loads(one.detail)['forced_over'])} days" if one.was_forced else "",
            one.run_id,
            f"{one.monthly_line_count:,}",
            one.lines_sha256[:12],
        )
    return table
