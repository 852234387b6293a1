"""The two files: whether the warehouse holds what its ledgers say, and the published file what the last build said.

Takes no lock. While a run holds the lock the warehouse is left alone, and at other times open for as long as the checks
take: an open reader stops the writing of a run, which then ends with a message that says so and is to be repeated.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import duckdb

from pipelines import publish
from pipelines.close_ledger import CLOSED_MONTHS, LINES, verify_closed_months
from pipelines.doctor.findings import FAILING, HINT, OK, WARNING, Finding
from pipelines.errors import FileError
from pipelines.landing import BATCH_COLUMNS, RAW_SCHEMAS
from pipelines.ledger import open_warehouse
from pipelines.paths import DataPaths
from pipelines.runs import read_runs

ACCEPTED = ("landed", "unchanged")
# Resource of a ledger -> the raw tables that hold the rows it counts.
SNAPSHOT_TABLES = {
    "billing_groups": ("billing_groups", "billing_group_members"),
    "members": ("members",),
    "member_spend": ("member_spend",),
    "billing_group_details": ("billing_group_daily_spend",),
    "directory_groups": ("directory_groups", "directory_group_members"),
    "repository_blocklists": ("repository_blocklists",),
    "pooled_usage": ("pooled_usage",),
}
STREAM_TABLES = {"audit_logs": ("audit_events",), "daily_usage": ("daily_usage",), "ai_commits": ("ai_commits",)}
# Ledger -> the column that points to the rows, and its resources.
LEDGERS: Mapping[str, tuple[str, Mapping[str, tuple[str, ...]]]] = {
    "load_windows": ("batch_id", {"usage_events": ("usage_events",)}),
    "snapshot_reads": ("snapshot_id", SNAPSHOT_TABLES),
    "stream_reads": ("batch_id", STREAM_TABLES),
}
STORAGE = "v1.0"  # what every DuckDB client since 1.0 reads
MOST_NAMED = 3
BEFORE_ANY_RUN = "The first `chargeback run` makes it."


@dataclass
class Known:
    """What the warehouse and the API ever told of, to hold the seeds against; `is_known` when there was anything."""

    is_known: bool = False
    teams: set[str] = field(default_factory=set)
    groups: set[str] = field(default_factory=set)
    people: set[str] = field(default_factory=set)
    service_accounts: set[str] = field(default_factory=set)
    answered: set[tuple[str, str]] = field(default_factory=set)  # team and resource that was ever accepted


def running(paths: DataPaths) -> str | None:
    """Who holds the run lock, as the lock file says; None when nobody does. Does not touch the lock.

    A run that failed leaves its name in the file: it has ended when runs.jsonl says so, or when its process is gone.
    """
    with suppress(OSError, ValueError, KeyError, TypeError):
        holder = json.loads(paths.lock.read_bytes())
        if any(one.ended_at > holder["since"] for one in read_runs(paths)[-1:]):
            return None
        with suppress(PermissionError):  # alive, and somebody else's
            os.kill(int(holder["pid"]), 0)
        return f"`chargeback {holder['command']}` (process {holder['pid']})"
    return None


@contextmanager
def warehouse_if_free(paths: DataPaths) -> Iterator[duckdb.DuckDBPyConnection | None]:
    """The warehouse, read-only; None when there is none or a run is going on. Raises FileError as `open_warehouse`."""
    if not paths.warehouse.exists() or running(paths) is not None:
        yield None
        return
    with open_warehouse(paths.warehouse) as connection:
        yield connection


def check_warehouse(paths: DataPaths, known: Known) -> Iterator[Finding]:
    """Opens, holds our tables, ledgers and rows agree, closed months are as they were closed. Fills `known`."""
    if not paths.warehouse.exists():
        yield Finding(HINT, "warehouse", f"there is no {paths.warehouse} yet", BEFORE_ANY_RUN)
        return
    if (holder := running(paths)) is not None:
        text = f"not looked at: {holder} is at work, and an open reader would stop its writing"
        yield Finding(HINT, "warehouse", text, "Run `chargeback doctor` again when it has ended.")
        return
    try:
        with open_warehouse(paths.warehouse) as connection:
            missing, changed = _tables_that_differ(connection)
            if {"teams", *LEDGERS} & missing:
                advice = "Restore your backup with `chargeback restore`, or set CHARGEBACK__DATA_DIR."
                yield Finding(FAILING, "warehouse", f"{paths.warehouse} lacks our raw tables", advice)
                return
            if missing:
                text = f"of an earlier version: lacks {', '.join(sorted(missing))}"
                yield Finding(HINT, "warehouse", text, "The next run adds them, empty.")
            if changed:
                text = f"other columns than declared in {', '.join(sorted(changed))}"
                yield Finding(FAILING, "warehouse", text, "Run with the version that wrote it, or restore a backup.")
                return
            present = RAW_SCHEMAS.keys() - missing
            known_now(connection, known)
            yield from _check_ledgers(connection, present)
            if {CLOSED_MONTHS, *LINES} <= present:
                yield from _check_closed_months(connection, paths)
    except FileError as error:
        yield Finding(FAILING, "warehouse", str(error))
    except duckdb.Error as error:
        reason = str(error).splitlines()[0][:200]
        text = f"{paths.warehouse} cannot be read to its end: {reason}"
        yield Finding(FAILING, "warehouse", text, "Move it away and restore your backup with `chargeback restore`.")


def _tables_that_differ(connection: duckdb.DuckDBPyConnection) -> tuple[set[str], set[str]]:
    """Declared tables that are missing, and those that lack a declared column."""
    columns: dict[str, set[str]] = {}
    sql = "select table_name, column_name from duckdb_columns() where schema_name = 'raw'"
    for table, column in connection.execute(sql).fetchall():
        columns.setdefault(table, set()).add(column)
    missing = RAW_SCHEMAS.keys() - columns.keys()
    return set(missing), {name for name in RAW_SCHEMAS.keys() - missing if set(RAW_SCHEMAS[name].names) - columns[name]}


def known_now(connection: duckdb.DuckDBPyConnection, known: Known) -> None:
    """Adds what the warehouse knows."""

    def values(sql: str) -> set[str]:
        return {value for (value,) in connection.execute(sql).fetchall() if value}

    known.is_known = True
    known.teams |= values("select team from raw.teams")
    known.groups |= values("select distinct billing_group_id from raw.billing_groups")
    known.people |= values("select distinct lower(trim(user_email)) from raw.members")
    known.service_accounts |= values("select distinct service_account_id from raw.usage_events")
    for ledger in LEDGERS:
        sql = f"select distinct team, resource from raw.{ledger} where outcome in {ACCEPTED}"
        known.answered |= {(team, resource) for team, resource in connection.execute(sql).fetchall()}


def _check_ledgers(connection: duckdb.DuckDBPyConnection, present: set[str]) -> Iterator[Finding]:
    """Every accepted read points to exactly the rows it counted, and stands in its ledger once."""
    reads = rows = 0
    for ledger, (column, resources) in LEDGERS.items():
        wrong: list[str] = []
        for resource, tables in resources.items():
            stored = " union all ".join(
                f"select team, {BATCH_COLUMNS[table]} as batch from raw.{table}" for table in tables if table in present
            )
            if not stored:
                continue
            found = connection.execute(
                f"""
                with reads as (
                    select team, {column} as batch, row_count, count(*) as read_count
                    from raw.{ledger} where resource = ? and outcome in {ACCEPTED} and {column} is not null
                    group by team, {column}, row_count
                ),
                stored as (select team, batch, count(*) as row_count from ({stored}) group by team, batch)
                select reads.batch, reads.row_count, coalesce(stored.row_count, 0), reads.read_count
                from reads left join stored on reads.team = stored.team and reads.batch = stored.batch
                order by reads.batch, reads.row_count
                """,
                [resource],
            ).fetchall()
            reads += sum(count for *_, count in found)
            rows += sum(count for _, _, count, _ in found)
            wrong += [
                f"{resource} {batch}: {counted} rows were read, {held} are there"
                for batch, counted, held, _ in found
                if counted != held
            ]
        doubled = connection.execute(
            f"select team, read_id from raw.{ledger} group by team, read_id having count(*) > 1 order by all"
        ).fetchall()
        wrong += [f"the read {read_id} of team {team} stands there twice" for team, read_id in doubled]
        if wrong:
            advice = "Restore the last good backup into an empty data folder with `chargeback restore`, then run."
            yield Finding(FAILING, "warehouse", f"raw.{ledger} and its rows disagree: {_named(wrong)}", advice)
    numbers = " union all ".join(f"select read_number from raw.{ledger}" for ledger in LEDGERS)
    again = connection.execute(
        f"select read_number from ({numbers}) group by read_number having count(*) > 1 order by 1"
    ).fetchall()
    if again:
        text = f"reads that bear the same number: {_named([str(number) for (number,) in again])}"
        advice = "Two runs wrote at once, past the lock. Restore a backup from before, then run."
        yield Finding(FAILING, "warehouse", text, advice)
    yield Finding(OK, "warehouse", f"{reads:,} accepted reads were held against {rows:,} stored rows")


def _named(texts: list[str]) -> str:
    shown = "; ".join(texts[:MOST_NAMED])
    return shown if len(texts) <= MOST_NAMED else f"{shown}; and {len(texts) - MOST_NAMED} more"


def _check_closed_months(connection: duckdb.DuckDBPyConnection, paths: DataPaths) -> Iterator[Finding]:
    found = connection.execute(f"select count(*) from raw.{CLOSED_MONTHS}").fetchone()
    try:
        verify_closed_months(connection, paths.warehouse)
    except FileError as error:
        yield Finding(FAILING, "warehouse", str(error))
        return
    yield Finding(OK, "warehouse", f"{found[0] if found else 0} closed months are as they were closed")


def check_published(paths: DataPaths) -> Iterator[Finding]:
    """Opens, can be read to its last row by every client, and is what the last run that published says it made."""
    published = [one for one in read_runs(paths) if one.published]
    wal = paths.published.with_name(f"{paths.published.name}.wal")
    if wal.exists():
        text = f"{wal} lies beside the published file: somebody opened it for writing"
        yield Finding(WARNING, "published", text, "Open it read-only. The next run moves what was written aside.")
    if not paths.published.exists():
        if published:
            text = f"{paths.published} is gone; the last run that published was {published[-1].run_id}"
            yield Finding(FAILING, "published", text, f"`chargeback build`; the one before is {paths.previous}.")
        else:
            yield Finding(HINT, "published", f"there is no {paths.published} yet", BEFORE_ANY_RUN)
        return
    try:
        publication = publish.read_publication(paths.published)
        with publish.open_read_only(paths.published, "The published file") as connection:
            tables, rows = _read_all(connection)
            storage = connection.execute(
                "select tags['storage_version'] from duckdb_databases() where database_name = current_database()"
            ).fetchone()
    except FileError as error:
        yield Finding(FAILING, "published", str(error))
        return
    except duckdb.Error as error:
        reason = str(error).splitlines()[0][:200]
        text = f"{paths.published} cannot be read to its end: {reason}"
        yield Finding(
            FAILING, "published", text, f"`chargeback run --full-refresh`; the one before is {paths.previous}."
        )
        return
    yield Finding(
        OK, "published", f"{rows:,} rows of {tables} tables were read, as {publication.run_id} published them"
    )
    if storage is not None and not str(storage[0]).startswith(STORAGE):
        text = f"{paths.published} is stored as DuckDB {storage[0]}, which older clients cannot open"
        yield Finding(WARNING, "published", text, "`chargeback run --full-refresh` writes it anew.")
    if running(paths) is None:
        yield from _compare_with_runs(publication.run_id, published[-1].run_id if published else None, paths)


def _read_all(connection: duckdb.DuckDBPyConnection) -> tuple[int, int]:
    """Tables and rows of the marts, every block of them read: DuckDB checks the checksum of what it reads."""
    names = connection.execute(
        "select table_name from duckdb_tables() where schema_name = ? order by 1", [publish.MARTS]
    ).fetchall()
    rows = 0
    for (name,) in names:
        counted = connection.execute(
            f"select count(*), bit_xor(hash(one)) from {publish.MARTS}.{name} as one"
        ).fetchone()
        rows += counted[0] if counted else 0
    return len(names), rows


def _compare_with_runs(run_id: str, last: str | None, paths: DataPaths) -> Iterator[Finding]:
    if last is None:
        text = f"{paths.runs} knows of no run that published, the file is of run {run_id}"
        yield Finding(WARNING, "published", text, "Was the folder put together by hand? `chargeback run` settles it.")
    elif last != run_id:
        text = f"{paths.published} is of run {run_id}, but the last run that published was {last}"
        yield Finding(FAILING, "published", text, "Somebody put another file there. `chargeback build` publishes anew.")
    else:
        yield Finding(OK, "published", "it is what the last run in runs.jsonl published")
