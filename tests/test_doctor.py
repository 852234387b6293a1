"""`chargeback doctor`: every check finds what it is for, says what to do, and shows no key and no e-mail."""

from __future__ import annotations

import json
import os
import re
import shutil
import tomllib
from collections import namedtuple
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import pytest
from hand_made import HandMadeApi
from http_script import KEY
from nights import Installation

from pipelines.config import Settings, TeamSettings
from pipelines.cursor_admin.settings import ALLOWED_READS
from pipelines.doctor import access, machine, warehouse
from pipelines.doctor.company import check_seeds
from pipelines.doctor.configuration import KNOWN_SETTINGS, Configuration, read_configuration
from pipelines.doctor.findings import FAILING, HINT, LEVELS, OK, WARNING, Finding, as_json, is_well
from pipelines.doctor.warehouse import Known
from pipelines.paths import PROJECT_DIR, DataPaths, data_paths
from pipelines.runs import run_lock
from pipelines.seeds import create_missing_seeds
from pipelines.simulator import Behaviour, Fault, Organisation, SimulatorServer

EMAIL = re.compile(r"[\w.+'-]+@[\w-]+\.[\w.-]+")
NOW = datetime(2026, 11, 16, 2, tzinfo=UTC)


def doctor(place: Installation, *arguments: str) -> tuple[int, list[Finding]]:
    """Exit code and findings; whatever it prints holds no key and no e-mail."""
    outcome = place.command("doctor", "--format", "json", *arguments)
    assert outcome.stderr == ""
    assert not place.api_key or place.api_key not in outcome.stdout
    assert EMAIL.findall(outcome.stdout) == []
    document = json.loads(outcome.stdout)
    findings = [Finding(**one) for one in document["findings"]]
    assert {one.level for one in findings} <= set(LEVELS)
    assert document["is_well"] == is_well(findings) == (outcome.exit_code == 0)
    assert [one for one in findings if one.level == FAILING and not (one.advice or ". " in one.text)] == []
    return outcome.exit_code, findings


def texts(findings: list[Finding], area: str, *levels: str) -> list[str]:
    return [f"{one.text} {one.advice or ''}".strip() for one in findings if one.area == area and one.level in levels]


def write(place: Installation, sql: str) -> None:
    """What no run of ours would ever do to the warehouse."""
    with duckdb.connect(str(place.paths.warehouse)) as connection:
        connection.execute(sql)


def team_of(server: SimulatorServer, api_key: str | None = None) -> TeamSettings:
    return TeamSettings("acme", api_key or server.api_key, server.base_url, None, 3, 0, False, 60.0)


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


# --- key and access ---------------------------------------------------------------------------------------------------


def test_a_refused_key_is_said_once_and_nothing_more_is_asked(tonight: Installation) -> None:
    tonight.api_key = "crsr_" + "0" * 64
    exit_code, findings = doctor(tonight)
    assert exit_code == 1
    refused = texts(findings, "access", FAILING)
    assert len(refused) == 1
    assert refused[0].startswith("default: POST /teams/filtered-usage-events is refused (401)")
    assert "Set api_key under [sources.cursor_admin]" in refused[0]
    assert "the other routes were not asked" in texts(findings, "access", HINT)[-1]


def test_a_plan_without_groups_is_a_hint_unless_they_used_to_answer() -> None:
    organisation = Organisation.invent(seed=3, people=4, behaviour=Behaviour(plan="teams"))
    with SimulatorServer(organisation, now=NOW, rate_limited=False) as server:
        known = Known()
        new = list(access.check_access(team_of(server), known, NOW.date()))
        known.answered = {("acme", "billing_groups")}
        old = list(access.check_access(team_of(server), known, NOW.date()))
    refused = "acme: GET /teams/groups is refused (403): no billing groups, so everybody is in Unassigned"
    assert refused in [one.text for one in new if one.level == HINT]
    assert is_well(new)
    assert [one.text for one in old if one.level == FAILING] == [f"{refused}; it used to answer, so the next run fails"]


def test_a_key_without_the_scope_is_told_from_one_that_does_not_exist() -> None:
    organisation = Organisation.invent(seed=3, people=4, behaviour=Behaviour(scope_error=403))
    with SimulatorServer(organisation, now=NOW, rate_limited=False) as server:
        found = list(access.check_access(team_of(server, organisation.limited_key), Known(), NOW.date()))
    assert found[0] == Finding(OK, "access", "acme: GET /v1/me answers")
    assert (found[1].level, "missing the required scope" in (found[1].advice or "")) == (FAILING, True)


def test_an_answer_in_an_unknown_shape_warns_and_fails_for_what_no_run_works_without() -> None:
    organisation = Organisation.invent(seed=3, people=4)
    with SimulatorServer(organisation, now=NOW, rate_limited=False) as server:
        server.faults = [
            Fault("/teams/spend", "missing_key", times=None, key="teamMemberSpend"),
            Fault("/teams/members", "missing_key", times=None, key="teamMembers"),
        ]
        found = list(access.check_access(team_of(server), Known(), NOW.date()))
    levels = {one.text.split()[2]: one.level for one in found if one.level != OK and one.area == "access"}
    assert levels["/teams/spend"] == WARNING
    assert levels["/teams/members"] == FAILING


def test_every_request_is_the_smallest_there_is() -> None:
    organisation = Organisation.invent(seed=3, people=4)
    with SimulatorServer(organisation, now=NOW, rate_limited=True) as server:
        list(access.check_access(team_of(server), Known(), NOW.date()))
        sizes = [int({**one.query, **one.body}.get("pageSize", 1)) for one in server.requests]
        assert set(sizes) == {1}
        assert len(server.requests) == len(access.ROUTES) - 1  # the organisation's key is not set
        assert server.throttled_count == 0


def test_an_address_where_nobody_answers_is_not_asked_thirteen_times(tmp_path: Path) -> None:
    with HandMadeApi() as api:
        gone = TeamSettings("acme", KEY, api.server.base_url, None, 3, 0, False, 60.0)
    seconds = access.SECONDS_PER_REQUEST
    access.SECONDS_PER_REQUEST = 0.2
    try:
        found = list(access.check_access(gone, Known(), NOW.date()))
    finally:
        access.SECONDS_PER_REQUEST = seconds
    assert [one.level for one in found] == [WARNING, FAILING, HINT]
    assert "the connection was refused" in (found[1].advice or "")


@pytest.mark.parametrize(
    ("skew", "level"),
    [
        (timedelta(seconds=119), OK),
        (timedelta(seconds=-121), WARNING),
        (timedelta(minutes=59), WARNING),
        (timedelta(hours=-1), FAILING),
    ],
)
def test_two_minutes_of_clock_skew_warn_and_an_hour_fails(skew: timedelta, level: str) -> None:
    assert access.check_clock(skew, is_loopback=False).level == level
    assert access.check_clock(skew, is_loopback=True).level in (OK, HINT)


# --- seeds ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def company_folder(tmp_path: Path) -> Configuration:
    paths = data_paths(tmp_path / "data")
    create_missing_seeds(paths)
    return Configuration(paths, Settings(paths, "enterprise", 36, "https://api.cursor.com"))


def add(found: Configuration, name: str, *lines: str) -> None:
    path = found.paths.seeds_dir / f"{name}.csv"
    path.write_text(path.read_text() + "".join(f"{line}\n" for line in lines))


KNOWN = Known(True, {"acme"}, {"group_search"}, {"ada@example.com"}, {"sa_1", "sa_2"})


def test_seed_rows_that_name_nothing_cursor_knows_are_warned_about(company_folder: Configuration) -> None:
    add(company_folder, "seat_types", ",ADA@example.com,standard,", ",bob@example.com,standard,")
    add(company_folder, "billing_groups", ",group_search,CC-1,,", ",group_serach,CC-2,,")
    add(company_folder, "service_accounts", ",sa_1,ci,,,,group_search,,,")
    add(
        company_folder,
        "budgets",
        ",2026-11-01,billing_group,group_gone,10",
        ",2026-11-01,billing_group,unattributed,10",
        ",2026-11-01,service_account,sa_1,10",
        ",2026-11-01,service_account,sa_3,10",
    )
    found = list(check_seeds(company_folder, KNOWN))
    assert [text.split(":")[0] for text in texts(found, "seeds", WARNING)] == [
        "billing_groups.csv, line 3, column billing_group_id",
        "seat_types.csv, line 3, column user_email",
        "budgets.csv, line 2, column owner_id",
        "budgets.csv, line 5, column owner_id",
    ]
    assert texts(found, "seeds", HINT) == [
        "1 service accounts with usage are not in service_accounts.csv: sa_2 "
        "Their cost stays in Unassigned until a row gives each a billing group."
    ]


def test_seed_files_that_cannot_be_used_fail_line_by_line(company_folder: Configuration) -> None:
    (company_folder.paths.seeds_dir / "plans.csv").write_text("team,plan\n")
    add(company_folder, "seat_prices", ",standard,cheap,")
    found = texts(list(check_seeds(company_folder, KNOWN)), "seeds", *LEVELS)
    assert [text.split(":")[0].split(" in ")[0] for text in found] == ["plans.csv", "seat_prices.csv"]


def test_a_team_without_a_plan_fails_and_missing_files_are_a_hint(company_folder: Configuration) -> None:
    company_folder.settings = None
    (company_folder.paths.seeds_dir / "budgets.csv").unlink()
    found = list(check_seeds(company_folder, KNOWN))
    assert texts(found, "seeds", FAILING)[0].startswith("No plan is set for team acme")
    assert texts(found, "seeds", HINT)[0].endswith("yet: budgets.csv The next run makes them, with their headers.")
    add(company_folder, "plans", "acme,enterprise,,")
    assert texts(list(check_seeds(company_folder, KNOWN)), "seeds", FAILING) == []


# --- the two files ----------------------------------------------------------------------------------------------------

SPOILED = {
    "delete from raw.usage_events where rowid in (select min(rowid) from raw.usage_events)": (
        "raw.load_windows and its rows disagree: usage_events",
    ),
    "insert into raw.members select * from raw.members limit 1": ("raw.snapshot_reads and its rows disagree: members",),
    "delete from raw.audit_events": ("raw.stream_reads and its rows disagree: audit_logs",),
    "insert into raw.load_windows select * from raw.load_windows limit 1": (
        "raw.load_windows and its rows disagree: the read",
        "reads that bear the same number: ",
    ),
    "alter table raw.members drop column role": ("other columns than declared in members",),
    "drop table raw.load_windows": ("lacks our raw tables",),
}


@pytest.mark.parametrize("sql", SPOILED)
def test_a_warehouse_that_does_not_hold_what_its_ledger_says_fails(tonight: Installation, sql: str) -> None:
    write(tonight, sql)
    exit_code, findings = doctor(tonight)
    failing = texts(findings, "warehouse", FAILING)
    assert exit_code == 1
    assert len(failing) == len(SPOILED[sql])
    for text, wanted in zip(failing, SPOILED[sql], strict=True):
        assert wanted in text


def test_a_warehouse_of_an_earlier_version_is_told_from_a_damaged_one(tonight: Installation) -> None:
    write(tonight, "drop table raw.ai_commits")
    exit_code, findings = doctor(tonight)
    assert exit_code == 0
    assert texts(findings, "warehouse", HINT) == [
        "of an earlier version: lacks ai_commits The next run adds them, empty."
    ]


def test_a_closed_month_that_somebody_edited_fails(tonight: Installation) -> None:
    write(
        tonight,
        "insert into raw.closed_months (team, charge_month, close_id, daily_line_count, monthly_line_count, "
        "lines_sha256) values ('default', '2026-10-01', 'close-1', 1, 1, 'x')",
    )
    _, findings = doctor(tonight)
    assert texts(findings, "warehouse", FAILING)[0].startswith(
        "The close ledger of team default was changed for 2026-10"
    )


def test_a_file_that_is_no_database_fails(tonight: Installation) -> None:
    for path in (tonight.paths.warehouse, tonight.paths.published):
        path.chmod(0o600)
        path.write_bytes(b"no database at all, and long enough for a header" * 200)
    _, findings = doctor(tonight)
    assert "is not a DuckDB file" in texts(findings, "warehouse", FAILING)[0]
    assert "is not a DuckDB file" in texts(findings, "published", FAILING)[0]


def test_a_published_file_with_a_spoiled_block_fails_wherever_the_block_lies(tonight: Installation) -> None:
    path = tonight.paths.published
    path.chmod(0o600)
    sound = path.read_bytes()
    told = []
    for offset in range(16_384, len(sound), 262_144):  # a byte in each block behind the headers
        path.write_bytes(sound[:offset] + bytes([sound[offset] ^ 0xFF]) + sound[offset + 1 :])
        told += texts(list(warehouse.check_published(tonight.paths)), "published", FAILING)
    assert len(told) > 3  # of a free block nobody reads the checksum
    assert sum("cannot be read to its end" in text for text in told) > 1
    path.write_bytes(sound)
    assert texts(list(warehouse.check_published(tonight.paths)), "published", FAILING) == []


def test_a_published_file_that_no_run_made_fails(tonight: Installation) -> None:
    lines = tonight.paths.runs.read_text().splitlines()
    last = json.loads(lines[-1]) | {"run_id": "20261117T020000-other"}
    tonight.paths.runs.write_text("\n".join([*lines, json.dumps(last)]) + "\n")
    _, findings = doctor(tonight)
    assert "but the last run that published was 20261117T020000-other" in texts(findings, "published", FAILING)[0]
    tonight.paths.runs.unlink()
    _, findings = doctor(tonight)
    assert "knows of no run that published" in texts(findings, "published", WARNING)[0]


def test_a_published_file_that_is_gone_fails_and_a_log_beside_one_warns(tonight: Installation) -> None:
    wal = tonight.paths.published.with_name("chargeback.duckdb.wal")
    tonight.paths.published.unlink()
    wal.write_bytes(b"")
    exit_code, findings = doctor(tonight)
    assert exit_code == 1
    assert "somebody opened it for writing" in texts(findings, "published", WARNING)[0]
    assert texts(findings, "published", FAILING)[0].startswith(f"{tonight.paths.published} is gone; the last run")
