"""How `chargeback status` looks: as text for a person, as JSON for a monitor."""

from __future__ import annotations

import json
from dataclasses import asdict

from rich import box
from rich.console import Console
from rich.table import Table

from pipelines.status import Status


def as_json(status: Status) -> str:
    """Everything, for a monitor."""
    attention = [{"severity": one.severity.name.lower(), "message": one.message} for one in status.attention]
    found = {"is_well": status.is_well, **asdict(status), "attention": attention}
    return json.dumps(found, indent=2, ensure_ascii=False, default=str) + "\n"


def print_status(status: Status, console: Console) -> None:
    """Everything, for a person: what needs them first."""

    def say(text: str = "", style: str | None = None) -> None:
        console.print(text, style=style, highlight=False, markup=False, soft_wrap=True)

    if status.is_well:
        say(f"All is well: last good run {status.age_hours:.1f} hours ago.", "green")
    for one in status.attention:
        say(f"! {one.message}", "bold red")
    for hint in status.hints:
        say(f"Hint: {hint}")
    if status.unavailable:
        say(f"Not available to the key, which needs nobody: {', '.join(status.unavailable)}")
    if status.published:
        say(
            f"\nPublished {_short(str(status.published['published_at']))} by {status.published['run_id']}: "
            f"{status.published['data_from_date']} through {status.published['data_through_date']}"
        )
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
        for covered in status.coverage:
            days = ", ".join(f"{count} {name}" for name, count in sorted(covered.days.items()))
            read_at = _short(str(covered.last_complete_read_at or ""))
            first, last = str(covered.first_date), str(covered.last_date)
            table.add_row(covered.team, covered.resource, first, last, days, read_at)
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
