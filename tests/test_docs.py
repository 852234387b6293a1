"""The README against what is there: it names what exists, leaves nothing out, and shows what comes out."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from pipelines import cli
from pipelines.config import SOURCE, TEAM_SETTINGS, setting_name
from pipelines.cursor_admin.settings import ALLOWED_READS
from pipelines.paths import PROJECT_DIR, DataPaths
from pipelines.runs import run_lock
from pipelines.seeds import SEEDS
from tests.readme import README, blocks, inside, rewritten

TEXT = README.read_text(encoding="utf-8")
BLOCKS = blocks(TEXT)
COMMANDS = cli.cli.commands
ROOTS = (".ci/", ".dlt/", "bench/", "dbt_project/", "models/", "pipelines/", "tests/")


def section(title: str) -> str:
    return TEXT.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def rows(text: str) -> list[list[str]]:
    """The cells of all table rows, without headings."""
    lines = re.findall(r"^\|(.+)\|$", text, flags=re.M)
    found = [[cell.strip() for cell in line.split(" | ")] for line in lines]
    return [row for row, following in zip(found, [*found[1:], [""]], strict=True) if "---" not in row[0] + following[0]]


def block(language: str, number: int = 0) -> str:
    return [one.text for one in BLOCKS if one.language == language][number]


def config_settings() -> dict[str, str | None]:
    """Every setting of .dlt/config.toml under its environment name, those commented out with no default."""
    path = PROJECT_DIR / ".dlt" / "config.toml"
    given = tomllib.loads(path.read_text())
    settings: dict[str, str | None] = {}
    names = ""
    for line in path.read_text().splitlines():
        if header := re.fullmatch(r"\[([\w.]+)]", line):
            names = header[1]
        elif found := re.match(r"(# )?(\w+) = ", line):
            values = given
            for name in names.split("."):
                values = values[name]
            value = values.get(found[2])
            shown = str(value).lower() if isinstance(value, bool) else str(value)
            settings[f"{names}.{found[2]}".upper().replace(".", "__")] = None if found[1] else shown
    return settings


@pytest.fixture(scope="module")
def demo(demo_data: DataPaths) -> Iterator[DataPaths]:
    with inside(demo_data.data_dir.parents[1]) as paths:
        yield paths


# --- what it shows ----------------------------------------------------------------------------------------------------


def test_every_output_is_what_the_demo_gives_and_the_followed_cent_arrives(demo: DataPaths) -> None:
    assert rewritten(TEXT, demo) == TEXT, "write the outputs anew with: .venv/bin/python -m tests.readme"


def test_the_followed_event_costs_what_its_parts_come_to() -> None:
    table = next(row for row in rows(section("How a cent travels from event to bill")) if "@" in row[1])
    *_, charged, worked_out = table
    assert charged == worked_out
    assert json.loads(block("json"))["chargedCents"] == float(charged)


@pytest.mark.parametrize("number", range(sum(one.language == "python" for one in BLOCKS)))
def test_every_python_block_runs(number: int, demo: DataPaths, capsys: pytest.CaptureFixture[str]) -> None:
    code = block("python", number)
    modules = {node.module for node in ast.walk(ast.parse(code)) if isinstance(node, ast.ImportFrom)}
    missing = [name for name in modules if name and importlib.util.find_spec(name.split(".")[0]) is None]
    if missing:
        pytest.skip(f"2026-11: {', '.join(missing)}: a reader's tool, not among the locked packages")
    exec(compile(code, f"README.md, Python block {number + 1}", "exec"), {})


# --- what it names ----------------------------------------------------------------------------------------------------


def test_every_command_and_option_is_in_the_table_of_commands_and_nothing_else_is() -> None:
    table = {row[0].strip("`").removeprefix("chargeback "): row for row in rows(section("Commands")) if "`" in row[0]}
    assert table.keys() == COMMANDS.keys()
    for name, row in table.items():
        options = {
            option
            for parameter in COMMANDS[name].params
            if isinstance(parameter, click.Option)
            for option in parameter.opts
        }
        assert set(re.findall(r"--[a-z-]+", row[1])) == options, name


def test_exit_codes_are_those_of_the_command_line() -> None:
    codes = [int(row[0]) for row in rows(section("Commands")) if row[0].isdigit()]
    assert codes == [cli.OK, cli.FAILED, cli.WRONG_USE, cli.LOCKED]


def test_every_command_line_shown_can_be_parsed() -> None:
    shown = re.findall(r'\.venv/bin/chargeback"? ([^&`#\n]+)', TEXT)
    assert len(shown) > 5
    for line in shown:
        name, *arguments = shlex.split(line)
        COMMANDS[name].make_context(name, arguments)  # raises for what does not exist


def test_every_make_target_named_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (PROJECT_DIR / "Makefile").read_text(), flags=re.M))
    named = set(re.findall(r"(?:`|^)make ([a-z]+)", TEXT, flags=re.M))
    assert {"demo", "test", "help", "lint"} <= named <= targets


def test_every_setting_is_in_the_table_with_its_default_and_nothing_else_is() -> None:
    table = {row[0].strip("`"): row[1].strip("`") for row in rows(section("Settings")) if "__" in row[0]}
    settings = config_settings()
    # a secret has no place in config.toml
    keys = {"SOURCES__CURSOR_ADMIN__API_KEY", "SOURCES__CURSOR_ADMIN__ORGANIZATION_API_KEY"}
    assert table.keys() == {*keys, *settings}
    given = {name: value for name, value in settings.items() if value is not None}
    assert {name: table[name] for name in given} == given
    source = (PROJECT_DIR / "pipelines" / "config.py").read_text()
    read = {name.upper().replace(".", "__") for name in re.findall(r'_get\("([\w.]+)"', source)}
    read |= {f"{setting_name(SOURCE)}__{name.upper()}" for name in TEAM_SETTINGS}
    assert read == {name for name in table if not name.startswith("RUNTIME__")}


def test_every_published_table_is_described_and_nothing_else_is() -> None:
    contract = json.loads((PROJECT_DIR / "tests" / "contract.json").read_text())
    described = [row[0].strip("`") for row in rows(section("What each table holds"))]
    assert sorted(described) == sorted(contract)


def test_every_seed_file_is_shown_with_its_columns() -> None:
    shown = {row[0].strip("`"): row[1].strip("`") for row in rows(section("Settings")) if row[0].endswith(".csv`")}
    columns = {f"{name}.csv": ", ".join(column.name for column in seed) for name, seed in SEEDS.items()}
    assert shown == columns


@pytest.mark.parametrize("page", ["README.md", "dbt_project/README.md", "pipelines/cursor_admin/README.md"])
def test_every_file_that_is_linked_or_named_exists(page: str) -> None:
    text = (PROJECT_DIR / page).read_text(encoding="utf-8")
    folder = (PROJECT_DIR / page).parent
    links = [link for link in re.findall(r"]\(([^)#]+)[^)]*\)", text) if "://" not in link]
    named = [name for name in re.findall(r"`([\w./-]+)`", text) if name.startswith(ROOTS)]
    missing = [link for link in links if not (folder / link).exists()]
    missing += [name for name in named if not (folder / name).exists() and not (PROJECT_DIR / name).exists()]
    missing = [name for name in missing if name != ".dlt/secrets.toml"]  # written by the reader
    assert missing == []


def test_the_table_of_the_source_lists_exactly_the_allowed_reads() -> None:
    text = (PROJECT_DIR / "pipelines" / "cursor_admin" / "README.md").read_text(encoding="utf-8")
    reads = sorted(re.findall(r"^\| `(\w+) ([^`?]+)[^`]*` \|", text, flags=re.M))
    assert reads == sorted((read.method, read.path) for read in ALLOWED_READS)
    assert TEXT.count("[list of the reads]") == 1


# --- what it tells people to do ---------------------------------------------------------------------------------------


def test_the_settings_block_is_all_a_run_needs(tmp_path: Path) -> None:
    (tmp_path / ".dlt").mkdir()
    (tmp_path / ".dlt" / "secrets.toml").write_text(block("toml"))
    code = (
        "from pipelines.config import load_settings, load_team_settings\n"
        "print(load_settings().plan, [(one.team, one.api_key) for one in load_team_settings()])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code],
        env={"PATH": os.defpath, "DLT_PROJECT_DIR": str(tmp_path), "HOME": str(tmp_path)},
        cwd=PROJECT_DIR,
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout == "enterprise [('default', 'crsr_your_key')]\n"


def run_by_cron(line: str, home: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """The command of a crontab line as cron starts it: sh, a bare environment, another folder, no terminal."""
    (home / "cursor-chargeback").symlink_to(PROJECT_DIR)
    *times, command = line.split(maxsplit=5)
    assert len(times) == 5
    assert "%" not in command  # cron would read a line break
    environment = {"HOME": str(home), "PATH": "/usr/bin:/bin", "DLT_PROJECT_DIR": str(home), **settings}
    return subprocess.run(["/bin/sh", "-c", command], env=environment, cwd=home, capture_output=True, text=True)


@pytest.mark.parametrize("number", [0, 1])
def test_a_cron_line_that_cannot_run_says_why_on_stderr_alone(number: int, tmp_path: Path) -> None:
    answer = run_by_cron(block("crontab", number), tmp_path, CHARGEBACK__DATA_DIR=str(tmp_path / "data"))
    assert (answer.returncode, answer.stdout) == (2, "")
    assert answer.stderr.startswith("No API key. Set api_key under [sources.cursor_admin] in .dlt/secrets.toml")


def test_a_cron_line_that_meets_another_run_exits_with_75(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    with run_lock(DataPaths(data, data / "seeds"), "run"):
        answer = run_by_cron(
            block("crontab"),
            tmp_path,
            CHARGEBACK__DATA_DIR=str(data),
            CHARGEBACK__PLAN="enterprise",
            SOURCES__CURSOR_ADMIN__API_KEY="crsr_" + "0" * 64,
        )
    assert (answer.returncode, answer.stdout) == (75, "")
    assert f"`chargeback run` (process {os.getpid()}, since " in answer.stderr
