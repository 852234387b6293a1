"""What a person must know about the last nights, from `runs.jsonl` and the published file alone: works during a run."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from typing import Any

import pendulum
from rich import box
from rich.console import Console
from rich.table import Table

from pipelines import publish
from pipelines.config import Settings
from pipelines.errors import FileError
from pipelines.paths import DataPaths
from pipelines.runs import RunRecord, read_runs, usable

RUNS_SHOWN = 5
DAYS_NAMED = 5


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
    is_refused: bool


@dataclass
class Status:
    """`attention` is what needs a person, each with the next step; empty when all is well."""

    attention: list[str] = field(default_factory=list)
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
        status.attention.append(str(error))
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
            status.attention.append(
                f"The last good run is {status.age_hours:.0f} hours old (CHARGEBACK__STALE_HOURS is {stale_hours}). "
                "Look at the runs below and at the cron job."
            )
    elif runs:
        status.attention.append("No run has published yet. Look at the runs below.")
    else:
        status.attention.append("Nothing has run yet. Run `chargeback run`, or `chargeback demo` for sample data.")
    if not runs:
        return
    last = runs[-1]
    if last.result != "ok":
        status.attention.append(f"The last run ({last.command}, {last.run_id}) {last.result}: {last.error}")
    status.failing = last.failing
    status.warnings = last.warnings
    loaded = [one for one in runs if one.load is not None]
    if loaded:
        status.attention += [*loaded[-1].refused_snapshots, *loaded[-1].suspect_days]
    built = [one for one in runs if one.build is not None]
    if built and built[-1].build is not None:
        status.attention += built[-1].build.get("seed_findings", [])


def _read_published(status: Status, paths: DataPaths) -> None:
    if not paths.published.exists():
        if status.last_good_run_at is not None:
            status.attention.append(
                f"The published file {paths.published} is gone. Run `chargeback build`; "
                f"the generation before is {paths.previous}."
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
    for one in status.coverage:
        if one.missing_days and one.resource == "usage_events":
            status.attention.append(
                f"{one.team}: {len(one.missing_days)} days were never read completely ({_named(one.missing_days)}). "
                f"Run `chargeback run --since {one.missing_days[0]}`."
            )
        if one.suspect_days:
            status.attention.append(
                f"{one.team}: {len(one.suspect_days)} final days answered far fewer events and are kept as they were "
                f"({_named(one.suspect_days)}). If that is right, run `chargeback run --accept-shrink "
                f"--since {one.suspect_days[0]}`."
            )
        if one.is_refused and not any(run.refused_snapshots for run in status.runs[-1:]):
            status.attention.append(
                f"{one.team}: the last answer for {one.resource} shrank sharply and was refused; the one before is in "
                "force. If it is right, run `chargeback run --accept-shrink`."
            )


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
        is_refused=days[-1][1] == "refused",
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


def as_json(status: Status) -> str:
    """Everything, for a monitor."""
    return json.dumps({"is_well": status.is_well, **asdict(status)}, indent=2, ensure_ascii=False, default=str) + "\n"


def print_status(status: Status, console: Console) -> None:
    """Everything, for a person: what needs them first."""

    def say(text: str = "", style: str | None = None) -> None:
        console.print(text, style=style, highlight=False, markup=False, soft_wrap=True)

    if status.is_well:
        say(f"All is well: last good run {status.age_hours:.1f} hours ago.", "green")
    for line in status.attention:
        say(f"! {line}", "bold red")
    if status.published:
        say(
            f"\nPublished {_short(str(status.published['published_at']))} by {status.published['run_id']}: "
            f"{status.published['data_from_date']} through {status.published['data_through_date']}"
        )
    if status.failing:
        say(f"Failing: {', '.join(status.failing)}")
    for warning in status.warnings:
        say(f"Warning of the last run: {warning}", "yellow")
    if status.coverage:
        table = Table(
            "Team",
            "Resource",
            "From",
            "To",
            "Days",
            "Last complete read",
            title="Coverage",
            title_justify="left",
            box=box.SIMPLE_HEAD,
        )
        for one in status.coverage:
            days = ", ".join(f"{count} {name}" for name, count in sorted(one.days.items()))
            read_at = _short(str(one.last_complete_read_at or ""))
            table.add_row(one.team, one.resource, str(one.first_date), str(one.last_date), days, read_at)
        console.print(table)
    if status.runs:
        table = Table(
            "Run",
            "Command",
            "Now",
            "Result",
            "Events",
            "Requests",
            title="Last runs",
            title_justify="left",
            box=box.SIMPLE_HEAD,
        )
        for run in reversed(status.runs):
            load = run.load or {}
            counts = (str(load.get("events_landed", "")), str(load.get("requests", "")))
            table.add_row(run.run_id, run.command, _short(run.now), run.result, *counts)
        console.print(table)
    for name, size in status.sizes.items():
        say(f"{name}: {size / 1_000_000:,.1f} MB")


def _short(moment: str) -> str:
    return moment[:16].replace("T", " ")
