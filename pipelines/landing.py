"""Writing to the warehouse through dlt: append only, and nothing counts before the destination was asked."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dlt
import pyarrow as pa
from dlt.destinations.impl.duckdb.configuration import DuckDbCredentials
from dlt.pipeline.exceptions import PipelineStepFailed

from pipelines import cursor_admin
from pipelines.close_ledger import CLOSE_SCHEMAS
from pipelines.cursor_admin.tables import FROZEN, SCHEMAS, dlt_hints
from pipelines.cursor_admin.windows import WindowRead, merge_spools
from pipelines.errors import ApiError, LoadError
from pipelines.paths import DataPaths
from pipelines.publish import open_read_only
from pipelines.runs import make_private_folder

# A backfill of any size stays under half a gigabyte: one thread fills one row group at a time.
WAREHOUSE_CONFIG = {"memory_limit": "128MB", "threads": 1}

# Every raw table: those of the source and those of the close ledger.
RAW_SCHEMAS = {**SCHEMAS, **CLOSE_SCHEMAS}

# Which column says to which batch a row belongs.
BATCH_COLUMNS = {
    "usage_events": "batch_id",
    "billing_groups": "snapshot_id",
    "billing_group_members": "snapshot_id",
    "members": "snapshot_id",
    "audit_events": "batch_id",
    "member_spend": "snapshot_id",
    "billing_group_daily_spend": "snapshot_id",
    "directory_groups": "snapshot_id",
    "directory_group_members": "snapshot_id",
    "repository_blocklists": "snapshot_id",
    "pooled_usage": "snapshot_id",
    "daily_usage": "batch_id",
    "ai_commits": "batch_id",
    "closed_daily_charges": "close_id",
    "closed_monthly_chargeback": "close_id",
}


class Landing:
    """One team's way into the warehouse, for one run.

    `working_dir` is fresh for each run: no load package of a killed run can be resumed from it, and losing it loses
    nothing, as all state lies in the ledgers beside the data.
    """

    def __init__(self, warehouse: Path, working_dir: Path) -> None:
        self._warehouse = warehouse
        self._pipeline = dlt.pipeline(
            pipeline_name="cursor_admin",
            pipelines_dir=str(working_dir),
            destination=dlt.destinations.duckdb(DuckDbCredentials(str(warehouse), global_config=WAREHOUSE_CONFIG)),
            dataset_name="raw",
        )
        self._pipeline.config.restore_from_destination = False

    def create_tables(self, first: Mapping[str, pa.Table]) -> None:
        """Make every raw table exist, also before its first row, and append the rows of `first`."""
        self.append({name: [first.get(name, schema.empty_table())] for name, schema in RAW_SCHEMAS.items()})

    def append(self, tables: Mapping[str, list[pa.Table]], reads: Iterable[WindowRead] = ()) -> None:
        """Append rows by raw table, and the spooled rows of whole days, in one load.

        Raises:
            LoadError: the warehouse could not be written; nothing of this call counts.
        """
        resources: list[Any] = [_resource(name, rows) for name, rows in tables.items() if rows]
        if spooled := [read for read in reads if read.row_count]:
            merged = spooled[0].path.with_name("merged.parquet")
            resources.append(cursor_admin.usage_events(merged, merge_spools(spooled, merged)))
        if not resources:
            return
        try:
            self._pipeline.run(resources, loader_file_format="parquet")
        except PipelineStepFailed as error:
            cause: BaseException = error
            while cause.__cause__ is not None:
                cause = cause.__cause__
            if isinstance(cause, ApiError | OSError):
                raise cause from None
            raise LoadError(
                f"The warehouse {self._warehouse} could not be written: {str(cause).splitlines()[0][:200]}. Nothing of "
                "this batch counts; check disk space and that no other program has the file open, then run again."
            ) from error

    def check(self, expected: Mapping[tuple[str, str], int]) -> None:
        """Raise LoadError unless each (table, batch) holds exactly the expected number of rows."""
        found: dict[tuple[str, str], int] = {}
        with self._pipeline.sql_client() as client:
            for table, column in BATCH_COLUMNS.items():
                keys = sorted({key for name, key in expected if name == table})
                if not keys:
                    continue
                marks = ", ".join(["%s"] * len(keys))
                # The lower bound, redundant as it is, lets the engine skip everything older than this run.
                where = f"{column} in ({marks}) and {column} >= %s"
                sql = f"select {column}, count(*) from {table} where {where} group by {column}"
                found |= {(table, key): count for key, count in client.execute_sql(sql, *keys, keys[0]) or []}
        for (table, key), count in expected.items():
            if found.get((table, key), 0) != count:
                raise LoadError(
                    f"{table}: {count} rows were read, {found.get((table, key), 0)} are in the warehouse ({key}). "
                    "The batch does not count; run again."
                )


def add_missing_tables(paths: DataPaths) -> None:
    """Raw tables that a warehouse of an earlier version lacks come into being, empty. Any other file is left alone."""
    if not paths.warehouse.exists():
        return
    with open_read_only(paths.warehouse, "The warehouse") as connection:
        rows = connection.execute("select table_name from duckdb_tables() where schema_name = 'raw'").fetchall()
    present = {name for (name,) in rows}
    missing = [name for name in RAW_SCHEMAS if name not in present]
    if "teams" in present and missing:
        with fresh_working_dir(paths, "tables") as working:
            Landing(paths.warehouse, working).append({name: [RAW_SCHEMAS[name].empty_table()] for name in missing})


@contextmanager
def fresh_working_dir(paths: DataPaths, name: str) -> Iterator[Path]:
    """A private folder for one piece of work, empty at its start and gone at its end, whatever a killed run left."""
    working = paths.build_dir / name
    make_private_folder(paths.build_dir)
    shutil.rmtree(working, ignore_errors=True)
    make_private_folder(working)
    try:
        yield working
    finally:
        shutil.rmtree(working, ignore_errors=True)


def _resource(name: str, tables: list[pa.Table]) -> Any:
    """Tables of the source go through its own resource; ledgers have none there."""
    if name in cursor_admin.WHOLE_ANSWERS:
        return cursor_admin.WHOLE_ANSWERS[name](tables)
    return dlt.resource(
        tables, name=name, write_disposition="append", columns=dlt_hints(RAW_SCHEMAS[name]), schema_contract=FROZEN
    )
