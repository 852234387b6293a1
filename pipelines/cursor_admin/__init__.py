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
    "ai_commits",
    "audit_events",
    "billing_group_daily_spend",
    "billing_group_members",
    "billing_groups",
    "daily_usage",
    "directory_group_members",
    "directory_groups",
    "member_spend",
    "members",
    "pooled_usage",
    "repository_blocklists",
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


@dlt.resource(
    name="billing_group_daily_spend",
    write_disposition="append",
    columns=dlt_columns("billing_group_daily_spend"),
    schema_contract=FROZEN,
)
def billing_group_daily_spend(answers: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """What groups and people in them spent on the last days, one row per `snapshot_id`, group, person and day.

    Source: GET /teams/groups/:groupId, one request per group. `spend_cents` are US cents; `user_id` is null for the
    group as a whole.
    Limit: two days at most, and less than the events of these days: a control, never a ledger.
    """
    yield from answers


@dlt.resource(name="members", write_disposition="append", columns=dlt_columns("members"), schema_contract=FROZEN)
def members(answers: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The roster as one answer showed it, one row per `snapshot_id` and entry.

    Source: GET /teams/members. Removed people may stay with `is_removed` or vanish; both are departures.
    """
    yield from answers


@dlt.resource(
    name="member_spend", write_disposition="append", columns=dlt_columns("member_spend"), schema_contract=FROZEN
)
def member_spend(answers: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Spend of each member in the current cycle, one row per `snapshot_id` and entry; two ids can share an e-mail.

    Source: POST /teams/spend. `spend_cents` is what was spent on demand, `overall_spend_cents` with what is included:
    US cents, fractional. Limits are whole dollars. Fields that no reference names are in `extra_json`.
    Limit: the current cycle only, without its end; what is not stored before the cycle ends is gone.
    """
    yield from answers


@dlt.resource(
    name="daily_usage",
    write_disposition="append",  # windows overlap: the newest accepted one that covers a day holds it
    columns=dlt_columns("daily_usage"),
    schema_contract=FROZEN,
)
def daily_usage(answers: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Counters of activity, one row per `batch_id`, person and UTC day, inactive people among them; no money.

    Source: POST /teams/daily-usage-data. `user_id` is a number here, kept as text.
    Limit: days can say inactive although there are chargeable events; counters arrive late.
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


@dlt.resource(
    name="directory_groups", write_disposition="append", columns=dlt_columns("directory_groups"), schema_contract=FROZEN
)
def directory_groups(answers: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Groups of the identity provider as one answer showed them, one row per `snapshot_id` and group.

    Source: GET /teams/directory-groups. `monthly_limit_usd` is whole dollars. They are not billing groups.
    Limit: shapes seen in other clients alone; whether ids are those of `billing_groups.directory_group_id` is unknown.
    """
    yield from answers


@dlt.resource(
    name="directory_group_members",
    write_disposition="append",
    columns=dlt_columns("directory_group_members"),
    schema_contract=FROZEN,
)
def directory_group_members(answers: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Who is in a directory group, one row per `snapshot_id`, group and entry; `joined_at` is UTC without zone.

    Source: GET /teams/directory-groups/:id/members, one list per group. Nobody's leaving is shown.
    """
    yield from answers


@dlt.resource(
    name="repository_blocklists",
    write_disposition="append",
    columns=dlt_columns("repository_blocklists"),
    schema_contract=FROZEN,
)
def repository_blocklists(answers: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Repositories with patterns Cursor must not read, one row per `snapshot_id` and repository.

    Source: GET /settings/repo-blocklists/repos. `patterns_json` is the list as sent; `*` blocks the repository.
    """
    yield from answers


@dlt.resource(
    name="ai_commits",
    write_disposition="append",  # windows overlap: a commit of several is made one by whoever reads them
    columns=dlt_columns("ai_commits"),
    schema_contract=FROZEN,
)
def ai_commits(answers: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Commits with the lines that AI wrote, one row per `batch_id` and entry; times are UTC without zone.

    Source: GET /analytics/ai-code/commits, and commits.csv for the first run. The message is not stored.
    Limit: an alpha. A hash comes again when it is amended; squash merges, first commits and commits made outside Cursor
    are missing.
    """
    yield from answers


@dlt.resource(
    name="pooled_usage", write_disposition="append", columns=dlt_columns("pooled_usage"), schema_contract=FROZEN
)
def pooled_usage(answers: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The pool of the contract, one row per `snapshot_id` and team of the organization, with the pool beside it.

    Source: POST /organizations/pooled-usage, with the organization's key. US cents; the contract's times are UTC.
    """
    yield from answers


# Resources that take whole answers, by the raw table they fill.
WHOLE_ANSWERS = {
    "billing_groups": billing_groups,
    "billing_group_members": billing_group_members,
    "billing_group_daily_spend": billing_group_daily_spend,
    "members": members,
    "member_spend": member_spend,
    "daily_usage": daily_usage,
    "audit_events": audit_events,
    "directory_groups": directory_groups,
    "directory_group_members": directory_group_members,
    "repository_blocklists": repository_blocklists,
    "ai_commits": ai_commits,
    "pooled_usage": pooled_usage,
}
