"""Promises 5 and 7 on the real command line: readers never wait, nothing leaks, nothing depends on where it runs."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pytest
from conftest import FIRST_NIGHT, SECOND_NIGHT, Company
from nights import OF_THE_READS, Installation, Outcome, differences, instant

from pipelines.cursor_admin.settings import ALLOWED_READS, find_read
from pipelines.simulator import RequestRecord

READER = """
import duckdb, sys
connection = duckdb.connect(sys.argv[1], read_only=True)
for line in sys.stdin:
    row = connection.execute(
        "select (select run_id from marts.mart_publication), count(*), sum(usage_cents) from marts.fct_usage_events"
    ).fetchone()
    print(*row, flush=True)
"""
OLD_CLIENT = """
import duckdb, sys
assert duckdb.__version__ == "1.0.0", duckdb.__version__
connection = duckdb.connect(sys.argv[1], read_only=True)
tables = connection.execute("select table_name from duckdb_tables() where schema_name = 'marts' order by 1").fetchall()
for (table,) in tables:
    print(table, connection.execute(f"select count(*) from marts.{table}").fetchone()[0])
print(connection.execute("select sum(usage_cents) from marts.fct_usage_events").fetchone()[0])
"""


class Reader:
    """A BI tool: another process that holds the published file open."""

    def __init__(self, place: Installation) -> None:
        command = [sys.executable, "-c", READER, str(place.paths.published)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def rows(self) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()

    def close(self) -> int:
        self._process.communicate("")
        return self._process.returncode


@dataclass
class Observed:
    """What was seen around the second night of a copy."""

    place: Installation
    homes: list[Path]
    run: Outcome
    second_run: Outcome
    holder: int
    before: str
    after: str
    to_a_new_reader: str
    reader_exit_code: int
    requests: list[RequestRecord]


@pytest.fixture(scope="module")
def observed(company: Company, tmp_path_factory: pytest.TempPathFactory) -> Observed:
    """The second night, with a reader at the file, a stale log beside it, and somebody who starts a second run."""
    company.server.set_now(SECOND_NIGHT)
    folder = tmp_path_factory.mktemp("observed")
    place = company.copy(folder / "data")
    homes = [folder / "home", folder / "tmp"]
    for home in homes:
        home.mkdir()
    places = {"HOME": str(homes[0]), "TMPDIR": str(homes[1]), "XDG_CACHE_HOME": str(homes[0] / "cache")}
    reader = Reader(place)
    before = reader.rows()
    first_request = len(company.server.requests)
    place.paths.published.with_name("chargeback.duckdb.wal").write_bytes(b"of somebody who opened it for writing")
    process = place.start("run", "--now", instant(SECOND_NIGHT), **places)
    while process.poll() is None and not (place.paths.lock.exists() and place.paths.lock.read_text()):
        os.sched_yield()
    second_run = place.command("run", "--now", instant(SECOND_NIGHT))
    stdout, stderr = process.communicate()
    later = Reader(place)
    return Observed(
        place=place,
        homes=homes,
        run=Outcome(process.returncode, stdout, stderr),
        second_run=second_run,
        holder=process.pid,
        before=before,
        after=reader.rows(),
        to_a_new_reader=later.rows(),
        reader_exit_code=reader.close() + later.close(),
        requests=company.server.requests[first_request:],
    )


def test_a_good_night_says_nothing_without_a_terminal(observed):
    assert observed.run == Outcome(0, "", "")


def test_a_reader_keeps_its_rows_through_a_whole_run_and_a_new_one_sees_the_new(observed):
    assert observed.before == observed.after
    run_id, count, cents = observed.to_a_new_reader.split()
    assert observed.place.query("select run_id from marts.mart_publication") == [(run_id,)]
    assert int(count) > int(observed.before.split()[1])
    assert run_id != observed.before.split()[0]
    assert observed.reader_exit_code == 0
    assert observed.place.query(f"select {cents} = sum(usage_cents) from marts.fct_usage_events") == [(True,)]


def test_a_log_beside_the_published_file_is_moved_aside(observed):
    folder = observed.place.folder
    assert not (folder / "chargeback.duckdb.wal").exists()
    (aside,) = folder.glob("chargeback.duckdb.wal.aside-*")
    assert aside.read_bytes() == b"of somebody who opened it for writing"


def test_a_second_run_is_told_who_holds_the_lock_and_changes_nothing(observed):
    assert (observed.second_run.exit_code, observed.second_run.stdout) == (75, "")
    assert observed.second_run.stderr.startswith(f"`chargeback run` (process {observed.holder}, since 20")
    assert observed.second_run.stderr.count("\n") == 1


def test_what_is_private_is_private_and_what_is_published_is_read_only(observed):
    place = observed.place
    assert stat.S_IMODE(place.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(place.paths.published.stat().st_mode) == 0o444
    for path in (place.paths.warehouse, place.paths.runs, place.paths.lock, *place.paths.logs_dir.iterdir()):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_the_key_is_in_no_file_that_a_run_leaves_behind(company, observed):
    failed = observed.place.finish(
        "load", "--now", instant(SECOND_NIGHT), SOURCES__CURSOR_ADMIN__API_KEY=company.organisation.limited_key
    )
    assert failed.exit_code == 1
    keys = [company.server.api_key, company.organisation.limited_key]
    forms = [form for key in keys for form in (key, b64encode(f"{key}:".encode()).decode())]
    looked_at = [
        path for root in (observed.place.folder, *observed.homes) for path in root.rglob("*") if path.is_file()
    ]
    assert {"runs.jsonl", "warehouse.duckdb", "chargeback.duckdb", "manifest.json"} <= {one.name for one in looked_at}
    for path in looked_at:
        content = path.read_bytes()
        for form in forms:
            assert form.encode() not in content, f"{path} holds a key"
    for database in (observed.place.paths.warehouse, observed.place.paths.published):
        for form in forms:  # blocks may be compressed
            assert texts_with(database, form) == []
    assert not any(form in failed.stdout + failed.stderr for form in forms)


def texts_with(database: Path, text: str) -> list[str]:
    """Columns of any table in which the text occurs."""
    with duckdb.connect(str(database), read_only=True) as connection:
        columns = connection.execute(
            "select schema_name, table_name, column_name from duckdb_columns() "
            "where database_name = current_database() and not internal and data_type = 'VARCHAR' "
            "and table_name in (select table_name from duckdb_tables())"
        ).fetchall()
        assert len(columns) > 20
        return [
            f"{table}.{column}"
            for schema, table, column in columns
            if connection.execute(
                f'select count(*) from "{schema}"."{table}" where contains("{column}", ?)', [text]
            ).fetchone()
            != (0,)
        ]


def test_only_listed_reads_are_ever_asked(company, observed):
    of_all_tests = {find_read(one.method, one.path) for one in company.server.requests if one.fault is None}
    assert of_all_tests <= set(ALLOWED_READS)
    asked = observed.requests
    # `doctor` alone asks what the key is, commits come as CSV on a first night, and the pool needs another key
    elsewhere = ("/v1/me", "/analytics/ai-code/commits.csv", "/organizations/pooled-usage")
    assert {find_read(one.method, one.path) for one in asked} == {
        read for read in ALLOWED_READS if read.path not in elsewhere
    }
    paging = {"page", "pageSize"}
    assert {name for one in asked for name in one.query} <= {
        *paging, "billingCycle", "startTime", "endTime", "startDate", "endDate",
    }  # fmt: skip
    assert {name for one in asked for name in one.body} == {
        *paging, "startDate", "endDate", "sortBy", "sortDirection",
    }  # fmt: skip


def test_the_whole_path_in_another_time_zone_gives_the_same_tables(company, observed, tmp_path):
    tokyo = Installation(
        tmp_path / "data", company.server.base_url, company.server.api_key, company.first_night.start_date
    )
    company.organisation.write_seeds(tokyo.paths.seeds_dir)
    for night, place in ((FIRST_NIGHT, company.first_night), (SECOND_NIGHT, observed.place)):
        company.server.set_now(night)
        done = tokyo.finish("run", "--now", instant(night), TZ="Asia/Tokyo")
        assert done == Outcome(0, "", "")
        assert differences(place.paths.published, tokyo.paths.published, OF_THE_READS) == {}


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="2026-11: DuckDB 1.0 has no wheels for Python 3.13 or later")
def test_duckdb_1_0_opens_the_published_file(observed, tmp_path):
    wanted = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    installed = subprocess.run(
        [*wanted, "--only-binary", ":all:", "--target", str(tmp_path / "old"), "duckdb==1.0.0"],
        capture_output=True,
        text=True,
        check=False,
    )
    if installed.returncode:
        pytest.skip(f"2026-11: DuckDB 1.0.0 cannot be installed here: {installed.stderr.strip()[-200:]}")
    told = subprocess.run(
        [sys.executable, "-c", OLD_CLIENT, str(observed.place.paths.published)],
        env=os.environ | {"PYTHONPATH": str(tmp_path / "old")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (told.returncode, told.stderr) == (0, "")
    *tables, cents = told.stdout.split("\n")[:-1]
    assert observed.place.query("select sum(usage_cents)::varchar from marts.fct_usage_events") == [(cents,)]
    counts = {name: int(count) for name, count in (line.split() for line in tables)}
    assert counts.keys() >= {"fct_usage_events", "fct_daily_charges", "fct_monthly_chargeback", "mart_publication"}
    assert counts["mart_publication"] == 1
    assert re.fullmatch(r"\d+\.\d{6}", cents)
