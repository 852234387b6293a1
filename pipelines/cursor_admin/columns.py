"""Values of one field as Arrow: of exactly the declared type, or an error. Knows no HTTP and no table."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson
import pyarrow as pa

from .errors import ApiShapeError
from .tables import CENTS, FLAG, INSTANT, TEXT, WHOLE, Field

NEXT_STEP = "The API changed or the answer is damaged: nothing of it was stored. Run again, and report it if it stays."


def column(path: str, field: Field, values: list[Any]) -> pa.Array:
    """Values of one field as Arrow, of exactly the declared type. Raises ApiShapeError for any other type."""
    if field.type == INSTANT:
        return pa.array([instant(path, field.key, value) for value in values], INSTANT)
    try:
        # Inferred first: asked for int64, Arrow would silently cut 1.5 to 1, and take true for 1.
        found = pa.array(values)
        expected = {TEXT: (TEXT,), FLAG: (FLAG,)}.get(field.type, (WHOLE, pa.float64()))
        if not pa.types.is_null(found.type) and found.type not in expected:
            raise ApiShapeError(f"{path}: `{field.key}` is a {found.type}, not a {_wanted(field)}. {NEXT_STEP}")
        if found.type == pa.float64() and bool in set(map(type, values)):  # after a fraction, Arrow takes true for 1.0
            raise ApiShapeError(f"{path}: `{field.key}` is a bool, not a {_wanted(field)}. {NEXT_STEP}")
        if field.type == CENTS and found.type == WHOLE:
            found = found.cast(pa.float64())
        return found.cast(field.type)
    except (pa.ArrowException, OverflowError) as error:
        raise ApiShapeError(
            f"{path}: `{field.key}` holds a value that is not a {_wanted(field)}. {NEXT_STEP}"
        ) from error


def _wanted(field: Field) -> str:
    return {TEXT: "text", FLAG: "true or false", WHOLE: "whole number", CENTS: "number"}[field.type]


def instant(path: str, key: str, value: Any) -> datetime | None:
    """ISO 8601 to UTC without zone."""
    if value is None:
        return None
    try:
        parsed = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise ApiShapeError(f"{path}: `{key}` is not an ISO 8601 time. {NEXT_STEP}") from None
    return parsed.astimezone(UTC).replace(tzinfo=None) if parsed.tzinfo else parsed


def extra_json(row: Mapping[str, Any], known: frozenset[str]) -> str | None:
    """Unknown fields as JSON with sorted keys; None when there are none."""
    if row.keys() <= known:
        return None
    return str(orjson.dumps({key: row[key] for key in row.keys() - known}, option=orjson.OPT_SORT_KEYS), "utf-8")


def constant(value: str, count: int) -> pa.Array:
    return pa.repeat(pa.scalar(value, TEXT), count)
