"""A whole nightly run on a short and on a long history: does the work of a night go with what changed?"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

from bench.measure import NOW, organisation, show, size_mb
from pipelines.paths import PROJECT_DIR
from pipelines.simulator import SimulatorProcess

EVENTS_A_DAY = 50_000


def _run(api: SimulatorProcess, folder: Path, now: str, start: str) -> tuple[float, float]:
    """`chargeback run` as cron starts it; seconds by the clock and of processor time."""
    environment = os.environ | {
        "SOURCES__CURSOR_ADMIN__API_KEY": api.api_key,
        "SOURCES__CURSOR_ADMIN__BASE_URL": api.base_url,
        "SOURCES__CURSOR_ADMIN__START_DATE": start,
        "SOURCES__CURSOR_ADMIN__RATE_LIMIT_PER_MINUTE": "0",
        "CHARGEBACK__DATA_DIR": str(folder),
        "CHARGEBACK__PLAN": "enterprise",
    }
    began = time.perf_counter()
    command = [sys.executable, "-m", "pipelines.cli", "run", "--now", now]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, env=environment, cwd=PROJECT_DIR, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.returncode}\n{done.stdout}{done.stderr}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - began, processor


def _copy_seconds(path: Path) -> float:
    """What copying the published file alone costs, measured beside the run."""
    import shutil

    began = time.perf_counter()
    shutil.copyfile(path, path.with_suffix(".copy"))
    seconds = time.perf_counter() - began
    path.with_suffix(".copy").unlink()
    return seconds


def _nights(folder: Path, days: int) -> tuple[float, float, float, Path]:
    """First run, one night to settle, then three nights: the median whole run, its processor time, and the copy."""
    start = NOW.date() - timedelta(days=days)
    with SimulatorProcess(now=NOW, **organisation(EVENTS_A_DAY * days, days)) as api:
        _run(api, folder, NOW.isoformat(), start.isoformat())
        seconds, copies = [], []
        for night in range(1, 5):
            now = NOW + timedelta(days=night)
            api.set_now(now)
            seconds.append(_run(api, folder, now.isoformat(), start.isoformat()))
            copies.append(_copy_seconds(folder / "chargeback.duckdb"))
    (wall, processor), copy = sorted(seconds[1:])[1], sorted(copies)[len(copies) // 2]
    return wall, processor, copy, folder / "chargeback.duckdb"


def measure(folder: Path, *, small: int, factor: int) -> None:
    days = max(small // EVENTS_A_DAY, 5)
    small_run, small_processor, small_copy, small_file = _nights(folder / "small", days)
    large_run, large_processor, large_copy, large_file = _nights(folder / "large", days * factor)
    ratio = (large_run - large_copy) / (small_run - small_copy)
    show(
        f"A night of about {EVENTS_A_DAY:,} new events",
        [
            (f"run on {days * EVENTS_A_DAY:,} stored", f"{small_run:.1f} s"),
            (f"run on {days * factor * EVENTS_A_DAY:,} stored", f"{large_run:.1f} s"),
            ("of it copying the published file, small", f"{small_copy:.2f} s, {size_mb(small_file):.0f} MB"),
            ("of it copying the published file, large", f"{large_copy:.2f} s, {size_mb(large_file):.0f} MB"),
            ("ratio without the copy (goal: at most 1.5)", f"{ratio:.2f}"),
            ("processor time, small", f"{small_processor:.1f} s"),
            ("processor time, large", f"{large_processor:.1f} s"),
            ("ratio of processor time", f"{large_processor / small_processor:.2f}"),
        ],
    )
