"""What the measurements share: a function in a process of its own, with its time and its peak memory."""

from __future__ import annotations

import multiprocessing
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

NOW = datetime(2026, 11, 16, 2, tzinfo=UTC)
PEOPLE = 1000


@dataclass(frozen=True)
class Measured:
    """`peak_mb` is the resident memory of the process at its highest; `seconds` leave imports out."""

    seconds: float
    peak_mb: float
    value: Any


def measured(function: Callable[..., Any], *arguments: Any) -> Measured:
    """Run `function(*arguments)` in a fresh process. It returns (seconds, value)."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_child, args=(theirs, function, arguments))
    process.start()
    theirs.close()
    try:
        seconds, peak_mb, value = ours.recv()
    except EOFError:
        sys.exit("A measurement failed; its own output says why.")
    process.join()
    return Measured(seconds, peak_mb, value)


def _child(pipe: Any, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    seconds, value = function(*arguments)
    peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    pipe.send((seconds, peak_kb / 1024, value))


def organisation(events: int, days: int) -> dict[str, Any]:
    """Arguments of `Organisation.invent` for about so many events in the `days` closed days before NOW."""
    start = NOW.date() - timedelta(days=days)
    # weekends are quieter, so a person's average working day counts for about three quarters
    per_person_day = events / days / PEOPLE / 0.54
    return {
        "seed": 7,
        "people": PEOPLE,
        "start": start,
        "end": NOW.date() + timedelta(days=5),
        "events_per_person_day": per_person_day,
        "groups": 40,
    }


def load_once(base_url: str, api_key: str, folder: str, start: date, options: dict[str, Any]) -> tuple[float, Any]:
    """One `load` through the product's own function, with its record."""
    import pendulum

    from pipelines.config import Settings, TeamSettings
    from pipelines.load import load
    from pipelines.paths import data_paths
    from pipelines.runs import Clock, Progress, new_run_id

    now = pendulum.instance(options.get("now", NOW))
    settings = Settings(data_paths(folder), "enterprise", 36, base_url)
    settings.paths.data_dir.mkdir(parents=True, exist_ok=True)
    team = TeamSettings(
        "default",
        api_key,
        base_url,
        start,
        3,
        options.get("rate", 0),
        False,
        options.get("window", 60.0),
    )
    began = time.perf_counter()
    with Progress(is_terminal=False) as progress:
        result = load(settings, [team], clock=Clock(now), run_id=new_run_id(now), progress=progress)
    return time.perf_counter() - began, result


def show(title: str, rows: list[tuple[str, str]]) -> None:
    """One measurement, as lines that can be copied into README.md."""
    print(f"\n{title}")
    for name, value in rows:
        print(f"  {name:<52} {value:>16}")


def size_mb(path: Path) -> float:
    return path.stat().st_size / 1e6
