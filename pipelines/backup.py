"""Backup and restore of what cannot be fetched again: raw tables as Parquet, seed files, and a manifest of checksums.

A backup is one folder, named after its instant, in a folder that holds nothing else. It appears whole or not at all,
and a file that is the same as in the backup before shares its space, so that a backup each night costs what changed.
Only what counts is in it: rows without a row in their ledger are left out.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import duckdb
import pendulum

from pipelines import close_ledger, publish
from pipelines.close_ledger import CLOSED_MONTHS, month_after
from pipelines.errors import ConfigError, FileError
from pipelines.landing import (
    BATCH_COLUMNS,
    RAW_SCHEMAS,
    WAREHOUSE_CONFIG,
    Landing,
    add_missing_tables,
    fresh_working_dir,
)
from pipelines.paths import DataPaths
from pipelines.publish import sync
from pipelines.runs import make_private_folder, prepare_data_folder, run_lock
from pipelines.seeds import SEEDS
from pipelines.streams import STREAM_TABLES

FORMAT = 1
MANIFEST = "manifest.json"
UNFINISHED = ".unfinished"
BACKUP_NAME = re.compile(r"\d{8}T\d{6}\.\d{6}Z")
FILE_NAME = re.compile(r"(raw|seeds)/\w+(-\d{4}-\d{2})?\.(parquet|csv)")

# Rows count only if their ledger says so: table -> (column, ledger).
LEDGERS = {
    "usage_events": ("batch_id", "load_windows"),
    "closed_daily_charges": ("close_id", CLOSED_MONTHS),
    "closed_monthly_chargeback": ("close_id", CLOSED_MONTHS),
    **dict.fromkeys(STREAM_TABLES.values(), ("batch_id", "stream_reads")),
    **{table: (column, "snapshot_reads") for table, column in BATCH_COLUMNS.items() if column == "snapshot_id"},
}
# Tables whose old months rest: a file per month, so that most of a backup is the one of the night before.
MONTHS_OF = {
    "usage_events": "usage_date",
    "audit_events": "occurred_at",
    "daily_usage": "usage_date",
    "ai_commits": "created_at",
}


@dataclass(frozen=True)
class BackupFile:
    """One file of a backup; `path` is relative to it. A seed file has no table and no rows."""

    path: str
    sha256: str
    size: int
    table: str | None = None
    row_count: int | None = None


def backup(paths: DataPaths, folder: Path, keep: int) -> Path:
    """Write a backup into `folder` and drop the oldest beyond `keep`; answers where it is.

    Raises:
        ConfigError: the folder lies in the data folder.
        FileError: there is nothing to back up, the folder holds something else, or it cannot be written.
        LockedError: a run is going on.
    """
    folder = folder.expanduser().resolve()
    if folder.is_relative_to(paths.data_dir):
        raise ConfigError(f"{folder} lies in the data folder and would be lost with it. Choose a folder elsewhere.")
    if not paths.warehouse.exists():
        raise FileError(f"There is no warehouse at {paths.warehouse}: nothing to back up. Run `chargeback run` first.")
    with run_lock(paths, "backup"), _writing_to(folder):
        add_missing_tables(paths)
        earlier = _backups_in(folder)
        unfinished = folder / UNFINISHED
        shutil.rmtree(unfinished, ignore_errors=True)
        make_private_folder(unfinished)
        try:
            _write_backup(paths, unfinished, earlier[-1] if earlier else None)
            target = folder / pendulum.now("UTC").format("YYYYMMDD[T]HHmmss.SSSSSS[Z]")
            unfinished.rename(target)
            sync(folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
        for old in earlier[: max(0, len(earlier) + 1 - keep)]:
            old.rename(unfinished)  # a backup that is half gone must not look like one
            shutil.rmtree(unfinished)
    if sys.stderr.isatty():
        print(f"Backed up to {target}", file=sys.stderr)  # noqa: T201  # progress, and only on a terminal
    return target


@contextmanager
def _writing_to(folder: Path) -> Iterator[None]:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        yield
    except (OSError, duckdb.IOException) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error).splitlines()[0][:200]
        raise FileError(
            f"The backup could not be written to {folder} ({reason}). Backups that lie there are as they were; "
            "make room, or choose a folder you can write."
        ) from error


def _backups_in(folder: Path) -> list[Path]:
    """Finished backups, oldest first. Raises FileError when the folder holds anything else."""
    entries = sorted(folder.iterdir())
    strange = [one.name for one in entries if one.name != UNFINISHED and not _is_backup(one)]
    if strange:
        raise FileError(
            f"{folder} holds something else than backups ({strange[0]}). Choose a folder of its own; a new one is made."
        )
    return [one for one in entries if one.name != UNFINISHED]


def _is_backup(path: Path) -> bool:
    return BACKUP_NAME.fullmatch(path.name) is not None and (path / MANIFEST).is_file()


def _write_backup(paths: DataPaths, target: Path, before: Path | None) -> None:
    known = {one.path: one for one in _manifest_files(before)} if before is not None else {}
    files: list[BackupFile] = []
    tables: dict[str, dict[str, str]] = {}
    for name in ("raw", "seeds"):
        make_private_folder(target / name)
    with publish.open_read_only(paths.warehouse, "The warehouse") as connection:
        close_ledger.verify_closed_months(connection, paths.warehouse)
        for name, value in {**WAREHOUSE_CONFIG, "preserve_insertion_order": True}.items():
            connection.execute(f"set {name} = '{value}'")
        for table in RAW_SCHEMAS:
            tables[table] = _columns(connection, table)
            for path, condition in _pieces(connection, table):
                row_count = _copy_out(connection, table, condition, target / path)
                files.append(_settle(target, path, known.get(path), before, table, row_count))
    for name in SEEDS:
        source = paths.seeds_dir / f"{name}.csv"
        if source.exists():
            path = f"seeds/{name}.csv"
            shutil.copyfile(source, target / path)
            files.append(_settle(target, path, known.get(path), before))
    manifest = {
        "format": FORMAT,
        "version": importlib.metadata.version("cursor-chargeback"),
        "duckdb_version": duckdb.__version__,
        "written_at": pendulum.now("UTC").to_iso8601_string(),
        "tables": tables,
        "files": [asdict(one) for one in files],
    }
    (target / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    for written in (target / MANIFEST, target / "raw", target / "seeds", target):
        sync(written)


def _columns(connection: duckdb.DuckDBPyConnection, table: str) -> dict[str, str]:
    """Names and types of a raw table, by name."""
    rows = connection.execute(
        "select column_name, data_type from duckdb_columns() where schema_name = 'raw' and table_name = ? order by 1",
        [table],
    ).fetchall()
    return dict(rows)


def _pieces(connection: duckdb.DuckDBPyConnection, table: str) -> list[tuple[str, str]]:
    """The files of a table with the condition for each: one, or one per month."""
    counts = "true"
    if table in LEDGERS:
        column, ledger = LEDGERS[table]
        counts = f"{column} in (select {column} from raw.{ledger} where {column} is not null)"
    if table not in MONTHS_OF:
        return [(f"raw/{table}.parquet", counts)]
    column = MONTHS_OF[table]
    months = connection.execute(
        f"select distinct cast(date_trunc('month', {column}) as date) from raw.{table} where {counts} order by 1"
    ).fetchall()
    return [
        # a range, not an equation of months: the engine skips what lies outside
        (f"raw/{table}-{one:%Y-%m}.parquet", f"{counts} and {column} >= '{one}' and {column} < '{month_after(one)}'")
        if one is not None
        else (f"raw/{table}.parquet", f"{counts} and {column} is null")  # a row whose time nobody could read
        for (one,) in months
    ]


def _copy_out(connection: duckdb.DuckDBPyConnection, table: str, condition: str, path: Path) -> int:
    target = str(path).replace("'", "''")
    found = connection.execute(
        f"copy (select * from raw.{table} where {condition} order by rowid) to '{target}' "
        "(format parquet, compression zstd)"
    ).fetchone()
    assert found is not None
    return int(found[0])


def _settle(
    target: Path,
    path: str,
    known: BackupFile | None,
    before: Path | None,
    table: str | None = None,
    row_count: int | None = None,
) -> BackupFile:
    """The file is private and on disk; one that the backup before holds as well, undamaged, is linked to it."""
    written = target / path
    sha256 = _sha256(written)
    if known is not None and before is not None and known.sha256 == sha256:
        with suppress(OSError):  # damaged or gone there, or a file system without links: the new one stays
            if _sha256(before / path) == sha256:
                link = written.with_name(f"{written.name}.link")
                os.link(before / path, link)
                link.replace(written)
    written.chmod(0o600)
    sync(written)
    return BackupFile(path, sha256, written.stat().st_size, table, row_count)


def restore(paths: DataPaths, folder: Path) -> str:
    """Fill an empty data folder from a backup; answers what to tell. Every file is checked before anything is written.

    Raises:
        ConfigError: the data folder is not empty, or there is no backup in `folder`.
        FileError: a file is damaged or missing, or the backup is of other tables than these.
        LockedError: a run is going on.
    """
    source = _find_backup(folder.expanduser().resolve())
    manifest = _manifest(source)
    files = _manifest_files(source)
    for one in files:
        _check(source, one)
    prepare_data_folder(paths)
    with run_lock(paths, "restore"):
        _refuse_data(paths, source, files)
        with fresh_working_dir(paths, "restore") as working:
            warehouse = working / "warehouse.duckdb"
            Landing(warehouse, working / "dlt").create_tables({})
            _fill(warehouse, source, manifest, files)
            make_private_folder(paths.seeds_dir)
            for one in files:
                if one.table is None:
                    shutil.copyfile(source / one.path, paths.seeds_dir / Path(one.path).name)
            warehouse.replace(paths.warehouse)  # last: without it the folder still counts as empty
            sync(paths.data_dir)
    events = sum(one.row_count or 0 for one in files if one.table == "usage_events")
    return (
        f"Restored {source.name}: {events:,} stored events and everything beside them are in {paths.data_dir}. "
        "Now run `chargeback run`."
    )


def _find_backup(folder: Path) -> Path:
    if (folder / MANIFEST).is_file():
        return folder
    found = sorted(one for one in folder.iterdir() if _is_backup(one)) if folder.is_dir() else []
    if not found:
        raise ConfigError(f"There is no backup in {folder}. Name the folder that `chargeback backup` was given.")
    return found[-1]


def _manifest(source: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((source / MANIFEST).read_bytes())
        if manifest["format"] != FORMAT:
            raise FileError(
                f"The backup {source} has format {manifest['format']}, this version reads {FORMAT}. Restore it with "
                f"version {manifest['version']}."
            )
        return dict(manifest)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FileError(_damaged(source, MANIFEST, "cannot be read")) from error


def _manifest_files(source: Path) -> list[BackupFile]:
    try:
        files = [BackupFile(**one) for one in _manifest(source)["files"]]
    except (KeyError, TypeError) as error:
        raise FileError(_damaged(source, MANIFEST, "cannot be read")) from error
    if wrong := [one.path for one in files if not FILE_NAME.fullmatch(one.path)]:
        raise FileError(_damaged(source, MANIFEST, f"names {wrong[0]!r}"))
    return files


def _check(source: Path, file: BackupFile) -> None:
    path = source / file.path
    try:
        is_right = path.stat().st_size == file.size and _sha256(path) == file.sha256
    except OSError as error:
        raise FileError(_damaged(source, file.path, f"cannot be read ({error.strerror})")) from error
    if not is_right:
        raise FileError(_damaged(source, file.path, "is not what was written (its checksum differs)"))


def _damaged(source: Path, name: str, what: str) -> str:
    return f"The backup {source} is damaged: {name} {what}. Nothing was restored; use another backup."


def _refuse_data(paths: DataPaths, source: Path, files: list[BackupFile]) -> None:
    """Only a folder without data is filled. Seed files may lie there if they are those of the backup."""
    seeds = {Path(one.path).name: source / one.path for one in files if one.table is None}
    for path in sorted(paths.seeds_dir.glob("*.csv")) if paths.seeds_dir.exists() else []:
        if path.name in seeds and path.read_bytes() != seeds[path.name].read_bytes():
            raise ConfigError(
                f"{path} is not the file of the backup. Move it away, or copy it over {seeds[path.name].name} after "
                "restoring; nothing was restored."
            )
    ours = {paths.lock, paths.build_dir, paths.logs_dir, paths.seeds_dir}
    if others := sorted(one.name for one in paths.data_dir.iterdir() if one not in ours):
        raise ConfigError(
            f"The data folder {paths.data_dir} is not empty ({others[0]}). Restore into a new one: move it away, or "
            "set CHARGEBACK__DATA_DIR; nothing was restored."
        )


def _fill(warehouse: Path, source: Path, manifest: dict[str, Any], files: list[BackupFile]) -> None:
    """All rows, in one transaction, counted."""
    with duckdb.connect(str(warehouse)) as connection:
        connection.execute("set TimeZone = 'UTC'")
        for name, value in WAREHOUSE_CONFIG.items():
            connection.execute(f"set {name} = '{value}'")
        for table in sorted({*RAW_SCHEMAS, *manifest["tables"]}):
            if manifest["tables"].get(table) != (_columns(connection, table) or None):
                raise FileError(
                    f"The backup {source} is of version {manifest.get('version')}, where {table} has other columns. "
                    "Restore it with that version, and run that before this one; nothing was restored."
                )
        connection.execute("begin")
        for one in files:
            if one.table is None:
                continue
            path = str(source / one.path).replace("'", "''")
            found = connection.execute(
                f"insert into raw.{one.table} by name select * from read_parquet('{path}')"
            ).fetchone()
            if found is None or found[0] != one.row_count:
                raise FileError(_damaged(source, one.path, f"does not hold {one.row_count} rows"))
        connection.execute("commit")
        close_ledger.verify_closed_months(connection, f"the backup {source}")
        connection.execute("force checkpoint")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
