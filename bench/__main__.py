"""Measure the product against yardsticks that run beside it: `python -m bench [name ...]`. Method: bench/README.md."""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from bench import nights
from bench.measure import NOW, load_once, measured, organisation, show
from bench.yardsticks import bare_loop, dlt_default
from pipelines.simulator import SimulatorProcess


def measure_load(folder: Path, events: int) -> None:
    """`load` as a ratio to a bare loop over the same pages, alternately, the better of two each."""
    days = 20
    start = NOW.date() - timedelta(days=days)
    with SimulatorProcess(now=NOW, **organisation(events, days)) as api:
        bare, ours = [], []
        for turn in range(2):
            bare.append(measured(bare_loop, api.base_url, api.api_key, str(folder / f"bare{turn}.duckdb"), start))
            ours.append(measured(load_once, api.base_url, api.api_key, str(folder / f"load{turn}"), start, {}))
            shutil.rmtree(folder / f"load{turn}")
    best_bare, best_ours = min(bare, key=lambda one: one.seconds), min(ours, key=lambda one: one.seconds)
    assert best_ours.value.events_landed == best_bare.value
    show(
        "Loading everything at once, no rate limit",
        [
            ("events", f"{best_bare.value:,}"),
            ("bare loop", f"{best_bare.seconds:.1f} s"),
            ("load", f"{best_ours.seconds:.1f} s"),
            ("ratio (goal: at most 2.0)", f"{best_ours.seconds / best_bare.seconds:.2f}"),
            ("peak memory of load (goal: under 500 MB)", f"{max(one.peak_mb for one in ours):.0f} MB"),
            ("peak memory of the bare loop", f"{max(one.peak_mb for one in bare):.0f} MB"),
        ],
    )


def measure_dictionaries(folder: Path, events: int) -> None:
    """`load` against dlt's default path over the same pages."""
    days = 14
    start = NOW.date() - timedelta(days=days)
    with SimulatorProcess(now=NOW, **organisation(min(events, 100_000), days)) as api:
        ours = measured(load_once, api.base_url, api.api_key, str(folder / "ours"), start, {})
        theirs = measured(dlt_default, api.base_url, api.api_key, str(folder / "theirs"), start)
    assert ours.value.events_landed == theirs.value
    show(
        "Against dictionaries through dlt's defaults",
        [
            ("events", f"{theirs.value:,}"),
            ("dlt's default path", f"{theirs.seconds:.1f} s"),
            ("load", f"{ours.seconds:.1f} s"),
            ("times faster (goal: at least 10)", f"{theirs.seconds / ours.seconds:.1f}"),
        ],
    )


def measure_limits(folder: Path, events: int) -> None:
    """How much of the allowed rate is used, with windows shortened to six seconds, and whether a 429 was met."""
    days, window, rate = 20, 6.0, 60
    start = NOW.date() - timedelta(days=days)
    invent = organisation(min(events, 600_000), days)
    from pipelines.simulator import Behaviour

    invent["behaviour"] = Behaviour(rate_window_seconds=window)
    with SimulatorProcess(now=NOW, rate_limited=True, **invent) as api:
        options = {"rate": None, "window": window}
        ours = measured(load_once, api.base_url, api.api_key, str(folder / "limited"), start, options)
        state = api.state()
    at = sorted(one.at for one in state.requests if one.path == "/teams/filtered-usage-events")
    # up to the last window, which is not full only because nothing is left to ask
    full = (len(at) - 1) // rate * rate
    allowed = rate * (at[full] - at[0]) / window
    show(
        "With the documented limits, windows of six seconds",
        [
            ("event requests in full windows", f"{full:,}"),
            ("allowed in that time", f"{allowed:,.0f}"),
            ("used (goal: at least 95 %)", f"{100 * full / allowed:.1f} %"),
            ("answers with 429 (goal: none)", f"{state.throttled_count}"),
            ("load", f"{ours.seconds:.1f} s"),
        ],
    )


def measure_nights(folder: Path, events: int) -> None:
    """A night of new events on a small and on a ten times larger history."""
    nights.measure(folder, small=events, factor=10)


MEASUREMENTS: dict[str, Callable[[Path, int], None]] = {
    "load": measure_load,
    "dictionaries": measure_dictionaries,
    "limits": measure_limits,
    "nights": measure_nights,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", default=list(MEASUREMENTS), help=", ".join(MEASUREMENTS))
    parser.add_argument("--events", type=int, default=1_000_000, help="size of the history (default: 1,000,000)")
    arguments = parser.parse_args()
    for name in arguments.names:
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            MEASUREMENTS[name](Path(folder), arguments.events)


if __name__ == "__main__":
    main()
