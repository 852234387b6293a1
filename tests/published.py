"""Hand-made published files: every table of the contract, empty but for the rows a test gives."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb

CONTRACT = json.loads((Path(__file__).parent / "contract.json").read_text())
PUBLICATION = {
    "published_at": "2026-11-16 02:00:00",
    "run_id": "run-1",
    "version": "0.1.0",
    "model_fingerprint": "f",
    "data_from_date": "2026-10-01",
    "data_through_date": "2026-11-15",
    "full_tests_at": "2026-11-16 02:00:00",
}


def make_published(
    path: Path, tables: Mapping[str, Sequence[Mapping[str, Any]]] | None = None, **publication: Any
) -> Path:
    """A DuckDB file as `publish` leaves it; `publication` overrides columns of mart_publication."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = {"mart_publication": [{**PUBLICATION, **publication}], **(tables or {})}
    with duckdb.connect() as connection:
        connection.execute(f"attach '{path}' as chargeback (storage_version 'v1.0.0')")
        connection.execute("create schema chargeback.marts")
        for name, columns in CONTRACT.items():
            listed = ", ".join(f"{column} {kind}" for column, kind in columns.items())
            connection.execute(f"create table chargeback.marts.{name} ({listed})")
            for row in rows.get(name, []):
                marks = ", ".join("?" for _ in row)
                insert = f"insert into chargeback.marts.{name} ({', '.join(row)}) values ({marks})"
                connection.execute(insert, list(row.values()))
    return path
