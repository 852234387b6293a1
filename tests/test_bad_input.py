"""What people get wrong, and what machines run out of: a clear message, the right exit code, and nothing lost."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path

import duckdb
import pytest
from conftest import SECOND_NIGHT
from nights import PROJECT_DIR, Installation, Outcome, instant, last_run

NIGHT = ("--now", instant(SECOND_NIGHT))
KEY_SETTING = "api_key under [sources.cursor_admin] in .dlt/secrets.toml"
WITH_A_SMALL_DISK = """
import resource, sys
size = int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
from pipelines.cli import main
main()
"""

LEAVE_A_LARGE_LOG = """
import os, sys
import duckdb
connection = duckdb.connect(sys.argv[1])
connection.execute("set checkpoint_threshold = '1TB'")
connection.execute("create schema marts")
connection.execute("create table marts.wide as select range from range(300000)")
os._exit(0)
"""
SETTLE_ON_A_SMALL_DISK = """
import resource, sys
from pathlib import Path
from pipelines.errors import FileError
from pipelines.paths import DataPaths
from pipelines.publish import publish
from pipelines.runs import Progress

class Paths(DataPaths):
    build_file = Path(sys.argv[1])

resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    publish(Paths(Path(sys.argv[1]).parent, Path(sys.argv[1]).parent), "run-1", Progress())
except FileError as error:
    print(error)
"""


def told(place: Installation, *arguments: str, **settings: str) -> Outcome:
    """The outcome of a command that must leave the warehouse and the published file alone."""
    before = place.published_digest(), digest_of(place.paths.warehouse)
    place.more.update(settings)
    outcome = place.command(*arguments, *NIGHT)
    assert (place.published_digest(), digest_of(place.paths.warehouse)) == before
    return outcome


def digest_of(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


def test_plain_http_to_another_host_is_wrong_use(tonight):
    done = told(tonight, "run", SOURCES__CURSOR_ADMIN__BASE_URL="http://api.example.com")
    assert (done.exit_code, done.stdout) == (2, "")


@pytest.mark.parametrize("which", ["unknown", "limited"])
def test_a_key_that_is_wrong_or_lacks_the_admin_scope_is_said_so(company, tonight, which):
    key = "crsr_nobody" if which == "unknown" else company.organisation.limited_key
    done = told(tonight, "run", SOURCES__CURSOR_ADMIN__API_KEY=key)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == (
        "Cursor refused the key (401, /teams/filtered-usage-events). "
        f"Set {KEY_SETTING} to a key with the admin scope. Cursor said: Invalid API key\n"
    )


def test_a_key_that_was_copied_with_a_space_is_not_sent(company, tonight):
    asked = len(company.server.requests)
    done = told(tonight, "run", SOURCES__CURSOR_ADMIN__API_KEY="crsr_ two")
    message = (
        f"The key is empty or holds characters no key has. Set {KEY_SETTING} to the key exactly as Cursor showed it.\n"
    )
    assert done == Outcome(2, "", message)
    assert len(company.server.requests) == asked


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("http://127.0.0.1:9", "the connection was refused. Check base_url and the network"),
        ("http://localhost:99999", None),
    ],
)
def test_an_address_where_nobody_answers_is_named(tonight, address, reason):
    done = told(tonight, "run", SOURCES__CURSOR_ADMIN__BASE_URL=address)
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert reason is None or done.stderr == (
        f"Could not reach 127.0.0.1 (/teams/filtered-usage-events): {reason}; "
        "nothing was changed, the next run continues.\n"
    )


def test_dates_that_cannot_be_are_wrong_use(tonight):
    bad = told(tonight, "load", SOURCES__CURSOR_ADMIN__START_DATE="01.02.2026")
    assert bad == Outcome(
        2,
        "",
        "SOURCES__CURSOR_ADMIN__START_DATE must be a date such as 2026-08-01, not '01.02.2026'. "
        "Set it in .dlt/config.toml.\n",
    )
    later = tonight.command("load", "--since", "2027-01-01", *NIGHT)
    assert later.exit_code == 2


def no_database(place: Installation, path: Path) -> None:
    path.unlink()
    path.write_bytes(b"no database" * 1000)


def another_database(place: Installation, path: Path) -> None:
    path.unlink()
    with duckdb.connect(str(path)) as connection:
        connection.execute("create table thesis as select 1 as chapter")


@pytest.mark.parametrize(
    ("which", "spoil", "message"),
    [
        ("warehouse", no_database, "is not a DuckDB file that can be read"),
        (
            "warehouse",
            another_database,
            "is a DuckDB file of something else. Move it away, or set CHARGEBACK__DATA_DIR",
        ),
        ("published", no_database, "is not a DuckDB file that can be read"),
        ("published", another_database, "is a DuckDB file, but not one that this pipeline published"),
    ],
)
def test_a_file_that_is_not_ours_is_named_and_left_as_it_is(tonight, which, spoil, message):
    path: Path = getattr(tonight.paths, which)
    spoil(tonight, path)
    before = path.read_bytes()
    done = tonight.command("run", *NIGHT)
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert f"{path} {message}" in done.stderr
    assert path.read_bytes() == before
    assert tonight.command("status").exit_code == 1


@pytest.mark.parametrize("folder", ["logs", ".build"])
def test_a_file_where_a_folder_is_needed_is_named(tonight, folder):
    path = tonight.folder / folder
    shutil.rmtree(path)
    path.write_text("in the way")
    done = told(tonight, "run")
    message = f"{path} is a file where a folder is needed. Move it away, or set CHARGEBACK__DATA_DIR.\n"
    assert done == Outcome(1, "", message)


@pytest.mark.skipif(os.name != "posix", reason="2026-11: needs limits of the operating system")
@pytest.mark.parametrize("phase", ["loading", "building"])
def test_a_full_disk_loses_nothing_and_the_next_run_goes_on(tonight, phase):
    size = 4096 if phase == "loading" else tonight.paths.warehouse.stat().st_size // 20
    before = tonight.published_digest()
    command = [sys.executable, "-c", WITH_A_SMALL_DISK, str(size), "load" if phase == "loading" else "build", *NIGHT]
    environment = os.environ | tonight.settings
    done = subprocess.run(command, cwd=PROJECT_DIR, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith(("The disk is full: ", f"Cannot write below {tonight.folder}: "))
    assert done.stderr.count("\n") == 1
    assert tonight.published_digest() == before
    assert tonight.command("load", *NIGHT) == Outcome(0, "", "")
    assert last_run(tonight)["load"]["days_changed"] > 0


def test_a_build_that_finds_no_room_at_its_last_step_says_that_the_disk_is_full(tmp_path):
    path = tmp_path / "chargeback.duckdb"
    for script in (LEAVE_A_LARGE_LOG, SETTLE_ON_A_SMALL_DISK):
        command = [sys.executable, "-c", script, str(path)]
        done = subprocess.run(command, cwd=PROJECT_DIR, capture_output=True, text=True, check=True)
    assert done.stdout == (
        f"The disk is full: {path} could not be written. Free some space and run again; nothing was lost.\n"
    )


def append_line(line: str, name: str) -> Callable[[Installation], None]:
    def append(place: Installation) -> None:
        path = place.paths.seeds_dir / name
        path.write_text(path.read_text() + line + "\n")

    return append


@pytest.mark.parametrize(
    ("break_seed", "message"),
    [
        (append_line(",enterprise,2026-11-31,1", "plans.csv"), "column valid_from_date: '2026-11-31'"),
        (append_line(",enterprise,2026-11-01,half", "plans.csv"), "column usage_rate: 'half'"),
        (append_line(",sa_x", "service_accounts.csv"), "service_accounts.csv"),
    ],
)
def test_a_broken_seed_is_named_with_its_line_before_anything_is_read(company, tonight, break_seed, message):
    break_seed(tonight)
    asked = len(company.server.requests)
    done = told(tonight, "run")
    assert (done.exit_code, done.stdout) == (2, "")
    assert message in done.stderr
    assert f"in {tonight.paths.seeds_dir}, line " in done.stderr
    assert len(company.server.requests) == asked


def test_a_seed_row_with_an_unknown_group_is_built_and_status_asks_for_a_person(company, tonight):
    account = company.organisation.roster.service_accounts[0].service_account_id
    append_line(f",{account},,,,,group_nowhere,,,2026-11-15", "service_accounts.csv")(tonight)
    assert tonight.command("run", *NIGHT) == Outcome(0, "", "")
    placed = tonight.query(
        "select distinct usage_date >= date '2026-11-15', billing_group_id = 'group_nowhere' "
        f"from marts.fct_usage_events where service_account_id = '{account}' order by all"
    )
    assert placed == [(False, False), (True, True)]
    status = tonight.command("status")
    assert status.exit_code == 1
    assert "column billing_group_id: Cursor never listed a group 'group_nowhere'." in status.stdout


def test_a_budget_for_nobody_keeps_its_row_and_is_named_and_nothing_stops(company, tonight):
    append_line(",2026-11-01,billing_group,group_nowhere,100", "budgets.csv")(tonight)
    # no seed names it, and events do
    (account,) = tonight.query("select min(service_account_id) from marts.fct_usage_events")[0]
    accounts = tonight.paths.seeds_dir / "service_accounts.csv"
    accounts.write_text(accounts.read_text().splitlines()[0] + "\n")
    assert tonight.command("build", *NIGHT) == Outcome(0, "", "")
    assert tonight.query(
        "select owner_name, is_known_owner, actual_usd, budget_state from marts.mart_budget_status "
        "where not is_known_owner"
    ) == [("group_nowhere", False, 0, "on_track")]
    known = tonight.query(f"select distinct is_known_owner from marts.mart_budget_status where owner_id = '{account}'")
    assert known == [(True,)]
    told = [line for line in last_run(tonight)["warnings"] if "budget" in line]
    line = len((tonight.paths.seeds_dir / "budgets.csv").read_text().splitlines())
    assert told == [
        f"budgets.csv, line {line}, column owner_id: neither Cursor nor another seed names a group 'group_nowhere'. "
        "If it is a slip, correct it: nothing is charged to it.",
        "test mart_budget_status_has_an_owner_that_nobody_knows: 1 rows",
    ]


def test_a_start_date_in_the_future_is_wrong_use(company, tmp_path):
    new = Installation(tmp_path / "data", company.server.base_url, company.server.api_key, date(2027, 1, 1))
    done = new.command("load", *NIGHT)
    assert done == Outcome(2, "", "SOURCES__CURSOR_ADMIN__START_DATE 2027-01-01 is in the future.\n")
