"""Building with real dbt, and replacing the published file under readers, kills and wrong files."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import duckdb
import pendulum
import pytest
from published import make_published
from warehouse import Warehouse

from pipelines.build import (
    ChecksFailedError,
    are_full_tests_due,
    build,
    model_fingerprint,
    why_rebuild,
)
from pipelines.config import Settings
from pipelines.errors import BuildError, FileError
from pipelines.nightly import RunOptions, run
from pipelines.paths import data_paths
from pipelines.publish import publish, read_publication
from pipelines.runs import Clock, Progress, read_runs, run_lock

PROJECT_DIR = Path(__file__).resolve().parents[1]
NOW = pendulum.datetime(2026, 11, 20, 2)
READER = """
import duckdb, sys
connection = duckdb.connect(sys.argv[1], read_only=True)
for line in sys.stdin:
    print(connection.execute("select run_id from marts.mart_publication").fetchone()[0], flush=True)
"""
WRITER = """
import duckdb, os, sys
connection = duckdb.connect(sys.argv[1])
connection.execute("set checkpoint_threshold = '1TB'")
connection.execute("insert into marts.dim_models select * from marts.dim_models limit 0")
connection.execute("update marts.mart_publication set run_id = 'written by hand'")
os._exit(0)
"""


@pytest.fixture
def paths(tmp_path):
    return data_paths(tmp_path)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def published_run(path: Path) -> str:
    return read_publication(path).run_id


def ask(reader: subprocess.Popen[str]) -> str:
    assert reader.stdin is not None
    assert reader.stdout is not None
    reader.stdin.write("\n")
    reader.stdin.flush()
    return reader.stdout.readline().strip()


# -- publish ---------------------------------------------------------------------------------------------------------


def test_a_build_replaces_the_published_file_and_the_one_before_is_kept(paths):
    for number in (1, 2, 3):
        make_published(paths.build_file, run_id=f"run-{number}")
        publish(paths, f"run-{number}", Progress())
    assert published_run(paths.published) == "run-3"
    assert published_run(paths.previous) == "run-2"
    assert (mode(paths.published), mode(paths.previous)) == (0o444, 0o444)
    assert not paths.build_file.exists()
    assert list(paths.previous.parent.iterdir()) == [paths.previous]


def test_a_reader_keeps_its_rows_and_a_new_one_sees_the_new(paths):
    make_published(paths.build_file, run_id="run-1")
    publish(paths, "run-1", Progress())
    command = [sys.executable, "-c", READER, str(paths.published)]
    old = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert ask(old) == "run-1"
    make_published(paths.build_file, run_id="run-2")
    publish(paths, "run-2", Progress())
    new = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert (ask(old), ask(new)) == ("run-1", "run-2")
    old.communicate()
    new.communicate()


def test_a_run_killed_between_keeping_the_old_and_moving_the_new_is_made_good(paths):
    make_published(paths.published, run_id="run-1")
    paths.previous.parent.mkdir()
    os.link(paths.published, paths.previous)
    os.link(paths.published, paths.previous.with_name(".chargeback.duckdb.new"))
    make_published(paths.build_file, run_id="run-2")
    publish(paths, "run-2", Progress())
    assert (published_run(paths.published), published_run(paths.previous)) == ("run-2", "run-1")
    assert list(paths.previous.parent.iterdir()) == [paths.previous]


def test_a_log_beside_the_published_file_is_moved_aside_and_never_replayed(paths):
    make_published(paths.published, run_id="run-1")
    subprocess.run([sys.executable, "-c", WRITER, str(paths.published)], check=True)
    wal = paths.published.with_name("chargeback.duckdb.wal")
    assert wal.exists()
    make_published(paths.build_file, run_id="run-2")
    progress = Progress()
    publish(paths, "run-2", progress)
    assert not wal.exists()
    assert published_run(paths.published) == "run-2"
    assert published_run(paths.previous) == "run-1"
    (warning,) = progress.warnings
    assert warning.startswith(f"{wal} lay beside the published file and was moved to chargeback.duckdb.wal.aside-")
    assert warning.endswith("somebody opened the file for writing. Nothing of it is in the file. Open it read-only.")


def test_a_foreign_database_at_the_published_path_is_left_as_it_is(paths):
    with duckdb.connect(str(paths.published)) as connection:
        connection.execute("create table sales (amount int)")
    before = paths.published.read_bytes()
    make_published(paths.build_file, run_id="run-1")
    with pytest.raises(FileError) as told:
        publish(paths, "run-1", Progress())
    assert str(told.value) == (
        f"{paths.published} is a DuckDB file, but not one that this pipeline published: no marts.mart_publication. "
        "It is left as it is: move it away, or set CHARGEBACK__DATA_DIR to another folder."
    )
    assert paths.published.read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not a database at all", b"\0" * 8192])
def test_a_file_that_is_no_database_at_the_published_path_is_left_as_it_is(paths, content):
    paths.published.write_bytes(content)
    make_published(paths.build_file, run_id="run-1")
    with pytest.raises(FileError) as told:
        publish(paths, "run-1", Progress())
    assert str(paths.published) in str(told.value)
    assert paths.published.read_bytes() == content


def test_the_build_of_another_run_is_not_published(paths):
    make_published(paths.build_file, run_id="run-1")
    with pytest.raises(BuildError) as told:
        publish(paths, "run-2", Progress())
    assert str(told.value) == f"The build {paths.build_file} is of run run-1, not of run-2. Nothing was published."
    assert not paths.published.exists()


def test_only_tables_of_marts_are_published(paths):
    make_published(paths.build_file, run_id="run-1")
    with duckdb.connect(str(paths.build_file)) as connection:
        connection.execute("create schema scratch; create table scratch.left_over (n int)")
    publish(paths, "run-1", Progress())
    with duckdb.connect(str(paths.published), read_only=True) as connection:
        found = connection.execute("select distinct schema_name from duckdb_tables()").fetchall()
        storage = connection.execute(
            "select tags['storage_version'] from duckdb_databases() where database_name = 'chargeback'"
        ).fetchone()
    assert found == [("marts",)]
    assert storage == ("v1.0.0+",)
    make_published(paths.build_file, run_id="run-2")
    with duckdb.connect(str(paths.build_file)) as connection:
        connection.execute("create view marts.v as select 1; create table notes (n int)")
    with pytest.raises(BuildError) as told:
        publish(paths, "run-2", Progress())
    assert str(told.value).startswith("The build holds what must not be published: main.notes, marts.v. Only tables")
    assert published_run(paths.published) == "run-1"


# -- build -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A folder after one night: one person, one group, two days."""
    warehouse = Warehouse(tmp_path_factory.mktemp("data") / "with a space", start_date="2026-11-17")
    ada = ("user_1", "ada@example.com", "2026-11-01", None)
    warehouse.read_groups("2026-11-20 02:00:00", {"group_a": {"name": "Alpha", "members": [ada]}})
    warehouse.read_members("2026-11-20 02:00:00", [("user_1", "ada@example.com", "member", False)])
    for day in ("2026-11-17", "2026-11-18", "2026-11-19"):
        event = {"at": "10:00:00", "user_email": "ada@example.com", "charged_cents": "125.5"}
        warehouse.read_events(day, [event], "2026-11-20 02:00:00")
    settings = Settings(
        paths=data_paths(warehouse.folder), plan="enterprise", stale_hours=36, base_url="http://127.0.0.1:1"
    )
    night(settings)
    return settings, warehouse


def night(settings: Settings, days_later: int = 0) -> dict:
    options = RunOptions("build", loads=False)
    record = run(settings, [], options, Clock(NOW.add(days=days_later)))
    assert record.build is not None
    return record.build


def months(settings: Settings) -> list[tuple[object, ...]]:
    with duckdb.connect(str(settings.paths.published), read_only=True) as connection:
        return connection.execute(
            "select billing_group_name, usage_cents, billed_usd, event_count from marts.fct_monthly_chargeback"
        ).fetchall()


def test_the_first_night_builds_everything_and_the_next_only_what_changed(built):
    settings, warehouse = built
    assert [str(cell) for cell in months(settings)[0]] == ["Alpha", "376.500000", "3.77", "3"]
    publication = read_publication(settings.paths.published)
    assert publication.run_id == read_runs(settings.paths)[-1].run_id
    assert publication.model_fingerprint == model_fingerprint()
    event = {"at": "11:00:00", "user_email": "ada@example.com", "charged_cents": "100"}
    warehouse.read_events("2026-11-20", [event], "2026-11-20 12:00:00")
    second = night(settings, days_later=1)
    assert (second["rebuilt"], second["full_tests"]) == (None, False)
    assert [str(cell) for cell in months(settings)[0]] == ["Alpha", "476.500000", "4.77", "4"]
    assert read_publication(settings.paths.published).full_tests_at == publication.full_tests_at


def test_every_table_is_rebuilt_on_request_at_first_and_for_other_models(paths):
    publication = read_publication(make_published(paths.published, model_fingerprint="these"))
    assert why_rebuild(publication, "these", full_refresh=False) is None
    assert why_rebuild(publication, "these", full_refresh=True) == "--full-refresh"
    assert why_rebuild(None, "these", full_refresh=False) == "nothing is published yet"
    assert why_rebuild(publication, "others", full_refresh=False) == (
        "the models are others than those of the published file"
    )


def test_full_tests_come_again_after_a_week(paths):
    publication = read_publication(make_published(paths.published, full_tests_at="2026-11-16 02:00:00"))
    assert not are_full_tests_due(publication, pendulum.datetime(2026, 11, 23, 1, 59))
    assert are_full_tests_due(publication, pendulum.datetime(2026, 11, 23, 2))
    assert are_full_tests_due(None, NOW)


def test_a_build_that_fails_a_test_leaves_the_published_file_untouched_and_names_the_test(built):
    settings, warehouse = built
    before = settings.paths.published.read_bytes()
    warehouse.read_events("2026-11-21", [{"at": "09:00:00", "user_email": "ada@example.com"}], "2026-11-22 02:00:00")
    with warehouse.connect() as connection:  # the ledger counts more than there is
        connection.execute("update raw.load_windows set row_count = 2 where usage_date = '2026-11-21'")
    with pytest.raises(ChecksFailedError) as told:
        night(settings, days_later=10)
    lines = str(told.value).splitlines()
    assert lines[0] == "The build did not pass; what is published stays as it was."
    assert lines[1].startswith("  test conserves_fct_usage_events_")
    assert lines[1].endswith(": 1 rows fail")
    assert lines[-1] == (
        f"Their SQL is below {settings.paths.build_dir / 'target' / 'run'}; "
        "correct the cause and run `chargeback build`."
    )
    assert settings.paths.published.read_bytes() == before
    record = read_runs(settings.paths)[-1]
    assert (record.result, record.exit_code, record.published) == ("failed", 1, False)
    assert any(name.startswith("conserves_fct_usage_events_") for name in record.failing)
    with warehouse.connect() as connection:
        connection.execute("update raw.load_windows set row_count = 1 where usage_date = '2026-11-21'")


def test_the_dbt_of_a_killed_run_ends_with_it_and_the_next_run_makes_good(built):
    settings, _ = built
    before = published_run(settings.paths.published)
    command = [sys.executable, "-m", "pipelines.cli", "build"]
    environment = {**os.environ, "CHARGEBACK__DATA_DIR": str(settings.paths.data_dir), "CHARGEBACK__PLAN": "enterprise"}
    killed = subprocess.Popen(command, cwd=PROJECT_DIR, env=environment)
    output = settings.paths.build_dir / "logs" / "output.log"
    started = output.stat().st_mtime_ns
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and (output.stat().st_mtime_ns == started or b"START" not in output.read_bytes()):
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    with run_lock(settings.paths, "test"):  # at the latest after the dying dbt
        assert published_run(settings.paths.published) == before
    night(settings, days_later=11)
    assert published_run(settings.paths.published) == read_runs(settings.paths)[-1].run_id


def try_build(settings: Settings) -> None:
    with run_lock(settings.paths, "build") as lock:
        build(settings, clock=Clock(NOW), run_id="run-1", full_refresh=False, lock_descriptor=lock, progress=Progress())


def test_a_missing_foreign_or_broken_warehouse_is_named_and_left_as_it_is(built, paths):
    settings = replace(built[0], paths=replace(paths, seeds_dir=built[0].paths.seeds_dir))
    with pytest.raises(FileError) as told:
        try_build(settings)
    assert str(told.value) == (
        f"There is no warehouse at {paths.warehouse}: nothing was loaded yet. Run `chargeback load` first."
    )
    with duckdb.connect(str(paths.warehouse)) as connection:
        connection.execute("create table sales (amount int)")
    with pytest.raises(FileError) as told:
        try_build(settings)
    assert str(told.value) == (
        f"{paths.warehouse} is a DuckDB file, but not one that this pipeline loaded: it lacks our raw tables. "
        "It is left as it is: move it away, or set CHARGEBACK__DATA_DIR to another folder."
    )
    paths.warehouse.write_bytes(b"not a database")
    with pytest.raises(FileError) as told:
        try_build(settings)
    assert str(told.value).startswith(
        f"The warehouse {paths.warehouse} is not a DuckDB file that can be read (IO Error:"
    )
    assert paths.warehouse.read_bytes() == b"not a database"


def test_a_warehouse_that_another_program_writes_to_is_named(built):
    settings, warehouse = built
    hold = (
        f"import duckdb, sys; c = duckdb.connect({str(warehouse.path)!r}); print('held', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen([sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    other.stdout.readline()
    with pytest.raises(FileError) as told:
        night(settings, days_later=11)
    other.communicate("")
    assert str(told.value).startswith(
        f"The warehouse {warehouse.path} is open in another program, which must close it first: IO Error: Could not"
    )
