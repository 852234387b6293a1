"""Closing months through the command line: what is refused, what is frozen, and what a crash or a hand can do to it."""

from __future__ import annotations

import getpass
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from conftest import FIRST_NIGHT, Company
from nights import PROJECT_DIR, Installation, Outcome, differences, instant
from published import CONTRACT, make_published

from pipelines import close as closing
from pipelines import close_ledger
from pipelines.build import ChecksFailedError
from pipelines.close import CloseRefusedError, _closings, _Request
from pipelines.close_ledger import CLOSE_SCHEMAS, LINES, NO_LINES, ClosedMonth, prove, verify_closed_months
from pipelines.config import Settings
from pipelines.errors import ConfigError, FileError
from pipelines.landing import BATCH_COLUMNS, RAW_SCHEMAS
from pipelines.paths import data_paths
from pipelines.runs import read_runs

NOW = ("--now", instant(FIRST_NIGHT))
OCTOBER = date(2026, 10, 1)
# what closing itself changes in a line; everything else is published as it was
FLAGS = "is_closed, is_provisional"
KILLED_BEFORE_THE_HEADER = """
import os, signal, sys
from pipelines import cli, landing
append = landing.Landing.append
def dying(self, tables, reads=()):
    if "closed_months" in tables:
        os.kill(os.getpid(), signal.SIGKILL)
    append(self, tables, reads)
landing.Landing.append = dying
sys.exit(cli.run_command(sys.argv[1:]))
"""


def ledger(place: Installation) -> list[tuple[object, ...]]:
    return place.query(
        "select charge_month, closed_by, was_forced, detail, daily_line_count, monthly_line_count "
        "from raw.closed_months",
        place.paths.warehouse,
    )


def october(place: Installation, table: str) -> list[tuple[object, ...]]:
    return place.query(f"select * exclude ({FLAGS}) from marts.{table} where charge_month = '2026-10-01' order by all")


# -- the life of one close -------------------------------------------------------------------------------------------


@dataclass
class Story:
    """One folder through a refusal, a kill, a forced close, a change of the past and a rebuild."""

    place: Installation
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    digests: dict[str, str | None] = field(default_factory=dict)
    lines: dict[str, dict[str, list[tuple[object, ...]]]] = field(default_factory=dict)
    ledgers: dict[str, list[tuple[object, ...]]] = field(default_factory=dict)

    def step(self, name: str, outcome: Outcome) -> None:
        self.outcomes[name] = outcome
        self.digests[name] = self.place.published_digest()
        self.lines[name] = {table: october(self.place, table) for table in LINES.values()}
        self.ledgers[name] = ledger(self.place)


@pytest.fixture(scope="module")
def story(company: Company, tmp_path_factory: pytest.TempPathFactory) -> Story:
    folder = tmp_path_factory.mktemp("close")
    place = company.copy(folder / "data")
    with duckdb.connect(str(place.paths.warehouse)) as connection:  # as if the last two days were read at their end
        connection.execute("update raw.load_windows set read_at = '2026-11-01 01:00' where usage_date = '2026-10-31'")
        connection.execute("update raw.load_windows set read_at = '2026-10-31 01:00' where usage_date = '2026-10-30'")
    told = Story(place)
    told.step("before", Outcome(0, "", ""))
    told.step("refused", place.finish("close", "2026-10", *NOW))
    killer = folder / "killer.py"
    killer.write_text(KILLED_BEFORE_THE_HEADER)
    told.step("killed", run_script(place, killer, "close", "2026-10", "--force", *NOW))
    told.step("closed", place.finish("close", "2026-10", "--force", *NOW))
    told.step("again", place.finish("close", "2026-10", "--force", *NOW))
    (place.paths.seeds_dir / "plans.csv").write_text(
        "team,plan,valid_from_date,usage_rate\n,enterprise,2026-01-01,0.75\n,enterprise,2026-11-01,1\n"
    )
    told.step("repriced", place.finish("build", *NOW))
    shutil.copyfile(place.paths.published, folder / "incremental.duckdb")
    told.step("rebuilt", place.finish("build", "--full-refresh", *NOW))
    return told


def run_script(place: Installation, script: Path, *arguments: str) -> Outcome:
    """The command line with something broken in it, in a process of its own."""
    done = subprocess.run(
        [sys.executable, str(script), *arguments],
        cwd=PROJECT_DIR,
        env=os.environ | place.settings | {"PYTHONPATH": str(PROJECT_DIR)},
        capture_output=True,
        text=True,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def test_a_month_with_a_provisional_day_is_not_closed_and_the_days_are_named(story):
    assert story.outcomes["refused"] == Outcome(
        1,
        "",
        "2026-10 of default cannot be closed yet: 2026-10-30 provisional, 2026-10-31 provisional. A day is final once "
        "it was read 48 hours after its end: run `chargeback run` and try again, or close it as it is with --force, "
        "which is recorded.\n",
    )
    assert story.ledgers["refused"] == []
    assert story.digests["refused"] == story.digests["before"]


def test_a_close_killed_between_the_lines_and_their_header_has_not_happened(story):
    assert story.outcomes["killed"].exit_code == -signal.SIGKILL
    assert story.ledgers["killed"] == []
    assert story.digests["killed"] == story.digests["before"]
    left = story.place.query(
        "select count(distinct close_id), count(distinct close_id) filter (close_id not in "
        "(select close_id from raw.closed_months)) from raw.closed_daily_charges",
        story.place.paths.warehouse,
    )
    assert left == [(2, 1)]  # the killed one and the one that counts


def test_a_forced_close_says_so_and_records_over_what_and_by_whom(story):
    code, out, err = (getattr(story.outcomes["closed"], name) for name in ("exit_code", "stdout", "stderr"))
    assert (code, err) == (0, "")
    assert out.startswith("Closed 2026-10 of default: ")
    assert ", covered from 2026-10-20, forced over 2 days that are not final; sha256 " in out
    [(month, closed_by, was_forced, detail, daily, monthly)] = story.ledgers["closed"]
    assert (month, closed_by, was_forced) == (OCTOBER, getpass.getuser(), True)
    found = json.loads(detail)
    assert found["forced_over"] == ["2026-10-30 provisional", "2026-10-31 provisional"]
    assert found["coverage"] == {"final": 10, "provisional": 2}
    assert found["covered_from"] == "2026-10-20"
    assert (daily, monthly) == tuple(len(story.lines["closed"][table]) for table in LINES.values())


def test_closing_publishes_at_once_and_changes_no_line(story):
    assert story.lines["closed"] == story.lines["before"]
    assert story.digests["closed"] != story.digests["before"]
    for table in LINES.values():
        states = story.place.query(f"select distinct charge_month, is_closed from marts.{table} order by charge_month")
        assert states == [(OCTOBER, True), (date(2026, 11, 1), False)]


def test_closing_twice_says_so_and_changes_nothing(story):
    assert story.outcomes["again"] == Outcome(
        0,
        f"2026-10 of default is closed already, since 2026-11-16 02:00 UTC by {getpass.getuser()}: nothing was "
        "changed.\n",
        "",
    )
    assert story.ledgers["again"] == story.ledgers["closed"]
    assert story.digests["again"] == story.digests["closed"]


def test_what_is_found_later_adjusts_the_next_month_and_the_closed_one_stays(story):
    assert story.outcomes["repriced"] == Outcome(0, "", "")
    assert story.lines["repriced"] == story.lines["before"]
    adjusted = story.place.query(
        "select charge_month, adjusts_month, adjusts_charge_type, sum(billed_cents), bool_or(is_provisional) "
        "from marts.fct_monthly_chargeback where charge_type = 'adjustment' group by all"
    )
    [(frozen,)] = story.place.query(
        "select sum(billed_cents) from marts.fct_monthly_chargeback "
        "where charge_month = '2026-10-01' and charge_type = 'usage'"
    )
    [(today,)] = story.place.query(
        "select sum(billed_cents) from marts.fct_usage_events where usage_month = '2026-10-01'"
    )
    assert today < frozen
    assert adjusted == [(date(2026, 11, 1), OCTOBER, "usage", today - frozen, False)]


@pytest.mark.parametrize("table", LINES.values())
def test_over_all_months_groups_pay_what_events_and_seats_say_today(story, table):
    [(billed, expected)] = story.place.query(
        f"select (select sum(billed_cents) from marts.{table}), "
        "(select sum(billed_cents) from marts.fct_usage_events) "
        "+ (select coalesce(sum(seat_cents), 0) from marts.fct_daily_seat_costs)"
    )
    assert billed == expected


def test_a_rebuild_from_raw_gives_the_same_closed_lines_and_adjustments(story, tmp_path_factory):
    assert story.outcomes["rebuilt"] == Outcome(0, "", "")
    assert story.lines["rebuilt"] == story.lines["before"]
    incremental = story.place.folder.parent / "incremental.duckdb"
    assert differences(incremental, story.place.paths.published) == {}


def test_what_is_closed_can_be_listed(story):
    done = story.place.command("close", "--list")
    row = done.stdout.splitlines()[3].split()
    assert (done.exit_code, done.stderr) == (0, "")
    assert row[:6] == ["default", "2026-10", "2026-11-16", "02:00", getpass.getuser(), "over"]


def test_a_ledger_changed_by_hand_stops_the_build_and_is_named(story, tmp_path):
    place = story.place.copy_to(tmp_path / "data")
    before = place.published_digest()
    with duckdb.connect(str(place.paths.warehouse)) as connection:
        [(close_id,)] = connection.execute("select close_id from raw.closed_months").fetchall()
        connection.execute(
            "update raw.closed_monthly_chargeback set billed_usd = billed_usd + 0.01 where rowid = "
            "(select min(rowid) from raw.closed_monthly_chargeback where close_id = ?)",
            [close_id],
        )
    done = place.command("build", *NOW)
    assert done == Outcome(
        1,
        "",
        "The close ledger of team default was changed for 2026-10: its lines are not those that were closed (their "
        f"checksum differs); close {close_id} in {place.paths.warehouse}. Nothing was published. Restore the last good "
        "backup into an empty data folder with `chargeback restore`, then run again.\n",
    )
    assert place.published_digest() == before


# -- what may be closed ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["close", "2026-11"], 2, "2026-11 is not over yet at 2026-11-16 (UTC), and only past months close.\n"),
        (["close", "2027-01"], 2, "2027-01 is not over yet at 2026-11-16 (UTC), and only past months close.\n"),
        (["close", "2026-09"], 2, "Nothing of 2026-09 is covered: the first covered day is 2026-10-20.\n"),
        (
            ["close", "2026-10", "--team", "acme"],
            2,
            "There is no team 'acme' in the warehouse. There are: default.\n",
        ),
    ],
)
def test_what_cannot_be_closed_is_wrong_use(company, tmp_path, arguments, code, message):
    place = company.copy(tmp_path / "data")
    assert place.command(*arguments, "--force", *NOW) == Outcome(code, "", message)
    assert ledger(place) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["close"], "Missing argument 'MONTH', such as 2026-10; or say --list."),
        (["close", "2026-10-01"], "'2026-10-01' is not a month. Write it as 2026-10."),
        (["close", "2026-10", "--list"], "--list shows what is closed, and takes --team alone."),
    ],
)
def test_wrong_arguments_are_wrong_use(tmp_path, arguments, message):
    done = Installation(tmp_path / "data", "http://127.0.0.1:1", "k", OCTOBER).command(*arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert message in done.stderr


def test_without_a_warehouse_there_is_nothing_to_close(tmp_path):
    place = Installation(tmp_path / "data", "http://127.0.0.1:1", "k", OCTOBER)
    for arguments in (["close", "2026-10", *NOW], ["close", "--list"]):
        done = place.command(*arguments)
        assert (done.exit_code, done.stdout) == (1, "")
        assert done.stderr.startswith(f"There is no warehouse at {place.paths.warehouse}: nothing ")


def built(folder: Path, months: dict[str, list[str]], statuses: dict[str, str], team: str = "acme") -> Path:
    """A build with one line in each month that has groups, and coverage by day."""
    key = {"team": team}
    return make_published(
        folder / "chargeback.duckdb",
        {
            "fct_monthly_chargeback": [
                {**key, "charge_month": month, "billing_group_id": group, "charge_type": "usage", "billed_usd": "1.00"}
                for month, groups in months.items()
                for group in groups
            ],
            "mart_load_coverage": [
                {**key, "resource": "usage_events", "coverage_date": day, "status": status}
                for day, status in statuses.items()
            ],
        },
    )


def closed_month(month: date, **values: object) -> ClosedMonth:
    known = {"closed_at": None, "run_id": "run", "closed_by": "ada", "was_forced": False, "detail": "{}"}
    proof = {"daily_line_count": 0, "monthly_line_count": 0, "lines_sha256": NO_LINES.lines_sha256}
    return ClosedMonth(**{"team": "acme", "charge_month": month, "close_id": f"c-{month}", **known, **proof, **values})


def test_months_close_in_order_and_empty_ones_close_with_the_next(tmp_path):
    days = {f"2026-{month:02d}-{day:02d}": "final" for month in (8, 9) for day in range(1, 31)}
    days |= {"2026-08-31": "final", "2026-08-01": "before_history"}
    path = built(tmp_path, {"2026-07-01": ["a"], "2026-09-01": ["a"]}, days)
    september = _Request("acme", date(2026, 9, 1), covered_from=date(2026, 7, 31))
    july = closed_month(date(2026, 7, 1))
    with duckdb.connect(str(path), read_only=True) as connection:
        with pytest.raises(CloseRefusedError) as told:
            _closings(connection, september, [])
        assert str(told.value) == (
            "2026-09 of acme cannot be closed: months close in order, and 2026-07 is open. "
            "Run `chargeback close 2026-07` first."
        )
        empty, wanted = _closings(connection, september, [july])
        with pytest.raises(CloseRefusedError) as told:
            _closings(connection, september, [july, closed_month(OCTOBER)])
        assert str(told.value) == (
            "2026-09 of acme cannot be closed: months close in order, and 2026-10 is closed. "
            "Its charges stay as they are published."
        )
    assert (empty.request.month, wanted.request.month) == (date(2026, 8, 1), date(2026, 9, 1))
    assert [one.lines["closed_monthly_chargeback"].num_rows for one in (empty, wanted)] == [0, 1]
    assert (empty.coverage, empty.unsettled) == ({"before_history": 1, "final": 30}, [])


def test_a_day_without_any_read_is_missing(tmp_path):
    path = built(tmp_path, {"2026-10-01": ["a"]}, {"2026-10-30": "final"})
    with duckdb.connect(str(path), read_only=True) as connection:
        (only,) = _closings(connection, _Request("acme", OCTOBER, covered_from=date(2026, 10, 30)), [])
    assert only.unsettled == ["2026-10-31 missing"]


def test_a_close_that_cannot_be_published_stands_and_says_so(company, tmp_path, monkeypatch):
    place = company.copy(tmp_path / "data")
    builds = []

    def build_tables(settings: Settings, *_: object) -> None:
        builds.append(settings)
        if len(builds) == 2:
            raise ChecksFailedError("The build did not pass.", ["unique_grain_x"])
        days = {f"2026-10-{day}": "final" for day in range(20, 32)}
        built(settings.paths.build_dir, {"2026-10-01": ["a"]}, days, team="default")

    monkeypatch.setattr(closing, "build_tables", build_tables)
    before = place.published_digest()
    done = place.command("close", "2026-10", *NOW)
    assert (done.exit_code, done.stdout) == (1, "")
    assert re.fullmatch(
        r"Closed 2026-10 of default: 1\.00 USD in 1 lines, covered from 2026-10-20; sha256 [0-9a-f]{12}\.\n"
        r"That stands, but is not published yet: The build did not pass\.\n",
        done.stderr,
    )
    assert read_runs(place.paths)[-1].failing == ["unique_grain_x"]
    assert place.published_digest() == before
    assert [row[:3] for row in ledger(place)] == [(OCTOBER, getpass.getuser(), False)]


# -- the ledger ------------------------------------------------------------------------------------------------------


def test_the_ledger_holds_exactly_the_columns_of_the_published_tables():
    kinds = {"VARCHAR": pa.string(), "BIGINT": pa.int64(), "DATE": pa.date32(), "BOOLEAN": pa.bool_()}
    kinds |= {"DECIMAL(18,6)": pa.decimal128(18, 6), "DECIMAL(18,2)": pa.decimal128(18, 2)}
    for table, published in LINES.items():
        columns = [(one.name, one.type) for one in CLOSE_SCHEMAS[table]][1:]
        assert columns == [(name, kinds[kind]) for name, kind in CONTRACT[published].items()]
        assert BATCH_COLUMNS[table] == "close_id"


def line(**values: object) -> dict[str, pa.Table]:
    """One monthly line, and no daily one."""
    row = {"close_id": "c-2026-10-01", "team": "acme", "charge_month": OCTOBER, "billing_group_id": "a", **values}
    schema = CLOSE_SCHEMAS["closed_monthly_chargeback"]
    return {
        "closed_daily_charges": CLOSE_SCHEMAS["closed_daily_charges"].empty_table(),
        "closed_monthly_chargeback": pa.Table.from_pylist([row], schema=schema),
    }


def test_the_checksum_sees_every_cell_and_no_order():
    one, other = line(), line(billing_group_id="b")
    both = [
        {name: pa.concat_tables([first[name], second[name]]).combine_chunks() for name in LINES}
        for first, second in ((one, other), (other, one))
    ]
    assert prove(both[0]) == prove(both[1])
    variants = [
        one,
        other,
        line(billing_group_id=None, billing_group_name="a"),
        line(billing_group_name=""),
        line(billing_group_name="b c"),
        line(billing_group_id="a b", billing_group_name="c"),
        line(billed_usd=Decimal("1.00")),
        line(is_closed=False),
    ]
    assert len({prove(variant).lines_sha256 for variant in variants}) == len(variants)
    assert prove({name: rows.slice(0, 0) for name, rows in one.items()}) == NO_LINES


def raw_ledger(folder: Path, lines: dict[str, pa.Table], *months: ClosedMonth) -> Path:
    path = folder / "warehouse.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute("create schema raw")
        headers = pa.concat_tables([close_ledger.table_of(vars(one)) for one in months])
        for name, rows in {"closed_months": headers, **lines}.items():
            connection.register("rows_of_it", rows)
            connection.execute(f"create table raw.{name} as select * from rows_of_it")
    return path


PROOF = vars(prove(line()))


def test_teams_close_each_by_itself_and_one_that_began_later_has_nothing_to_close(tmp_path):
    paths = data_paths(tmp_path)
    raw_ledger(tmp_path, line(), closed_month(OCTOBER, **PROOF))
    with duckdb.connect(str(paths.warehouse)) as connection:
        connection.execute("create table raw.teams (team text, start_date date)")
        connection.execute("create table raw.load_windows (team text, usage_date date)")
        connection.execute("insert into raw.teams values ('acme', '2026-10-01'), ('beta', '2026-10-20')")
        connection.execute("insert into raw.teams values ('late', '2026-11-01')")
        connection.execute("insert into raw.load_windows values ('beta', '2026-10-10'), ('beta', '2026-10-20')")
    requests, closed = closing._open_requests(paths, OCTOBER, None)
    assert requests == [_Request("beta", OCTOBER, covered_from=date(2026, 10, 10))]  # --since had read further back
    assert [one.team for one in closed] == ["acme"]
    assert closing._open_requests(paths, OCTOBER, "acme")[0] == []
    with pytest.raises(ConfigError) as told:
        closing._open_requests(paths, OCTOBER, "late")
    assert str(told.value) == "Nothing of 2026-10 is covered: the first covered day is 2026-11-01."


@pytest.mark.parametrize(
    ("lines", "months", "what"),
    [
        (line(), [closed_month(OCTOBER)], "0 daily and 1 monthly lines where 0 and 0 were closed"),
        (line(), [closed_month(OCTOBER, **PROOF)] * 2, "it is in closed_months twice"),
        (line(billing_group_id="b"), [closed_month(OCTOBER, **PROOF)], "its lines are not those that were closed"),
        (
            line(),
            [closed_month(date(2026, 9, 1), close_id="c-2026-10-01", **PROOF)],
            "its lines are not those that were closed",
        ),
        (
            {name: rows.slice(0, 0) for name, rows in line().items()},
            [closed_month(OCTOBER, **PROOF)],
            "0 daily and 0 monthly lines where 0 and 1 were closed",
        ),
    ],
)
def test_a_changed_ledger_is_seen_and_named(tmp_path, lines, months, what):
    path = raw_ledger(tmp_path, lines, *months)
    with duckdb.connect(str(path), read_only=True) as connection, pytest.raises(FileError) as told:
        verify_closed_months(connection, path)
    assert str(told.value).startswith(
        f"The close ledger of team acme was changed for {months[0].charge_month:%Y-%m}: {what}"
    )


def test_a_ledger_as_it_was_written_passes_and_lines_without_a_header_do_not_exist(tmp_path):
    orphan = line(close_id="killed", billing_group_id="x")
    lines = {name: pa.concat_tables([rows, orphan[name]]) for name, rows in line().items()}
    path = raw_ledger(tmp_path, lines, closed_month(OCTOBER, **PROOF))
    with duckdb.connect(str(path), read_only=True) as connection:
        verify_closed_months(connection, path)


def test_every_raw_table_of_the_close_ledger_exists_from_the_first_run_on(company):
    rows = company.first_night.query(
        "select table_name from duckdb_tables() where schema_name = 'raw' and not starts_with(table_name, '_dlt')",
        company.first_night.paths.warehouse,
    )
    assert {name for (name,) in rows} == set(RAW_SCHEMAS)
