"""Runs dbt in a process of its own, which ends with the one that started it: `python -m pipelines.dbt_process build`.

A dbt that outlived a killed run would go on writing to the warehouse while the next run reads it. Its standard input
is a pipe that only the run holds open, and the operating system closes it however the run ends.
"""

from __future__ import annotations

import os
import threading


def _end_with_parent() -> None:
    while os.read(0, 1):
        pass
    os._exit(70)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    from dbt.cli.main import cli

    cli(prog_name="dbt")
