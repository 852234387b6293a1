"""Reading a whole list of an optional route, page by page, or none of it. Knows no destination."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson
import pyarrow as pa

from .answers import ListPage
from .errors import IncompleteWindowError
from .optional_rows import OptionalTable
from .windows import ATTEMPTS


@dataclass(frozen=True)
class OptionalAnswer:
    """What an optional route answered, as rows of raw tables.

    `answered_at` is the server's clock (UTC, with zone) when it was asked first. `cycle_start_at` is the billing cycle
    it says it is about (UTC without zone, as stored), where it says so. `oddities` are sentences about values that are
    kept without a column of their own. `snapshot_id` is empty: whoever stores the rows knows it.
    """

    tables: dict[str, pa.Table]
    answered_at: datetime | None
    cycle_start_at: datetime | None = None
    oddities: list[str] = field(default_factory=list)


def whole_list(
    path: str,
    what: str,
    ask: Callable[[int], ListPage],
    begin: Callable[[], OptionalTable],
    add: Callable[[OptionalTable, list[Any]], None],
    *,
    keys: tuple[str, ...],
    is_count_of_rows: bool = True,
    about: Callable[[Mapping[str, Any]], Any] = lambda payload: None,  # noqa: ARG005
) -> tuple[OptionalTable, ListPage]:
    """All pages of a list, and the first of them; read again, at most ATTEMPTS times, while it moves.

    A list is whole when the count of the first page is that of the last one and of what was read, each page says it is
    the one that was asked for, and no entry of one page is on another: where somebody joins and somebody leaves between
    two requests, counts agree although one entry came twice and one never.

    Args:
        begin: an empty table, for each attempt.
        add: one page into it.
        keys: the keys that tell one entry from another; none of them: everything it holds.
        is_count_of_rows: False where the count is one of different entries (people with several days each), some of
            which may have no row.
        about: what must stay the same from the first page to the last, such as the cycle.

    Raises:
        IncompleteWindowError: it never was whole.
    """
    for _ in range(ATTEMPTS):
        table = begin()
        first = last = ask(1)
        add(table, first.rows)
        seen = _identities(first.rows, keys, is_count_of_rows)
        number, is_in_order = 1, first.page == 1
        # never past what was announced: a server may say of every page that another one follows
        while is_in_order and last.has_next_page and last.rows and len(seen) < first.total_count:
            number += 1
            last = ask(number)
            here = _identities(last.rows, keys, is_count_of_rows)
            is_in_order = last.page == number and seen.isdisjoint(here)
            seen |= here
            add(table, last.rows)
        is_same = first.total_count == last.total_count and about(first.payload) == about(last.payload)
        is_whole = table.row_count == first.total_count if is_count_of_rows else len(seen) <= first.total_count
        if is_same and is_whole and is_in_order and not last.has_next_page:
            return table, first
    raise IncompleteWindowError(
        f"{what} changed while it was read, {ATTEMPTS} times in a row ({path}): announced {first.total_count}, then "
        f"{last.total_count}, read {len(seen)}. Nothing of it was stored; the next run reads it again."
    )


def _identities(rows: list[Any], keys: tuple[str, ...], is_count_of_rows: bool) -> set[bytes]:
    """What tells the entries apart: their keys; of one that has none of them all it holds, or that it is nobody."""
    found = set()
    for row in rows:
        named = [row.get(key) for key in keys] if type(row) is dict else []
        has_a_name = any(value is not None for value in named)
        if has_a_name or is_count_of_rows:
            found.add(orjson.dumps(named if has_a_name else row, option=orjson.OPT_SORT_KEYS))
    return found
