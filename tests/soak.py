"""Random nights for as long as wanted: `python -m tests.soak --nights 200 --seed 7`, or `make soak N=200 SEED=7`.

Lives of a few nights each, every one with its own seed, held against the truth as `nights.py` says. Ends with what they
went through; at the first difference it stops, exits with 1, keeps that life's files and says how to live it again.
"""

# ruff: noqa: T201  (a command: what it prints is its result)

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parent))  # as pytest does

from nights import Life, Tally


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--nights", type=int, default=20, help="at least so many in all")
    parser.add_argument("--seed", type=int, default=1, help="of the first life; the next ones follow")
    arguments = parser.parse_args()
    total, seed, started = Tally(), arguments.seed, time.monotonic()
    while total.nights < arguments.nights:
        nights = min(Random(f"{seed}/length").randrange(6, 15), max(3, arguments.nights - total.nights))
        folder = Path(tempfile.mkdtemp(prefix=f"life-{seed}-"))
        life = Life(seed, folder, nights)
        try:
            life.live()
        except Exception:
            traceback.print_exc()
            print(f"\nLife {seed} went wrong. Its files are in {folder}; it began as {life.behaviour}.")
            print(f"Live it again: python -m tests.soak --nights {nights} --seed {seed}")
            return 1
        finally:
            total.add(life.tally)
        shutil.rmtree(folder)
        minutes = (time.monotonic() - started) / 60
        print(
            f"life {seed}: {life.tally}\n  {total.nights} of {arguments.nights} nights, {minutes:.1f} minutes",
            flush=True,
        )
        seed += 1
    print(f"All lives held: {total}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
