"""The Cursor Admin API as dlt resources, in API order. Rows reach dlt as Arrow or Parquet: one declared schema."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import dlt
import pyarrow as pa

from .client import CursorAdminClient
from .tables import FROZEN, dlt_columns

__all__ = ["SNAPSHOTS", "CursorAdminClient", "billing_group_members", "billing_groups", "members", "usage_events"]


@dlt.resource(
    name="usage_events",
    write_disposition="append",  # a day is read whole under a batch_id; load_windows says which batch is current
    columns=dlt_columns("usage_events"),
    schema_contract=FROZEN,
)
def usage_events(path: Path, row_count: int) -> Iterator[Any]:
    """Metered requests, one row each, whole UTC days at a time.

    Source: POST /teams/filtered-usage-events (https://cursor.com/docs/account/teams/admin-api). The days were read and
    spooled to Parquet by `WindowReader`; the file at `path` is loaded as it is.
    Units: `_cents` are US cents, fractional. `occurred_at` is UTC without zone.
    Limit: a price restated after a day is final is seen when the closed cycle is read again.
    """
    yield dlt.mark.with_file_import(str(path), "parquet", row_count)


@dlt.resource(
    name="billing_groups", write_disposition="append", columns=dlt_columns("billing_groups"), schema_contract=FROZEN
)
def billing_groups(answers: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Billing groups as one answer showed them, one row per `snapshot_id` and group, the reserved group among them.

    Source: GET /teams/groups, one billing cycle per call. `spend_cents` are US cents of that cycle, a control total.
    """
    yield from answers


@dlt.resource(
    name="billing_group_members",
    write_disposition="append",
    columns=dlt_columns("billing_group_members"),
    schema_contract=FROZEN,
)
def billing_group_members(answers: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Current and former members, one row per `snapshot_id`, group and entry, with `joined_at` and `left_at` in UTC.

    Source: GET /teams/groups. There is no history endpoint: intervals are the union of all accepted answers.
    """
    yield from answers


@dlt.resource(name="members", write_disposition="append", columns=dlt_columns("members"), schema_contract=FROZEN)
def members(answers: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The roster as one answer showed it, one row per `snapshot_id` and entry.

    Source: GET /teams/members. Removed people may stay with `is_removed` or vanish; both are departures.
    """
    yield from answers


# Resources that take whole answers, by the raw table they fill.
SNAPSHOTS = {"billing_groups": billing_groups, "billing_group_members": billing_group_members, "members": members}
