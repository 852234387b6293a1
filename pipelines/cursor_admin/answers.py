"""What the routes answer, as far as everything else needs it: pages, and keys of the declared type. Knows no HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from pipelines.cursor_admin.errors import ApiShapeError

SHAPE_HINT = "The API may have changed: compare it with the API reference; nothing was changed."

_T = TypeVar("_T")


@dataclass(frozen=True)
class Answer:
    """One JSON object. `date` is the server's clock (UTC), `requests` how many requests it took."""

    payload: dict[str, Any]
    date: datetime | None
    requests: int


@dataclass(frozen=True)
class TextAnswer:
    """A text, as `Answer` otherwise."""

    text: str
    date: datetime | None
    requests: int


@dataclass(frozen=True)
class EventPage:
    """One page of usage events, newest first, as sent.

    `total_count` and `page_count` describe the whole window at that moment; `page` is the page the server says it
    answered, so that a repeated page can be told from the one that was asked for. `date` is the server's clock (UTC).
    """

    rows: list[dict[str, Any]]
    total_count: int
    page_count: int
    page: int
    has_next_page: bool
    date: datetime | None


@dataclass(frozen=True)
class AuditLogPage:
    """One page of the audit log, as sent; the order is not documented.

    `total_count` describes the whole window at that moment; `page` is the page the server says it answered. `date` is
    the server's clock (UTC).
    """

    rows: list[dict[str, Any]]
    total_count: int
    page: int
    has_next_page: bool
    date: datetime | None


@dataclass(frozen=True)
class ListPage:
    """One page of an optional route, as sent: what a row holds is not checked here.

    `total_count` describes the whole list at that moment, in what the route counts (people on daily usage, rows
    elsewhere); `page` is the page the server says it answered, else the one asked for. `date` is the server's clock
    (UTC).
    """

    rows: list[Any]
    total_count: int
    page: int
    has_next_page: bool
    payload: Mapping[str, Any]
    date: datetime | None


def typed(holder: Mapping[str, Any], key: str, kind: type[_T], path: str, prefix: str = "") -> _T:
    """The value of a key that must be there and of that type. Raises ApiShapeError."""
    if key not in holder:
        raise ApiShapeError(f"{path} answered without the key {prefix}{key}. {SHAPE_HINT}")
    value = holder[key]
    if type(value) is not kind:  # exactly: a bool is an int
        raise ApiShapeError(
            f"{path} answered with {prefix}{key} of type {type(value).__name__}, not {kind.__name__}. {SHAPE_HINT}"
        )
    return value


def objects(payload: Mapping[str, Any], key: str, path: str) -> list[dict[str, Any]]:
    """The rows under a key: a list of JSON objects, never an empty list for a missing one. Raises ApiShapeError."""
    rows: list[dict[str, Any]] = typed(payload, key, list, path)
    if not all(type(row) is dict for row in rows):
        raise ApiShapeError(f"{path} answered with something in {key} that is not a JSON object. {SHAPE_HINT}")
    return rows
