"""Commits from CSV, as the JSON route would send them. Knows no HTTP."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from typing import Any

from .answers import SHAPE_HINT
from .errors import ApiShapeError
from .tables import AI_COMMIT_FIELDS, AI_COMMITS_PATH, FLAG, WHOLE

ROWS_PER_PART = 10_000

_PATH = f"{AI_COMMITS_PATH}.csv"
# `commit_hash` -> commitHash; columns nobody knows keep their name.
_FIELDS = {re.sub("([A-Z])", r"_\1", field.key).lower(): field for field in AI_COMMIT_FIELDS}
_FLAGS = {"true": True, "false": False}


def commit_rows(text: str) -> Iterator[list[dict[str, Any]]]:
    """Parts of the rows, each row under the keys of the JSON route; an empty cell is left out.

    Columns are found by their headings: their order changes, some are missing from older files, others will be added.
    A cell that is not what its column holds stays text.

    Raises:
        ApiShapeError: there is no column of hashes, a heading comes twice, a line has too many or too few cells, or
            the quotes do not match; a file that was cut off looks like the last two.
    """
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[dict[str, Any]] = []
    try:
        headings = [heading.strip().lower() for heading in next(lines, [])]
        if "commit_hash" not in headings or len(set(headings)) < len(headings):
            raise ApiShapeError(f"{_PATH} answered without the column commit_hash, or with one twice. {SHAPE_HINT}")
        for cells in lines:
            if len(cells) != len(headings) and cells:  # an empty line is none
                raise ApiShapeError(
                    f"{_PATH} answered with a line of {len(cells)} cells, not {len(headings)}. {SHAPE_HINT}"
                )
            row = {heading: cell for heading, cell in zip(headings, cells, strict=False) if cell != ""}
            if cells:
                rows.append(dict(_entry(heading, cell) for heading, cell in row.items()))
            if len(rows) == ROWS_PER_PART:
                yield rows
                rows = []
    except csv.Error:
        raise ApiShapeError(f"{_PATH} answered with something that is not CSV. {SHAPE_HINT}") from None
    yield rows


def _entry(heading: str, cell: str) -> tuple[str, Any]:
    field = _FIELDS.get(heading)
    if field is None:
        return heading, cell
    if field.type == WHOLE and re.fullmatch(r"-?\d{1,18}", cell):
        return field.key, int(cell)
    if field.type == FLAG:
        return field.key, _FLAGS.get(cell.lower(), cell)
    return field.key, cell
