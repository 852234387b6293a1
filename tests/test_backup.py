"""Backup and restore through the command line: what is in one, what it refuses, and that nothing is lost on the way."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from datetime import date
from pathlib import Path

import duckdb
import pytest
from conftest import FIRST_NIGHT, Company
from nights import OF_THE_READS, Installation, Outcome, differences, instant

from pipelines import backup as backups
from pipelines.landing import BATCH_COLUMNS, RAW_SCHEMAS
from pipelines.runs import run_lock
from pipelines.simulator import Organisation, SimulatorServer

NOW = ("--now", instant(FIRST_NIGHT))


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """A warehouse that was loaded and never built."""
    organisation = Organisation.invent(people=6, events_per_person_day=1.0)
    with SimulatorServer(organisation, now=FIRST_NIGHT, rate_limited=False) as server:
        place = Installation(
            tmp_path_factory.mktemp("loaded") / "data", server.base_url, server.api_key, date(2026, 10, 25)
        )
        assert place.command("load", *NOW) == Outcome(0, "", "")
    (place.paths.seeds_dir / "plans.csv").write_text("team,plan,valid_from_date,usage_rate\n,teams,,\n")
    return place


def only_backup(folder: Path) -> Path:
    (found,) = folder.iterdir()
    return found


def counts(place: Installation) -> dict[str, int]:
    return {
        table: place.query(f"select count(*) from raw.{table}", place.paths.warehouse)[0][0] for table in RAW_SCHEMAS
    }


def elsewhere(place: Installation, folder: Path) -> Installation:
    return replace(place, folder=folder)


# -- there and back --------------------------------------------------------------------------------------------------


def test_a_restored_folder_publishes_the_same_tables_also_when_the_api_has_forgotten_the_past(
    company: Company, tmp_path: Path
):
    place = company.copy(tmp_path / "data")
    closed = place.finish("close", "2026-10", *NOW)
    assert (closed.exit_code, closed.stderr) == (0, "")
    assert place.finish("backup", str(tmp_path / "backup")) == Outcome(0, "", "")
    restored = elsewhere(place, tmp_path / "new")
    done = restored.finish("restore", str(tmp_path / "backup"))
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.startswith(f"Restored {only_backup(tmp_path / 'backup').name}: ")
    assert counts(restored) == counts(place)
    behaviour = replace(company.organisation.behaviour, event_retention_days=4, audit_retention_days=4)
    forgetful = Organisation.invent(
        seed=11, people=9, start=date(2026, 10, 20), end=date(2026, 11, 20), events_per_person_day=4.0, groups=4,
        behaviour=behaviour,
    )  # fmt: skip
    with SimulatorServer(forgetful, now=FIRST_NIGHT, rate_limited=False) as server:
        restored = replace(restored, base_url=server.base_url, api_key=server.api_key)
        assert restored.finish("run", *NOW) == Outcome(0, "", "")
    reads = {**OF_THE_READS, "mart_load_coverage": (*OF_THE_READS["mart_load_coverage"], "read_count")}
    assert differences(place.paths.published, restored.paths.published, reads) == {}
    assert restored.query("select distinct is_closed from marts.fct_monthly_chargeback order by 1") == [
        (False,),
        (True,),
    ]


def test_a_backup_holds_every_raw_table_and_seed_file_with_its_checksum_and_is_private(loaded, tmp_path):
    target = tmp_path / "backup"
    assert loaded.finish("backup", str(target)) == Outcome(0, "", "")
    source = only_backup(target)
    manifest = json.loads((source / "manifest.json").read_text())
    assert set(manifest["tables"]) == set(RAW_SCHEMAS)
    names = {one["path"] for one in manifest["files"]}
    assert {"raw/usage_events-2026-10.parquet", "raw/usage_events-2026-11.parquet", "seeds/plans.csv"} <= names
    assert names | {"manifest.json"} == {
        path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()
    }
    by_table: dict[str, int] = {}
    for one in manifest["files"]:
        assert backups._sha256(source / one["path"]) == one["sha256"]
        if one["table"]:
            by_table[one["table"]] = by_table.get(one["table"], 0) + one["row_count"]
    assert {table: by_table.get(table, 0) for table in RAW_SCHEMAS} == counts(loaded)
    assert all(path.stat().st_mode & 0o077 == 0 for path in [target, *target.rglob("*")])


def test_rows_that_do_not_count_are_left_out(loaded, tmp_path):
    place = loaded.copy_to(tmp_path / "data")
    before = counts(place)
    with duckdb.connect(str(place.paths.warehouse)) as connection:
        for table, column in BATCH_COLUMNS.items():
            connection.execute(f"insert into raw.{table} by name select 'killed' as {column}, 'default' as team")
    assert place.command("backup", str(tmp_path / "backup")) == Outcome(0, "", "")
    restored = elsewhere(place, tmp_path / "new")
    assert restored.command("restore", str(tmp_path / "backup")).exit_code == 0
    assert counts(restored) == before
    assert set(backups.LEDGERS) == set(BATCH_COLUMNS)


def test_what_did_not_change_shares_its_space_and_the_oldest_backups_go(loaded, tmp_path):
    place, target = loaded.copy_to(tmp_path / "data"), tmp_path / "backup"
    for _ in range(3):
        assert place.command("backup", str(target), "--keep", "2") == Outcome(0, "", "")
    first, second = sorted(target.iterdir())
    october = "raw/usage_events-2026-10.parquet"
    assert (first / october).samefile(second / october)
    damaged = (second / october).read_bytes()
    (second / october).write_bytes(damaged[:-1] + b"?")  # what has rotted is not handed on
    assert place.command("backup", str(target)) == Outcome(0, "", "")
    third = sorted(target.iterdir())[-1]
    assert (third / october).read_bytes() == damaged


def test_what_a_killed_backup_left_is_cleared_away(loaded, tmp_path):
    target = tmp_path / "backup"
    (target / ".unfinished" / "raw").mkdir(parents=True)
    assert loaded.command("backup", str(target)) == Outcome(0, "", "")
    assert backups.BACKUP_NAME.fullmatch(only_backup(target).name)


# -- what is refused -------------------------------------------------------------------------------------------------


@pytest.fixture
def backed_up(loaded, tmp_path) -> Path:
    assert loaded.command("backup", str(tmp_path / "backup")) == Outcome(0, "", "")
    return only_backup(tmp_path / "backup")


@pytest.mark.parametrize("name", ["raw/snapshot_reads.parquet", "seeds/plans.csv"])
def test_a_damaged_file_is_named_and_nothing_is_restored(loaded, backed_up, tmp_path, name):
    content = (backed_up / name).read_bytes()
    restored = elsewhere(loaded, tmp_path / "new")
    for bad, what in (
        (content[:-1], "is not what was written (its checksum differs)"),
        (content[:-1] + bytes([content[-1] ^ 1]), "is not what was written (its checksum differs)"),
        (None, "cannot be read (No such file or directory)"),
    ):
        (backed_up / name).unlink()
        if bad is not None:
            (backed_up / name).write_bytes(bad)
        assert restored.command("restore", str(backed_up.parent)) == Outcome(
            1, "", f"The backup {backed_up} is damaged: {name} {what}. Nothing was restored; use another backup.\n"
        )
        assert not restored.folder.exists()


def edited(source: Path, **values: object) -> None:
    manifest = json.loads((source / "manifest.json").read_text())
    (source / "manifest.json").write_text(json.dumps({**manifest, **values}))


def test_a_damaged_or_foreign_manifest_is_named(loaded, backed_up, tmp_path):
    restored = elsewhere(loaded, tmp_path / "new")
    whole = (backed_up / "manifest.json").read_text()
    damaged = f"The backup {backed_up} is damaged: manifest.json"
    (backed_up / "manifest.json").write_text(whole[:100])
    assert restored.command("restore", str(backed_up)).stderr.startswith(f"{damaged} cannot be read.")
    (backed_up / "manifest.json").write_text(whole)
    files = json.loads(whole)["files"]
    edited(backed_up, files=[{**files[0], "path": "../../elsewhere.parquet"}])
    assert restored.command("restore", str(backed_up)).stderr.startswith(f"{damaged} names '../../elsewhere.parquet'.")
    edited(backed_up, files=[files[0] | {"row_count": 7}])
    assert restored.command("restore", str(backed_up)).stderr.startswith(
        f"The backup {backed_up} is damaged: {files[0]['path']} does not hold 7 rows."
    )
    edited(backed_up, files=files, tables={**json.loads(whole)["tables"], "members": {"team": "VARCHAR"}})
    assert restored.command("restore", str(backed_up)).stderr.startswith(
        f"The backup {backed_up} is of version {json.loads(whole)['version']}, where members has other columns."
    )
    edited(backed_up, format=2)
    assert restored.command("restore", str(backed_up)).stderr.startswith(f"The backup {backed_up} has format 2, ")
    assert not restored.paths.warehouse.exists()
    (backed_up / "manifest.json").write_text(whole)
    assert restored.command("restore", str(backed_up)).exit_code == 0  # what failed left nothing in the way


def test_only_an_empty_data_folder_is_filled(loaded, backed_up, tmp_path):
    place = loaded.copy_to(tmp_path / "data")
    before = place.paths.warehouse.read_bytes()
    done = place.command("restore", str(backed_up))
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith(f"The data folder {place.folder} is not empty (runs.jsonl). Restore into a new one:")
    assert place.paths.warehouse.read_bytes() == before


def test_seed_files_that_differ_from_the_backup_are_not_overwritten(loaded, backed_up, tmp_path):
    seeds = tmp_path / "seeds"
    shutil.copytree(loaded.paths.seeds_dir, seeds)
    restored = replace(loaded, folder=tmp_path / "new", more={"CHARGEBACK__SEEDS_DIR": str(seeds)})
    (seeds / "plans.csv").write_text("team,plan,valid_from_date,usage_rate\n,enterprise,,\n")
    done = restored.command("restore", str(backed_up))
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith(f"{seeds / 'plans.csv'} is not the file of the backup.")
    shutil.copyfile(backed_up / "seeds" / "plans.csv", seeds / "plans.csv")
    assert restored.command("restore", str(backed_up)).exit_code == 0
    assert restored.paths.warehouse.exists()


def test_a_folder_that_holds_something_else_is_left_alone(loaded, tmp_path):
    target = tmp_path / "documents"
    target.mkdir()
    (target / "letter.txt").write_text("dear")
    assert loaded.command("backup", str(target)) == Outcome(
        1,
        "",
        f"{target} holds something else than backups (letter.txt). Choose a folder of its own; a new one is made.\n",
    )
    assert [path.name for path in target.iterdir()] == ["letter.txt"]
    done = loaded.command("backup", str(loaded.folder / "backup"))
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith(f"{loaded.folder / 'backup'} lies in the data folder and would be lost with it.")


def test_a_place_that_cannot_be_written_is_named(loaded, tmp_path):
    (tmp_path / "file").write_text("")
    done = loaded.command("backup", str(tmp_path / "file" / "backup"))
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith(
        f"The backup could not be written to {tmp_path / 'file' / 'backup'} (Not a directory). Backups that lie there"
    )


def test_what_is_not_there_is_said(loaded, tmp_path):
    empty = elsewhere(loaded, tmp_path / "new")
    (tmp_path / "nothing").mkdir()
    done = empty.command("restore", str(tmp_path / "nothing"))
    assert (done.exit_code, done.stderr) == (
        2,
        f"There is no backup in {tmp_path / 'nothing'}. Name the folder that `chargeback backup` was given.\n",
    )
    done = empty.command("backup", str(tmp_path / "backup"))
    assert (done.exit_code, done.stderr) == (
        1,
        f"There is no warehouse at {empty.paths.warehouse}: nothing to back up. Run `chargeback run` first.\n",
    )
    assert not (tmp_path / "backup").exists()


def test_backup_and_restore_wait_for_nobody(loaded, backed_up, tmp_path):
    with run_lock(loaded.paths, "run"):
        done = loaded.command("backup", str(tmp_path / "backup"))
    assert done.exit_code == 75
    assert done.stderr.startswith(f"`chargeback run` (process {os.getpid()}, since ")
