"""The close ledger: the lines of closed months as they were published, in the warehouse, and proof that they still are.

Lines are appended first and their row in `raw.closed_months` last: lines without that row do not exist.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import duckdb
import pyarrow as pa

from pipelines.cursor_admin.tables import CENTS, DAY, FLAG, INSTANT, TEXT, WHOLE
from pipelines.errors import FileError

USD = pa.decimal128(18, 2)

# Exactly the columns of the published tables, as tests/contract.json has them.
DAILY_COLUMNS: Mapping[str, pa.DataType] = {
    "team": TEXT,
    "charge_date": DAY,
    "charge_month": DAY,
    "cycle_start_date": DAY,
    "billing_group_id": TEXT,
    "billing_group_name": TEXT,
    "actor_type": TEXT,
    "user_email": TEXT,
    "service_account_id": TEXT,
    "model": TEXT,
    "surface": TEXT,
    "charge_type": TEXT,
    "usage_category": TEXT,
    "adjusts_month": DAY,
    "adjusts_charge_type": TEXT,
    "event_count": WHOLE,
    "total_tokens": WHOLE,
    "usage_cents": CENTS,
    "billed_cents": CENTS,
    "is_estimate": FLAG,
    "is_provisional": FLAG,
    "is_closed": FLAG,
}
MONTHLY_COLUMNS: Mapping[str, pa.DataType] = {
    "team": TEXT,
    "charge_month": DAY,
    "billing_group_id": TEXT,
    "billing_group_name": TEXT,
    "charge_type": TEXT,
    "adjusts_month": DAY,
    "adjusts_charge_type": TEXT,
    "usage_cents": CENTS,
    "billed_cents": CENTS,
    "billed_usd": USD,
    "billed_share": CENTS,
    "event_count": WHOLE,
    "seat_days": WHOLE,
    "is_estimate": FLAG,
    "is_provisional": FLAG,
    "is_closed": FLAG,
}
CLOSED_MONTHS = "closed_months"
# Ledger table -> the published table whose lines it keeps.
LINES = {"closed_daily_charges": "fct_daily_charges", "closed_monthly_chargeback": "fct_monthly_chargeback"}
CLOSE_SCHEMAS: Mapping[str, pa.Schema] = {
    CLOSED_MONTHS: pa.schema(
        {
            "team": TEXT,
            "charge_month": DAY,
            "close_id": TEXT,
            "closed_at": INSTANT,
            "run_id": TEXT,
            "closed_by": TEXT,
            "was_forced": FLAG,
            "detail": TEXT,
            "daily_line_count": WHOLE,
            "monthly_line_count": WHOLE,
            "lines_sha256": TEXT,
        }.items()
    ),
    "closed_daily_charges": pa.schema({"close_id": TEXT, **DAILY_COLUMNS}.items()),
    "closed_monthly_chargeback": pa.schema({"close_id": TEXT, **MONTHLY_COLUMNS}.items()),
}


@dataclass(frozen=True)
class ClosedMonth:
    """One row of `raw.closed_months`. `detail` is JSON: coverage at the close, and what it was forced over."""

    team: str
    charge_month: date
    close_id: str
    closed_at: datetime
    run_id: str
    closed_by: str
    was_forced: bool
    detail: str
    daily_line_count: int
    monthly_line_count: int
    lines_sha256: str


@dataclass(frozen=True)
class LinesProof:
    """What the lines of one close come to: counts, and a checksum over all of them."""

    daily_line_count: int
    monthly_line_count: int
    lines_sha256: str


def month_after(month: date) -> date:
    """The first day of the next month."""
    return date(month.year + month.month // 12, month.month % 12 + 1, 1)


def _line_text(table: str) -> str:
    """SQL for a line as text: each cell with its length before it, so that no two lines read alike; null is `-`."""
    cells = (f"cast({name} as varchar)" for name in CLOSE_SCHEMAS[table].names)
    return " || ' ' || ".join(f"coalesce(length({cell}) || ':' || {cell}, '-')" for cell in cells)


def _proofs_sql(sources: Mapping[str, str]) -> str:
    """One row per close id. The checksum is that of all line checksums in order: no order of rows can change it."""
    lines = " union all ".join(
        f"select close_id, '{table}' as source, sha256('{LINES[table]} ' || {_line_text(table)}) as line_sha256 "
        f"from {source}"
        for table, source in sources.items()
    )
    daily, monthly = LINES
    return f"""
        select
            close_id,
            count(*) filter (source = '{daily}'),
            count(*) filter (source = '{monthly}'),
            sha256(string_agg(line_sha256, '' order by line_sha256))
        from ({lines})
        group by close_id
    """


NO_LINES = LinesProof(0, 0, hashlib.sha256(b"").hexdigest())


def prove(lines: Mapping[str, pa.Table]) -> LinesProof:
    """What the lines of one close come to, before they are written; keys are the ledger tables."""
    with duckdb.connect() as connection:
        for table, rows in lines.items():
            connection.register(f"new_{table}", rows)
        found = connection.execute(_proofs_sql({table: f"new_{table}" for table in lines})).fetchall()
    assert len(found) <= 1, "lines of several closes"
    return LinesProof(*found[0][1:]) if found else NO_LINES


def _written_proofs(connection: duckdb.DuckDBPyConnection) -> dict[str, LinesProof]:
    """What the lines in the warehouse come to, by close id."""
    rows = connection.execute(_proofs_sql({table: f"raw.{table}" for table in LINES})).fetchall()
    return {close_id: LinesProof(*proof) for close_id, *proof in rows}


def read_closed_months(connection: duckdb.DuckDBPyConnection) -> list[ClosedMonth]:
    """All closed months, by team and month; `connection` is to the warehouse."""
    names = ", ".join(CLOSE_SCHEMAS[CLOSED_MONTHS].names)
    rows = connection.execute(f"select {names} from raw.{CLOSED_MONTHS} order by team, charge_month").fetchall()
    return [ClosedMonth(*row) for row in rows]


def check_written(connection: duckdb.DuckDBPyConnection, close_id: str, proof: LinesProof) -> None:
    """Raise FileError unless the warehouse holds exactly the lines that were to be written for a close."""
    if _written_proofs(connection).get(close_id, NO_LINES) != proof:
        raise FileError(
            f"The lines of the close {close_id} are not in the warehouse as they were written. Nothing is closed; "
            "check the disk and run `chargeback close` again."
        )


def verify_closed_months(connection: duckdb.DuckDBPyConnection, warehouse: object) -> None:
    """Raise FileError, naming team and month, when a closed month is not what it was when it was closed."""
    months = read_closed_months(connection)
    if not months:
        return
    proofs = _written_proofs(connection)
    strays = {
        row[0]
        for table in LINES
        for row in connection.execute(
            f"select distinct lines.close_id from raw.{table} as lines "
            f"inner join raw.{CLOSED_MONTHS} as months using (close_id) "
            "where lines.team is distinct from months.team or lines.charge_month is distinct from months.charge_month"
        ).fetchall()
    }
    seen: set[tuple[str, date]] = set()
    for one in months:
        written = LinesProof(one.daily_line_count, one.monthly_line_count, one.lines_sha256)
        key = (one.team, one.charge_month)
        if proofs.get(one.close_id, NO_LINES) != written or one.close_id in strays or key in seen:
            raise FileError(_tampered_message(one, proofs.get(one.close_id, NO_LINES), key in seen, warehouse))
        seen.add(key)


def _tampered_message(month: ClosedMonth, found: LinesProof, is_double: bool, warehouse: object) -> str:
    wanted = (month.daily_line_count, month.monthly_line_count)
    counts = (found.daily_line_count, found.monthly_line_count)
    if is_double:
        what = "it is in closed_months twice"
    elif counts != wanted:
        what = f"{counts[0]} daily and {counts[1]} monthly lines where {wanted[0]} and {wanted[1]} were closed"
    else:
        what = "its lines are not those that were closed (their checksum differs)"
    return (
        f"The close ledger of team {month.team} was changed for {month.charge_month:%Y-%m}: {what}; close "
        f"{month.close_id} in {warehouse}. Nothing was published. Restore the last good backup into an empty data "
        "folder with `chargeback restore`, then run again."
    )


def table_of(values: Mapping[str, Any]) -> pa.Table:
    """One row for `raw.closed_months`."""
    return pa.Table.from_pylist([dict(values)], schema=CLOSE_SCHEMAS[CLOSED_MONTHS])
