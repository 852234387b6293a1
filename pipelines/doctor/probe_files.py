"""What a tenant's API did, as far as stored events and ledgers tell; and its spend against ours. Counts only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa

from pipelines import publish
from pipelines.cursor_admin.client import CursorAdminClient
from pipelines.cursor_admin.rows import usage_event_batch
from pipelines.cursor_admin.tables import SCHEMAS
from pipelines.cursor_admin.windows import DayWindow
from pipelines.doctor.probe_api import Cycle, Told
from pipelines.doctor.warehouse import ACCEPTED, warehouse_if_free
from pipelines.paths import DataPaths

STORED_DAYS = 31
WEEK = 7
CENT_TOLERANCE = Decimal(1)  # a month in whole cents of an API that rounds
SHARE_TOLERANCE = Decimal("0.01")  # prices move for a day between two reads
# Everything the API shows of an event: two rows equal in all of it cannot be told apart.
EVENT_COLUMNS = [name for name in SCHEMAS["usage_events"].names if name not in ("team", "batch_id", "usage_date")]


@dataclass
class Sample:
    """Events to count in, as the table `events` of `connection`; `where` says which they are."""

    connection: duckdb.DuckDBPyConnection
    where: str

    def one(self, sql: str) -> tuple[Any, ...]:
        found = self.connection.execute(sql).fetchone()
        assert found is not None
        return found

    def nameless(self) -> Told:
        events, nameless, automated, named = self.one(
            """
            select
                count(*),
                count(*) filter (user_email is null and service_account_id is null),
                count(*) filter (service_account_id is not null),
                count(*) filter (service_account_id is not null and user_email is not null)
            from events
            """
        )
        if not automated:
            on_accounts = "there is no event of a service account."
        elif named:
            on_accounts = f"events of service accounts bear an e-mail ({named} of {automated})."
        else:
            on_accounts = "events of service accounts bear no e-mail."
        answer = f"{nameless} of {events} events have neither e-mail nor service account; {on_accounts}"
        return Told(answer, self.where)

    def service_account_people(self) -> set[str]:
        """E-mails on events of service accounts, to be compared and never shown."""
        rows = self.connection.execute(
            "select distinct lower(trim(user_email)) from events where service_account_id is not null"
        ).fetchall()
        return {email for (email,) in rows if email}

    def kinds(self) -> Told:
        rows = self.connection.execute(
            "select coalesce(kind, '(none)'), count(*) from events group by kind order by 2 desc, 1"
        ).fetchall()
        free, costly = self.one(
            "select count(*) filter (is_chargeable and coalesce(charged_cents, 0) = 0), "
            "count(*) filter (not is_chargeable and charged_cents > 0) from events"
        )
        shown = ", ".join(f"{kind}: {count}" for kind, count in rows)
        evidence = (
            f"{self.where}; {free} are chargeable and cost nothing, {costly} are not chargeable and cost something"
        )
        return Told(f"{shown}." if shown else "No events.", evidence)

    def duplicates(self) -> Told:
        columns = ", ".join(EVENT_COLUMNS)
        again, groups = self.one(
            f"select coalesce(sum(copies - 1), 0), count(*) from "
            f"(select count(*) as copies from events group by {columns} having count(*) > 1)"
        )
        (siblings,) = self.one(
            "select count(*) from (select 1 from events where charged_cents is not null "
            "group by occurred_at, lower(user_email), service_account_id, model "
            "having count(distinct charged_cents) > 1)"
        )
        answer = f"{again} events are repeats of {groups} others, equal in every field."
        return Told(
            answer if groups else "No event repeats another in every field.",
            f"{self.where}; {siblings} times the same millisecond, person and model with different costs",
        )


@contextmanager
def event_sample(paths: DataPaths, client: CursorAdminClient, team: str, now: datetime) -> Iterator[Sample]:
    """The last month of the warehouse as it counts today; where there is none, one week of pages."""
    with warehouse_if_free(paths) as warehouse:
        if warehouse is not None and (newest := _newest_day(warehouse, team)) is not None:
            first = newest - timedelta(days=STORED_DAYS - 1)
            warehouse.execute(
                f"""
                create temp table events as
                with accepted as (
                    select batch_id, row_number() over (partition by usage_date order by read_number desc) as place
                    from raw.load_windows where team = ? and resource = 'usage_events' and outcome in {ACCEPTED}
                )
                select stored.* from raw.usage_events as stored
                inner join accepted on stored.batch_id = accepted.batch_id and accepted.place = 1
                where stored.team = ? and stored.usage_date >= ?
                """,
                [team, team, first],
            )
            yield Sample(warehouse, f"events stored for {first} to {newest}")
            return
    with duckdb.connect() as connection:
        days = [now.date() - timedelta(days=back) for back in range(1, WEEK + 1)]
        batches = [batch for day in days for batch in _pages(client, team, day)]
        connection.register("events", pa.Table.from_batches(batches, SCHEMAS["usage_events"]))
        yield Sample(connection, f"events of {days[-1]} to {days[0]}, read for this")


def _newest_day(warehouse: duckdb.DuckDBPyConnection, team: str) -> date | None:
    found = warehouse.execute(
        f"select max(usage_date) from raw.load_windows where team = ? and outcome in {ACCEPTED} and row_count > 0",
        [team],
    ).fetchone()
    return found[0] if found else None


def _pages(client: CursorAdminClient, team: str, day: date) -> Iterator[pa.RecordBatch]:
    window, page, has_next_page = DayWindow(day), 1, True
    while has_next_page:
        answer = client.usage_event_page(window.start_ms, window.end_ms, page)
        yield usage_event_batch(answer.rows, team=team, batch_id="probe", day=day)
        has_next_page, page = answer.has_next_page, page + 1


@dataclass
class Ledgers:
    """What the warehouse of one team tells of earlier answers; empty where there is none."""

    restatement: Told | None = None
    renamed: Told | None = None
    oldest_day: date | None = None
    audit_directory_ids: set[str] = field(default_factory=set)


def read_ledgers(paths: DataPaths, team: str) -> Ledgers:
    """All of it in one visit, as the warehouse must not be held open while the API is asked."""
    with warehouse_if_free(paths) as warehouse:
        if warehouse is None:
            return Ledgers()
        found = Ledgers(_restatement(warehouse, team), _renamed(warehouse, team))
        oldest = warehouse.execute(
            f"select min(usage_date) from raw.load_windows where team = ? and outcome in {ACCEPTED} and row_count > 0",
            [team],
        ).fetchone()
        found.oldest_day = oldest[0] if oldest else None
        ids = warehouse.execute(
            "select distinct json_extract_string(event_data_json, '$.directory_group_id') from raw.audit_events "
            "where team = ? and event_data_json like '%directory_group_id%'",
            [team],
        ).fetchall()
        found.audit_directory_ids = {value for (value,) in ids if value}
        return found


def _restatement(warehouse: duckdb.DuckDBPyConnection, team: str) -> Told:
    """Days that were already over when they were read, and read again: which changed, and how late."""
    found = warehouse.execute(
        f"""
        with reads as (
            select
                usage_date,
                read_at,
                digest <> lag(digest) over (partition by usage_date order by read_number) as is_changed,
                lag(read_at) over (partition by usage_date order by read_number) as previous_read_at
            from raw.load_windows where team = ? and resource = 'usage_events' and outcome in {ACCEPTED}
        ),
        again as (
            select
                usage_date,
                is_changed,
                epoch(previous_read_at - (usage_date + interval 1 day)) / 3600 as hours_before,
                epoch(read_at - (usage_date + interval 1 day)) / 3600 as hours_after
            from reads where previous_read_at >= usage_date + interval 1 day
        )
        select
            count(distinct usage_date),
            count(distinct usage_date) filter (is_changed),
            max(hours_before) filter (is_changed),
            max(hours_after) filter (is_changed),
            count(*) filter (hours_before >= 48),
            count(*) filter (hours_before >= 48 and is_changed)
        from again
        """,
        [team],
    ).fetchone()
    assert found is not None
    days, changed, still, until, late_reads, late_changes = found
    if not days:
        answer = "No case: no day was read twice after its end."
    elif changed:
        last = f"the last change came {still:.0f} to {until:.0f} hours after it"
        answer = f"{changed} of {days} days changed after their end; {last}."
    else:
        answer = f"None of {days} days changed after its end."
    return Told(
        answer, f"{late_reads} reads of days that had been read 48 hours after their end; {late_changes} found a change"
    )


def _renamed(warehouse: duckdb.DuckDBPyConnection, team: str) -> Told:
    found = warehouse.execute(
        """
        with seen as (
            select user_id, lower(trim(user_email)) as user_email from raw.members where team = ?
            union
            select user_id, lower(trim(user_email)) from raw.billing_group_members where team = ?
        )
        select count(*), count(*) filter (email_count > 1) from (
            select user_id, count(distinct user_email) as email_count
            from seen
            where user_id is not null
            group by user_id
        )
        """,
        [team, team],
    ).fetchone()
    assert found is not None
    people, renamed = found
    if renamed:
        answer = (
            f"{renamed} people were seen under more than one e-mail; whether old events follow, only their days show."
        )
    else:
        answer = "No case: nobody was seen under two e-mails."
    return Told(answer, f"{people} user ids over all stored answers")


@dataclass(frozen=True)
class CycleCost:
    """What the published file holds for one cycle, in cents.

    `groups` is what people spent in each: all usage, and on demand alone. A service account is in a group only because
    a seed says so, which Cursor does not know.
    """

    groups: dict[str, tuple[Decimal, Decimal]]
    total: Decimal
    service_accounts: Decimal


def published_cost(paths: DataPaths, team: str, cycle: Cycle) -> CycleCost | str:
    """Our side of a closed cycle, or why there is none."""
    if not paths.published.exists():
        return "there is no published file yet: run `chargeback run` first"
    if cycle.start_at is None or cycle.end_at is None:
        return "the answers name no billing cycle"
    with publish.open_read_only(paths.published, "The published file") as connection:
        found = connection.execute(
            "select count(*) from marts.mart_load_coverage where status in ('final', 'provisional', 'before_history') "
            "and team = ? and resource = 'usage_events' and coverage_date >= ? and coverage_date < ?",
            [team, cycle.start_at.date(), cycle.end_at.date()],
        ).fetchone()
        covered, days = found[0] if found else 0, (cycle.end_at.date() - cycle.start_at.date()).days
        rows = connection.execute(
            """
            select
                billing_group_id,
                actor_type,
                cast(sum(usage_cents) as decimal(18, 6)),
                cast(coalesce(sum(usage_cents) filter (usage_category = 'on_demand'), 0) as decimal(18, 6))
            from marts.fct_usage_events where team = ? and occurred_at >= ? and occurred_at < ?
            group by billing_group_id, actor_type
            """,
            [team, cycle.start_at, cycle.end_at],
        ).fetchall()
    if covered < days:
        return f"the published file covers {covered} of its {days} days"
    groups = {group: (overall, on_demand) for group, actor, overall, on_demand in rows if actor == "member"}
    accounts = sum((overall for _, actor, overall, _ in rows if actor == "service_account"), Decimal())
    return CycleCost(groups, sum((row[2] for row in rows), Decimal()), accounts)


def spend_basis(cycle: Cycle, ours: CycleCost) -> Told:
    """Which of the two event sums each group's `spendCents` is."""
    overall = on_demand = apart = 0
    for group in cycle.groups:
        known = ours.groups.get(str(group.get("id")))
        if known is None or known[0] == 0:
            continue
        spent = Decimal(str(group.get("spendCents") or 0))
        apart += not _is_close(*known)
        overall += _is_close(spent, known[0])
        on_demand += _is_close(spent, known[1])
    evidence = (
        f"{apart} groups where both sums differ; {overall} agree with all usage, {on_demand} with on-demand usage"
    )
    if not apart:
        return Told("No case: in no group the two sums differ.", evidence)
    if overall > on_demand:
        return Told("All usage: on demand and included.", evidence)
    return Told("On-demand usage alone." if on_demand > overall else "Neither sum fits better.", evidence)


def team_total(cycle: Cycle, ours: CycleCost, basis: Told) -> Told:
    """Whether groups and Unassigned together are the team, service accounts included."""
    if not basis.answer.startswith("All usage"):
        return Told("Not to be told: spendCents does not hold all usage.", basis.evidence)
    spent = [Decimal(str(one.get("spendCents") or 0)) for one in (*cycle.groups, cycle.unassigned)]
    difference = ours.total - sum(spent, Decimal())
    evidence = (
        f"{len(spent)} groups with Unassigned; they differ from the events by {_per_cent(difference, ours.total)}"
    )
    if _is_close(sum(spent, Decimal()), ours.total):
        return Told("Groups and Unassigned together are the team: service accounts are in them.", evidence)
    if _is_close(difference, ours.service_accounts):
        return Told("What is missing is what service accounts cost: they are in no group.", evidence)
    return Told("Groups and Unassigned together are not the team.", evidence)


def _is_close(one: Decimal, other: Decimal) -> bool:
    return abs(one - other) <= CENT_TOLERANCE + SHARE_TOLERANCE * abs(other)


def _per_cent(part: Decimal, whole: Decimal) -> str:
    return f"{abs(part) * 100 / whole:.2f} %" if whole else "nothing"
