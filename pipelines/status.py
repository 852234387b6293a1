"""What a person must know about the last nights, from `runs.jsonl` and the published file alone: works during a run."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from enum import IntEnum
from typing import Any

import duckdb
import pendulum

from pipelines import publish
from pipelines.config import Settings
from pipelines.errors import FileError
from pipelines.paths import DataPaths
from pipelines.runs import RunRecord, read_runs, usable

RUNS_SHOWN = 5
DAYS_NAMED = 5
CYCLES_BACK_DAYS = 100  # cycles that finance may still book; what was never explained in older ones is history


class Severity(IntEnum):
    """What to look at first: the lower, the worse."""

    RUN = 1  # the last run failed, or a team in it
    CHECKS = 2  # numbers that contradict each other were held back
    MISSING = 3  # numbers are old, or days were never read
    KEPT_ASIDE = 4  # answers that were not believed, and routes that gave none
    SEEDS = 5  # tables that people edit
    MONEY = 6  # complete numbers that somebody should explain


@dataclass(frozen=True)
class Attention:
    """Something that needs a person, with the next step."""

    severity: Severity
    message: str


@dataclass(frozen=True)
class Coverage:
    """Days of one team and resource by status, and those somebody must look at."""

    team: str
    resource: str
    first_date: date
    last_date: date
    days: dict[str, int]
    last_complete_read_at: datetime | None
    missing_days: list[date]
    suspect_days: list[date]
    last_status: str


@dataclass
class Status:
    """`attention` is what needs a person, the worst first; empty when all is well. `hints` are worth a thought."""

    attention: list[Attention] = field(default_factory=list)
    hints: list[str] = field(default_factory=list)
    unavailable: list[str] = field(default_factory=list)
    last_good_run_at: str | None = None
    age_hours: float | None = None
    published: dict[str, Any] | None = None
    runs: list[RunRecord] = field(default_factory=list)
    coverage: list[Coverage] = field(default_factory=list)
    failing: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)

    @property
    def is_well(self) -> bool:
        return not self.attention

    def needs(self, severity: Severity, message: str) -> None:
        self.attention.append(Attention(severity, message))


def read_status(settings: Settings) -> Status:
    """How things are. Never fails for a missing or broken file: that is what it reports."""
    paths = settings.paths
    status = Status()
    runs = read_runs(paths)
    status.runs = runs[-RUNS_SHOWN:]
    _judge_runs(status, runs, settings.stale_hours, pendulum.now("UTC"))
    try:
        _read_published(status, paths)
    except FileError as error:
        status.needs(Severity.RUN, str(error))
    status.attention.sort(key=lambda one: one.severity)  # within one severity, in the order found
    status.sizes = _sizes(paths)
    return status


def _judge_runs(status: Status, runs: list[RunRecord], stale_hours: int, now: pendulum.DateTime) -> None:
    good = [one for one in runs if one.result == "ok" and one.published]
    if good:
        status.last_good_run_at = good[-1].ended_at
        ended_at = pendulum.parse(good[-1].ended_at)
        assert isinstance(ended_at, pendulum.DateTime)
        status.age_hours = round((now - ended_at).total_seconds() / 3600, 1)
        if status.age_hours > stale_hours:
            status.needs(
                Severity.MISSING,
                f"The last good run is {status.age_hours:.0f} hours old (CHARGEBACK__STALE_HOURS is {stale_hours}). "
                "Look at the runs below and at the cron job.",
            )
    elif runs:
        status.needs(Severity.MISSING, "No run has published yet. Look at the runs below.")
    else:
        status.needs(
            Severity.MISSING, "Nothing has run yet. Run `chargeback run`, or `chargeback demo` for sample data."
        )
    if not runs:
        return
    last = runs[-1]
    if last.result != "ok":
        status.needs(Severity.RUN, f"The last run ({last.command}, {last.run_id}) {last.result}: {last.error}")
    if last.failing:
        status.needs(Severity.CHECKS, f"Checks that did not pass: {', '.join(last.failing)}.")
    status.failing = last.failing
    status.warnings = last.warnings
    loaded = [one for one in runs if one.load is not None]
    if loaded and loaded[-1].load is not None:
        load = loaded[-1]
        if load is not last:  # else its own message names them
            for failure in load.failed_teams:
                status.needs(Severity.RUN, f"The last load ({load.run_id}) is without a team. {failure}")
        for told in [*load.refused_snapshots, *load.suspect_days, *loaded[-1].load.get("failed_routes", [])]:
            status.needs(Severity.KEPT_ASIDE, told)
    built = [one for one in runs if one.build is not None]
    if built and built[-1].build is not None:
        for finding in built[-1].build.get("seed_findings", []):
            status.needs(Severity.SEEDS, finding)


def _read_published(status: Status, paths: DataPaths) -> None:
    if not paths.published.exists():
        if status.last_good_run_at is not None:
            status.needs(
                Severity.RUN,
                f"The published file {paths.published} is gone. Run `chargeback build`; "
                f"the generation before is {paths.previous}.",
            )
        return
    publication = publish.read_publication(paths.published)
    with publish.open_read_only(paths.published, "The published file") as connection:
        through = connection.execute("select data_from_date, data_through_date from marts.mart_publication").fetchone()
        rows = connection.execute(
            """
            select
                team, resource, coverage_date, status, last_complete_read_at, suspect_read_count,
                -- the day that was open when it was built may be left for the next run
                coverage_date < (select cast(published_at as date) from marts.mart_publication) as is_closed
            from marts.mart_load_coverage
            order by team, resource, coverage_date
            """
        ).fetchall()
        _judge_money(status, connection)
    assert through is not None
    status.published = {
        "path": str(paths.published),
        "run_id": publication.run_id,
        "published_at": publication.published_at,
        "version": publication.version,
        "data_from_date": through[0],
        "data_through_date": through[1],
        "full_tests_at": publication.full_tests_at,
    }
    by_resource: dict[tuple[str, str], list[tuple[Any, ...]]] = {}
    for row in rows:
        by_resource.setdefault((row[0], row[1]), []).append(row[2:])
    status.coverage = [_coverage(team, resource, days) for (team, resource), days in by_resource.items()]
    told = status.runs[-1:]
    for one in status.coverage:
        _judge_coverage(status, one, told[0] if told else None)


def _judge_coverage(status: Status, one: Coverage, last: RunRecord | None) -> None:
    if one.missing_days and one.resource == "usage_events":
        status.needs(
            Severity.MISSING,
            f"{one.team}: {len(one.missing_days)} days were never read completely ({_named(one.missing_days)}). "
            f"Run `chargeback run --since {one.missing_days[0]}`.",
        )
    if one.suspect_days:
        status.needs(
            Severity.KEPT_ASIDE,
            f"{one.team}: {len(one.suspect_days)} final days answered far fewer events and are kept as they were "
            f"({_named(one.suspect_days)}). If that is right, run `chargeback run --accept-shrink "
            f"--since {one.suspect_days[0]}`.",
        )
    if one.last_status == "refused" and not (last and last.refused_snapshots):
        status.needs(
            Severity.KEPT_ASIDE,
            f"{one.team}: the last answer for {one.resource} shrank sharply and was refused; the one before is in "
            "force. If it is right, run `chargeback run --accept-shrink`.",
        )
    if one.last_status == "failed" and not (last and (last.load or {}).get("failed_routes")):
        status.needs(
            Severity.KEPT_ASIDE,
            f"{one.team}: {one.resource} could not be read last time; the answer before is in force. The reason is in "
            "the log of that night; the next run asks again.",
        )
    if one.last_status == "unavailable":
        status.unavailable.append(f"{one.team}: {one.resource}")


def _judge_money(status: Status, connection: duckdb.DuckDBPyConnection) -> None:
    """What the tables themselves say somebody should explain. A file that an older version published lacks some."""
    tables = {
        name
        for (name,) in connection.execute(
            f"select table_name from duckdb_tables() where schema_name = '{publish.MARTS}'"
        ).fetchall()
    }
    if "mart_reconciliation" in tables:
        for team, cycle, control, count in connection.execute(
            """
            select team, cycle_start_date, control, count(*)
            from marts.mart_reconciliation
            where
                status = 'unexplained'
                and cycle_start_date >= (
                    select cast(published_at as date) - cast(? as integer) from marts.mart_publication
                )
            group by team, cycle_start_date, control
            order by cycle_start_date desc, team, control
            """,
            [CYCLES_BACK_DAYS],
        ).fetchall():
            status.needs(
                Severity.MONEY,
                f"{team}: {control} of the cycle from {cycle} differs from ours for {count} of what it is about, and "
                "nothing known explains it. Look at the rows 'unexplained' of marts.mart_reconciliation.",
            )
    if "mart_budget_status" in tables:
        for team, month, owner_type, owner in connection.execute(
            """
            select team, charge_month, owner_type, coalesce(owner_name, owner_id)
            from marts.mart_budget_status
            where
                budget_state = 'exceeded'
                and charge_month = (select cast(date_trunc('month', published_at) as date) from marts.mart_publication)
            order by team, owner_type, 4
            """
        ).fetchall():
            what = owner_type.replace("_", " ")
            status.needs(
                Severity.MONEY,
                f"{team}: the {what} {owner} has used up its budget of {month:%Y-%m}. "
                "Look at marts.mart_budget_status.",
            )
    if "mart_service_account_findings" in tables:
        found = connection.execute("select count(*) from marts.mart_service_account_findings").fetchone()
        if found and found[0]:
            status.hints.append(f"{found[0]} findings about service accounts: marts.mart_service_account_findings.")
    if "fct_monthly_chargeback" in tables:
        for team, group, usd in connection.execute(
            """
            select team, billing_group_name, sum(billed_usd)
            from marts.fct_monthly_chargeback
            where
                billing_group_id in ('group_unassigned', 'unattributed')
                and charge_month = (select cast(date_trunc('month', published_at) as date) from marts.mart_publication)
            group by team, billing_group_name
            having sum(billed_usd) > 0
            order by team, billing_group_name
            """
        ).fetchall():
            status.hints.append(f"{team}: {usd:,.2f} USD of this month are {group}: no group pays for them yet.")


def _coverage(team: str, resource: str, days: list[tuple[Any, ...]]) -> Coverage:
    counts: dict[str, int] = {}
    for _, day_status, *_rest in days:
        counts[day_status] = counts.get(day_status, 0) + 1
    return Coverage(
        team=team,
        resource=resource,
        first_date=days[0][0],
        last_date=days[-1][0],
        days=counts,
        last_complete_read_at=max((read_at for _, _, read_at, _, _ in days if read_at is not None), default=None),
        missing_days=[day for day, day_status, _, _, is_closed in days if day_status == "missing" and is_closed],
        suspect_days=[day for day, _, _, suspects, _ in days if suspects],
        last_status=days[-1][1],
    )


def _named(days: list[date]) -> str:
    shown = ", ".join(day.isoformat() for day in days[:DAYS_NAMED])
    return shown if len(days) <= DAYS_NAMED else f"{shown} and {len(days) - DAYS_NAMED} more"


def _sizes(paths: DataPaths) -> dict[str, int]:
    sizes = {}
    for path in (paths.warehouse, paths.published, paths.previous):
        with usable(path):
            if path.exists():
                sizes[path.relative_to(paths.data_dir).as_posix()] = path.stat().st_size
    return sizes
