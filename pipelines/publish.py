"""Replaces the published file, in one step, by a build that passed; the only place that touches it.

Readers keep the file they opened; whoever opens it later sees the new one. Whatever happens on the way, the published
path holds either the old file or the new one.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import duckdb
import pendulum

from pipelines.errors import BuildError, FileError
from pipelines.paths import DataPaths
from pipelines.runs import DISK_FULL, Progress, file_error_message, make_private_folder, usable

MARTS = "marts"
OWN_SCHEMAS = frozenset({"main", "information_schema", "pg_catalog", MARTS})


@dataclass(frozen=True)
class Publication:
    """What a published file says of itself. Times are UTC without zone."""

    run_id: str
    published_at: datetime
    version: str
    model_fingerprint: str
    full_tests_at: datetime | None


@contextmanager
def open_read_only(path: Path, what: str) -> Iterator[duckdb.DuckDBPyConnection]:
    """A read-only connection, closed again; `what` names the file in messages.

    Raises:
        FileError: it is not a DuckDB file that can be read, or another program is writing to it.
    """
    with usable(path):
        with path.open("rb"):  # says a lot better than DuckDB what the operating system refuses
            pass
        try:
            connection = duckdb.connect(str(path), read_only=True)
        except duckdb.Error as error:
            raise FileError(_unreadable(error, path, what)) from error
    try:
        connection.execute("set TimeZone = 'UTC'")
        yield connection
    finally:
        connection.close()


def _unreadable(error: duckdb.Error, path: Path, what: str) -> str:
    reason = str(error).splitlines()[0][:200]
    if any(os.strerror(number) in str(error) for number in DISK_FULL):
        return file_error_message(OSError(errno.ENOSPC, reason), path)
    if "could not set lock" in reason.lower():
        return f"{what} {path} is open in another program, which must close it first: {reason}"
    return (
        f"{what} {path} is not a DuckDB file that can be read ({reason}). Move it away or restore it, then run again."
    )


def read_publication(path: Path) -> Publication:
    """What the file at the published path is.

    Raises:
        FileError: it is corrupt, or it is not ours. It is never overwritten.
    """
    with open_read_only(path, "The published file") as connection:
        try:
            rows = connection.execute(
                f"select run_id, published_at, version, model_fingerprint, full_tests_at from {MARTS}.mart_publication"
            ).fetchall()
        except duckdb.CatalogException as error:
            raise FileError(
                f"{path} is a DuckDB file, but not one that this pipeline published: no {MARTS}.mart_publication. "
                "It is left as it is: move it away, or set CHARGEBACK__DATA_DIR to another folder."
            ) from error
        except duckdb.Error as error:
            raise FileError(_unreadable(error, path, "The published file")) from error
    if len(rows) != 1:
        raise FileError(f"{path} is damaged: mart_publication holds {len(rows)} rows. Move it away and run again.")
    return Publication(*rows[0])


def move_stale_wal_aside(paths: DataPaths) -> str | None:
    """Moves a write-ahead log beside the published file away, as DuckDB would replay it into the wrong file.

    Returns what to tell a person, or None when there was none.
    """
    wal = paths.published.with_name(f"{paths.published.name}.wal")
    aside = wal.with_name(f"{wal.name}.aside-{pendulum.now('UTC').format('YYYYMMDD[T]HHmmss')}")
    with usable(wal):
        try:
            wal.rename(aside)
        except FileNotFoundError:
            return None
    return (
        f"{wal} lay beside the published file and was moved to {aside.name}: somebody opened the file for writing. "
        "Nothing of it is in the file. Open it read-only."
    )


def publish(paths: DataPaths, run_id: str, progress: Progress) -> None:
    """Moves the build of `run_id` to the published path; the one before is kept in `previous/`.

    Raises:
        BuildError: the build is not what may be published.
        FileError: a file cannot be written, or what lies at the published path is not ours.
    """
    _settle(paths.build_file)
    _verify(paths.build_file, run_id)
    if paths.published.exists():
        read_publication(paths.published)
    with usable(paths.build_file):
        paths.build_file.chmod(0o444)
        sync(paths.build_file)
    _keep_previous(paths)
    if warning := move_stale_wal_aside(paths):
        progress.warn(warning)
    with usable(paths.published):
        paths.build_file.replace(paths.published)
        sync(paths.published.parent)


def _settle(build_file: Path) -> None:
    """Everything is in the file itself, and nothing but marts is."""
    try:
        with duckdb.connect(str(build_file)) as connection:
            schemas = connection.execute(
                "select schema_name from duckdb_schemas() where database_name = current_database() order by 1"
            ).fetchall()
            for (schema,) in schemas:
                if schema not in OWN_SCHEMAS:
                    connection.execute(f'drop schema "{schema}" cascade')
            connection.execute("force checkpoint")
    except duckdb.Error as error:
        raise FileError(_unreadable(error, build_file, "The build")) from error
    if build_file.with_name(f"{build_file.name}.wal").exists():
        raise BuildError(f"The build {build_file} was not closed cleanly. Nothing was published; run again.")


def _verify(build_file: Path, run_id: str) -> None:
    publication = read_publication(build_file)
    if publication.run_id != run_id:
        raise BuildError(
            f"The build {build_file} is of run {publication.run_id}, not of {run_id}. Nothing was published."
        )
    with open_read_only(build_file, "The build") as connection:
        strangers = connection.execute(
            "select schema_name || '.' || table_name from duckdb_tables() "
            f"where database_name = current_database() and schema_name <> '{MARTS}' "
            "union all select schema_name || '.' || view_name from duckdb_views() "
            "where database_name = current_database() and not internal order by 1"
        ).fetchall()
    if strangers:
        names = ", ".join(name for (name,) in strangers)
        raise BuildError(
            f"The build holds what must not be published: {names}. Only tables of the schema {MARTS} may be in it: "
            "a view breaks when the file is attached under another name. Nothing was published."
        )


def _keep_previous(paths: DataPaths) -> None:
    if not paths.published.exists():
        return
    make_private_folder(paths.previous.parent)
    kept = paths.previous.with_name(f".{paths.previous.name}.new")
    with usable(paths.previous):
        kept.unlink(missing_ok=True)
        try:
            os.link(paths.published, kept)
        except OSError:  # a file system without hard links
            shutil.copyfile(paths.published, kept)
            kept.chmod(0o444)
            sync(kept)
        kept.replace(paths.previous)
        kept.unlink(missing_ok=True)  # replacing a file by another name of itself leaves both
        sync(paths.previous.parent)


def sync(path: Path) -> None:
    """What was written is on the disk, not only on its way there."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        # a folder cannot be synced on some network file systems; its files have been
        with suppress(OSError) if path.is_dir() else usable(path):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
