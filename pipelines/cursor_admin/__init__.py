"""The Cursor Admin API as dlt resources, in API order. Rows reach dlt as Arrow or Parquet: one declared schema."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import dlt
import pyarrow as pa

from .client import CursorAdminClient
from .tables import FROZEN, dlt_columns

__all__ = [
    "WHOLE_ANSWERS",
    "CursorAdminClient",
    "audit_events",
    "billing_group_members",
    "billing_groups",
    "members",
    "usage_events",
]


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


@dlt.resource(
    name="audit_events",
    write_disposition="append",  # windows overlap: events are deduplicated on event_id by whoever reads the table
    columns=dlt_columns("audit_events"),
    schema_contract=FROZEN,
)
def audit_events(answers: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The audit log, one row per `batch_id` and event, whole windows at a time; what each event says is JSON.

    Source: GET /teams/audit-logs. Both vocabularies of event types are kept. `occurred_at` is UTC without zone.
    Limit: retention is not documented; moves between billing groups leave no event. The address an actor came from is
    not stored.
    """
    yield from answers


# Resources that take whole answers, by the raw table they fill.
WHOLE_ANSWERS = {
    "billing_groups": billing_groups,
    "billing_group_members": billing_group_members,
    "members": members,
    "audit_events": audit_events,
}
