"""`chargeback doctor`: every check finds what it is for, says what to do, and shows no key and no e-mail."""

from __future__ import annotations

import json
import os
import re
import shutil
import tomllib
from collections import namedtuple
from datetime import date
from pathlib import Path

import pytest
from doctor_findings import EMAIL, doctor, texts
from nights import Installation

from pipelines.cursor_admin.settings import ALLOWED_READS
from pipelines.doctor import access, machine, warehouse
from pipelines.doctor.configuration import KNOWN_SETTINGS, read_configuration
from pipelines.doctor.findings import FAILING, HINT, LEVELS, OK, WARNING, Finding, as_json
from pipelines.paths import PROJECT_DIR, DataPaths, data_paths
from pipelines.runs import run_lock

# --- the whole --------------------------------------------------------------------------------------------------------


def test_a_sound_installation_is_well_in_every_area(tonight: Installation) -> None:
    tonight.folder.chmod(0o700)
    exit_code, findings = doctor(tonight)
    assert exit_code == 0
    areas = {"versions", "settings", "permissions", "disk", "warehouse", "published", "access", "clock", "seeds"}
    assert {one.area for one in findings} == areas
    asked = [one.text for one in findings if one.area == "access"]
    assert [text.split()[2].rstrip(":") for text in asked] == [route.path for route in access.ROUTES]
    assert tonight.command("doctor").stdout.splitlines()[-1].endswith("warning")


def test_every_route_that_may_be_read_is_tried() -> None:
    tried = sorted((route.method, route.path) for route in access.ROUTES)
    assert tried == sorted((read.method, read.path) for read in ALLOWED_READS)


def test_before_the_first_run_and_without_a_key_everything_else_is_still_looked_at(tmp_path: Path) -> None:
    place = Installation(tmp_path / "none", "https://api.cursor.com", "", date(2026, 11, 1))
    exit_code, findings = doctor(place)
    assert exit_code == 1
    assert any(text.startswith("No API key. Set api_key") for text in texts(findings, "settings", FAILING))
    assert any("No plan is set for team default" in text for text in texts(findings, "seeds", FAILING))
    assert texts(findings, "access", *LEVELS) == []
    for area in ("warehouse", "published"):
        assert len(texts(findings, area, HINT)) == 1
    assert not (tmp_path / "none").exists()


def test_a_probe_without_a_key_says_so(tmp_path: Path) -> None:
    _, findings = doctor(Installation(tmp_path / "none", "https://api.cursor.com", "", date(2026, 11, 1)), "--probe")
    assert texts(findings, "probe", FAILING) == ["nobody was asked: there is no key Set one, then probe again."]


def test_during_a_run_the_warehouse_is_left_alone_and_no_lock_is_taken(tonight: Installation) -> None:
    with run_lock(tonight.paths, "run"):
        _, findings = doctor(tonight)
    assert "`chargeback run` (process" in texts(findings, "warehouse", HINT)[0]
    assert texts(findings, "warehouse", OK, WARNING, FAILING) == []
    assert len(texts(findings, "published", OK)) == 1  # what the last run says may be half a step ahead or behind


def test_a_failed_run_that_left_its_name_in_the_lock_file_is_not_taken_for_a_run(tonight: Installation) -> None:
    tonight.paths.lock.write_text(json.dumps({"pid": os.getpid(), "command": "run", "since": "2026-11-16T02:00:00Z"}))
    assert warehouse.running(tonight.paths) is None  # runs.jsonl tells of its end


def test_what_an_answer_or_a_file_holds_is_shown_without_addresses() -> None:
    shown = as_json([Finding(WARNING, "seeds", "budgets.csv: 'ada@example.com'\x1b[2J", "ask bob@example.com")])
    assert EMAIL.findall(shown) == []
    assert json.loads(shown)["findings"][0]["text"] == "budgets.csv: '[e-mail]' [2J"


# --- settings ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def dotdlt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An own folder for `config.toml` and `secrets.toml`."""
    for name in [name for name in os.environ if name.startswith(("CHARGEBACK__", "SOURCES__"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("DLT_PROJECT_DIR", str(tmp_path))
    monkeypatch.setenv("CHARGEBACK__DATA_DIR", str(tmp_path / "data"))
    (tmp_path / ".dlt").mkdir()
    return tmp_path / ".dlt"


def test_a_setting_that_nobody_reads_is_named_with_what_was_meant(
    dotdlt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (dotdlt / "config.toml").write_text(
        '[sources.cursor_admin]\nlookback_day = 3\napi_key = "x"\n[chargeback]\nhold_seats_after_removal = "ture"\n'
    )
    monkeypatch.setenv("CHARGEBACK__STALE_HOUR", "3")
    monkeypatch.setenv("SOURCES__CURSOR_ADMIN__TEAMS__SEARCH__API_KEYS", "3")
    found = texts(read_configuration()[1], "settings", WARNING)
    file = dotdlt / "config.toml"
    assert found == [
        f"nothing reads lookback_day under [sources.cursor_admin] in {file} Did you mean lookback_days?",
        f"the key stands in {file}, which is meant to be shared "
        "Move it to .dlt/secrets.toml, which is never committed.",
        f"hold_seats_after_removal under [chargeback] in {file} is neither true nor false, and counts as false "
        "Write true or false.",
        "nothing reads stale_hour under [chargeback] in the environment Did you mean stale_hours?",
        "nothing reads api_keys under [sources.cursor_admin.teams.search] in the environment Did you mean api_key?",
    ]


def test_a_file_that_is_not_toml_is_named_and_nothing_of_the_secrets_is_quoted(dotdlt: Path) -> None:
    (dotdlt / "config.toml").write_text("[chargeback\n")
    (dotdlt / "secrets.toml").write_text('api_key = "crsr_secret\n')
    found = texts(read_configuration()[1], "settings", FAILING)
    assert [text.split(" cannot ")[0] for text in found] == [str(dotdlt / "config.toml"), str(dotdlt / "secrets.toml")]
    assert "line 1" in found[0]
    assert "crsr" not in found[1]


def test_a_value_that_cannot_be_used_fails_and_the_files_are_found_all_the_same(
    dotdlt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHARGEBACK__PLAN", "free")
    monkeypatch.setenv("SOURCES__CURSOR_ADMIN__API_KEY", "crsr_x")
    monkeypatch.setenv("SOURCES__CURSOR_ADMIN__LOOKBACK_DAYS", "many")
    found, findings = read_configuration()
    assert [text.split(",")[0] for text in texts(findings, "settings", FAILING)] == [
        "CHARGEBACK__PLAN must be one of teams",
        "SOURCES__CURSOR_ADMIN__LOOKBACK_DAYS must be a whole number",
    ]
    assert (found.settings, found.teams, found.paths.data_dir) == (None, [], (dotdlt.parent / "data").resolve())


def test_the_known_settings_are_those_of_the_shipped_files() -> None:
    named: dict[str, set[str]] = {section: set() for section in KNOWN_SETTINGS}
    for file in ("config.toml", "example.secrets.toml"):
        section = ""
        for line in (PROJECT_DIR / ".dlt" / file).read_text().splitlines():
            if header := re.fullmatch(r"(?:# )?\[([\w.]+)]\s*(?:#.*)?", line):
                section = header[1]
            elif (setting := re.match(r"(?:# )?(\w+) = ", line)) and section in named:
                named[section].add(setting[1])
    assert {section: set(keys) - {"teams"} for section, keys in KNOWN_SETTINGS.items()} == named


# --- the machine ------------------------------------------------------------------------------------------------------


def test_versions_are_held_against_their_pins(tmp_path: Path) -> None:
    shutil.copy(PROJECT_DIR / "pyproject.toml", tmp_path)
    shutil.copy(PROJECT_DIR / "requirements.lock", tmp_path)
    assert [one.level for one in machine.check_versions(tmp_path)] == [OK]
    project = tmp_path / "pyproject.toml"
    changed = project.read_text().replace('"duckdb==1.5.5"', '"duckdb==1.4.0"').replace('version = "0', 'version = "9')
    project.write_text(changed.replace('requires-python = ">=3.11,<3.14"', 'requires-python = ">=3.99"'))
    lock = tmp_path / "requirements.lock"
    lock.write_text(re.sub(r"^click==\S+", "click==0.1", lock.read_text(), flags=re.M))
    wanted, locked, own = machine.check_versions(tmp_path)
    assert (wanted.level, locked.level, own.level) == (FAILING, WARNING, WARNING)
    assert "where >=3.99 is wanted; duckdb 1.5.5, where ==1.4.0 is wanted" in wanted.text
    assert re.fullmatch(r"not as in requirements.lock: click \S+ \(locked: ==0.1\)", locked.text)
    version = tomllib.loads((PROJECT_DIR / "pyproject.toml").read_text())["project"]["version"]
    assert own.text == f"cursor-chargeback is installed as {version}, the code is 9{version[1:]}"


def permissions(paths: DataPaths, secrets: Path) -> list[tuple[str, str]]:
    return [(one.level, one.text) for one in machine.check_permissions(paths, secrets)]


def test_whoever_could_read_the_key_or_the_data_is_named(tmp_path: Path) -> None:
    paths, secrets = data_paths(tmp_path / "data"), tmp_path / "secrets.toml"
    assert [level for level, _ in permissions(paths, secrets)] == [OK]
    paths.logs_dir.mkdir(parents=True, mode=0o700)
    paths.data_dir.chmod(0o700)
    for path, mode in ((secrets, 0o600), (paths.warehouse, 0o600), (paths.published, 0o444)):
        path.touch()
        path.chmod(mode)
    assert [level for level, _ in permissions(paths, secrets)] == [OK]
    secrets.chmod(0o640)
    paths.data_dir.chmod(0o755)
    (paths.logs_dir / "one.log").touch()
    (paths.logs_dir / "one.log").chmod(0o604)
    paths.warehouse.chmod(0o660)
    paths.published.chmod(0o644)
    assert permissions(paths, secrets) == [
        (FAILING, f"{secrets} holds the key, and other users can read it"),
        (FAILING, f"the data folder {paths.data_dir} is open to other users"),
        (WARNING, "private files that others could read: warehouse.duckdb, logs/one.log"),
        (WARNING, f"{paths.published} has mode 0644: whoever opens it for writing spoils it"),
    ]


@pytest.mark.parametrize(("free", "level"), [(2_999, FAILING), (3_000, WARNING), (7_000, WARNING), (8_000, OK)])
def test_a_night_needs_twice_the_published_file_and_the_warehouse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, level: str
) -> None:
    usage = namedtuple("usage", "total used free")  # as shutil answers
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(0, 0, free))
    paths = data_paths(tmp_path)
    paths.published.write_bytes(bytes(3_000))
    paths.warehouse.write_bytes(bytes(2_000))
    assert [one.level for one in machine.check_disk(paths)] == [level]
