"""Rows of the routes that chargeback can do without, as Arrow: whatever they hold is kept. Knows no HTTP.

Where `rows.py` stops at a value of another type, because a wrong bill is worse than none, here the value becomes null
in its column, stays readable in `extra_json`, and is named. Every entry of an answer is one row, even one that lacks
its key or is no object: so that counts agree, and nobody has to guess what was left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

import orjson
import pyarrow as pa

from .columns import column, constant
from .errors import ApiShapeError
from .tables import CENTS, DAY, FLAG, INSTANT, SCHEMAS, TEXT, WHOLE, Field

KEPT = "kept in extra_json"
WITHOUT = "the row is kept without it"


class Oddities:
    """What an answer held that no reference names, counted. Sentences name routes and keys, never a value."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._counts: Counter[tuple[str, str, str]] = Counter()

    def note(self, what: str, consequence: str, count: int = 1, unit: str = "row") -> None:
        self._counts[what, unit, consequence] += count

    def add(self, other: Oddities) -> None:
        """Count what another answer of the same route held as well."""
        self._counts += other._counts

    def sentences(self) -> list[str]:
        return [
            f"{self._path}: {what} {count} {unit}{'' if count == 1 else 's'}; {consequence}"
            for (what, unit, consequence), count in sorted(self._counts.items())
        ]


class OptionalTable:
    """Rows of one raw table, gathered page by page.

    Args:
        name: the raw table.
        path: the route, for what is said about its rows.
        fields: what is stored in columns of its own.
        constants: text columns that hold the same in every row.
        dropped: keys that are not stored at all.
    """

    def __init__(
        self,
        name: str,
        path: str,
        fields: Sequence[Field],
        constants: Mapping[str, str],
        dropped: frozenset[str] = frozenset(),
    ) -> None:
        self.oddities = Oddities(path)
        self.row_count = 0
        self._path = path
        self._fields = fields
        self._known = dropped | {field.key for field in fields}
        self._constants = constants
        self._schema = SCHEMAS[name]
        self._batches: list[pa.RecordBatch] = []

    def add(self, rows: Sequence[Any], **columns: pa.Array) -> None:
        """One page of entries, as sent; `columns` are those that no field fills."""
        entries = [row if type(row) is dict else {} for row in rows]
        extras = [{key: row[key] for key in row.keys() - self._known} for row in entries]
        for row, extra in zip(rows, extras, strict=True):
            if type(row) is not dict:
                extra["entry"] = row
                self.oddities.note(f"an entry is {_said(row)}, not an object, in", KEPT)
        for field in self._fields:
            columns[field.column] = self._column(field, entries, extras)
            missing = sum(type(row) is dict and row.get(field.key) is None for row in rows)
            if field.required and missing:
                self.oddities.note(f"`{field.key}` is missing in", WITHOUT, missing)
        for name, value in self._constants.items():
            columns[name] = constant(value, len(rows))
        columns["extra_json"] = pa.array([_json(extra) for extra in extras], TEXT)
        arrays = [columns[name] for name in self._schema.names]
        self._batches.append(pa.RecordBatch.from_arrays(arrays, schema=self._schema))
        self.row_count += len(rows)

    def table(self) -> pa.Table:
        return pa.Table.from_batches(self._batches, self._schema)

    def _column(self, field: Field, entries: list[dict[str, Any]], extras: list[dict[str, Any]]) -> pa.Array:
        values = [_as_text(row.get(field.key)) if _is_id(field) else row.get(field.key) for row in entries]
        try:
            return column(self._path, field, values)
        except (ApiShapeError, OverflowError):
            return pa.array(
                [self._value(field, value, extras[index]) for index, value in enumerate(values)], field.type
            )

    def _value(self, field: Field, value: Any, extra: dict[str, Any]) -> Any:
        """One value of a column that does not hold together; null when it is this one that does not fit."""
        try:
            return column(self._path, field, [value])[0].as_py()
        except (ApiShapeError, OverflowError):
            extra[field.key] = value
            fits_not = "cannot be read" if type(value) in _JSON_TYPES[field.type] else f"is {_said(value)}"
            self.oddities.note(f"`{field.key}` {fits_not} in", KEPT)
            return None


# What JSON holds for a column: of such a value only the content can be wrong (too large, a fraction, no time).
_JSON_TYPES = {TEXT: (str,), FLAG: (bool,), WHOLE: (int, float), CENTS: (int, float), INSTANT: (str,)}


def day_column(rows: Sequence[Any], oddities: Oddities) -> tuple[list[Any], pa.Array]:
    """Rows of daily usage without what says their day, and the days. `day` is text, `date` epoch milliseconds.

    A day that cannot be read is null, and what was sent for it stays with its row.
    """
    rest: list[Any] = []
    days: list[date | None] = []
    for row in rows:
        day = _day(row) if type(row) is dict else None
        if day is None and type(row) is dict:
            oddities.note("`day` is missing or no date in", WITHOUT)
        rest.append(row if day is None else {key: row[key] for key in row.keys() - {"day", "date"}})
        days.append(day)
    return rest, pa.array(days, DAY)


def _day(row: Mapping[str, Any]) -> date | None:
    day, instant_ms = row.get("day"), row.get("date")
    try:
        if isinstance(day, str):
            return date.fromisoformat(day)
        return datetime.fromtimestamp(instant_ms / 1000, UTC).date() if type(instant_ms) is int else None
    except (ValueError, OverflowError, OSError):
        return None


def _is_id(field: Field) -> bool:
    return field.type == TEXT and field.column.endswith("_id")


def _as_text(value: Any) -> Any:
    """Ids were numbers until spring 2026, and still are on some routes: kept as text either way."""
    return str(value) if type(value) is int else value


def _said(value: Any) -> str:
    names = {str: "text", bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return names.get(type(value), "nothing")


def _json(extra: Mapping[str, Any]) -> str | None:
    return orjson.dumps(extra, option=orjson.OPT_SORT_KEYS).decode() if extra else None
