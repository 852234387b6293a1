"""What the README shows, taken from a demo that has just run. `python -m tests.readme` writes the outputs anew.

An output is the table after an SQL block, or the block after a line `<!-- output of: … -->`.
"""

from __future__ import annotations

import contextlib
import json
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import requests

from pipelines.demo import DEMO_NOW, run_demo
from pipelines.paths import PROJECT_DIR, DataPaths, data_paths
from pipelines.report import as_text, read_report
from pipelines.simulator import Organisation, SimulatorServer

README = PROJECT_DIR / "README.md"
BLOCK = re.compile(r"(?:^<!-- output of: (?P<output>.+?) -->\n)?^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.M | re.S)
TABLE = re.compile(r"\n\n(?P<table>(?:\|.*\n)+)")


@dataclass(frozen=True)
class Block:
    """A fenced block and where its text lies; `output` names what it shows, null when somebody wrote it."""

    language: str
    text: str
    start: int
    end: int
    output: str | None


def blocks(text: str) -> list[Block]:
    """All fenced blocks, in order."""
    return [
        Block(found["language"], found["text"], found.start("text"), found.end("text"), found["output"])
        for found in BLOCK.finditer(text)
    ]


@contextlib.contextmanager
def inside(folder: Path) -> Iterator[DataPaths]:
    """In a working folder whose `data/demo/` the demo has left, with its file also where a real run publishes it."""
    paths = data_paths(folder / "data" / "demo")
    (folder / "data" / "chargeback.duckdb").symlink_to(paths.published)
    with contextlib.chdir(folder):
        yield paths


def rewritten(text: str, paths: DataPaths) -> str:
    """The README with every output as the demo of `paths` gives it; the working folder must be that demo's."""
    connection = duckdb.connect(str(paths.published), read_only=True)
    pieces, position = [], 0
    try:
        for block in blocks(text):
            if block.output is not None:
                pieces += [text[position : block.start], _output(block.output, paths, connection)]
                position = block.end
            elif block.language == "sql":
                if "attach '" in block.text:  # as a reader does, who starts the command line without a file
                    connection.close()
                    connection = duckdb.connect()
                found = connection.execute(block.text)
                if shown := TABLE.match(text, block.end + len("```")):
                    pieces += [text[position : shown.start("table")], _table(found)]
                    position = shown.end("table")
    finally:
        connection.close()
    return "".join([*pieces, text[position:]])


def _output(name: str, paths: DataPaths, connection: duckdb.DuckDBPyConnection) -> str:
    if month := re.fullmatch(r"chargeback report --month (\d{4}-\d{2})", name):
        text = as_text(read_report(paths, datetime.fromisoformat(f"{month[1]}-01").date()))
        return re.sub(r"[ \t]+$", "", text, flags=re.M)
    assert name == "the followed event as the API sends it", name
    return json.dumps(_followed_event(connection), indent=2) + "\n"


def _followed_event(connection: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """The one event of the simulator that became the row `followed`."""
    row = connection.execute("select epoch_ms(occurred_at), user_email, charged_cents from followed").fetchone()
    assert row is not None, "no event meets the README's condition: follow another one"
    at, user_email, cents = row
    with (
        SimulatorServer(Organisation.invent(), now=DEMO_NOW, rate_limited=False) as server,
        requests.Session() as session,
    ):
        session.trust_env = False
        answer = session.post(
            f"{server.base_url}/teams/filtered-usage-events",
            json={"startDate": at, "endDate": at, "page": 1, "pageSize": 1000},
            auth=(server.api_key, ""),
            timeout=10,
        )
    events = [
        event
        for event in answer.json()["usageEvents"]
        if event.get("userEmail") == user_email and event.get("chargedCents") == float(cents)
    ]
    assert len(events) == 1
    return dict(events[0])


def _table(found: duckdb.DuckDBPyConnection) -> str:
    names = [column[0] for column in found.description]
    rows = [[_cell(value) for value in row] for row in found.fetchall()]
    assert rows, f"no row of {', '.join(names)}"
    lines = [names, ["---"] * len(names), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines).replace("| --- ", "|---").replace("|--- |", "|---|")


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime) and value.microsecond:
        return value.isoformat(" ", "milliseconds")
    return str(value).replace("|", "\\|")


def main() -> None:
    """Run the demo in a temporary folder and rewrite README.md."""
    text = README.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        run_demo(data_paths(folder / "data" / "demo"))
        with inside(folder) as paths:
            new_text = rewritten(text, paths)
    README.write_text(new_text, encoding="utf-8")


if __name__ == "__main__":
    main()
