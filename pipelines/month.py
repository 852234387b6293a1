"""What one month says, read from the published file alone: a line per billing group, and what must be known of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any

import duckdb

from pipelines import publish
from pipelines.close_ledger import month_after
from pipelines.errors import ChargebackError, FileError
from pipelines.month_notes import month_notes
from pipelines.paths import DataPaths

CENT = Decimal("0.01")


@dataclass(frozen=True)
class ReportLine:
    """One billing group's month, or the total over the groups shown. Money is US dollars.

    On demand, included and automation are values at Cursor's prices. The three `_billed_usd` add up to `billed_usd`,
    which is what the group is charged; each is null where the month has no line of its kind. `average_seats` is null
    where seats are not known. `change_usd` is against the month before, null when that is not covered. `member_count`
    is null for the rows that stand for cost without a group.
    """

    team: str
    billing_group_id: str
    billing_group_name: str
    cost_center: str | None
    gl_account: str | None
    owner: str | None
    member_count: int | None
    active_member_count: int
    average_seats: Decimal | None
    on_demand_usd: Decimal
    included_usd: Decimal
    automation_usd: Decimal
    usage_billed_usd: Decimal | None
    seat_billed_usd: Decimal | None
    adjustment_billed_usd: Decimal | None
    billed_usd: Decimal
    billed_share: Decimal | None
    change_usd: Decimal | None


@dataclass(frozen=True)
class Part:
    """A part of one group's month: `breakdown` is model, surface or person. Each breakdown adds up to the group."""

    breakdown: str
    name: str
    event_count: int
    usage_cents: Decimal
    billed_cents: Decimal


@dataclass(frozen=True)
class Report:
    """A month as published: lines by amount, largest first, their total, and what a reader must know.

    `parts` are there when one group was asked for.
    """

    month: date
    lines: list[ReportLine]
    total: ReportLine
    notes: list[str]
    parts: list[Part] = field(default_factory=list)


class NoDataError(ChargebackError):
    """The published file is fine and has nothing on what was asked for."""


_LINES = """
with charges as (
    select
        team,
        billing_group_id,
        sum(billed_share) as billed_share,
        sum(billed_usd) filter (charge_type = 'usage') as usage_billed_usd,
        sum(billed_usd) filter (charge_type = 'seat') as seat_billed_usd,
        sum(billed_usd) filter (charge_type = 'adjustment') as adjustment_billed_usd
    from marts.fct_monthly_chargeback
    where charge_month = $month
    group by team, billing_group_id
)
select
    months.team,
    months.billing_group_id,
    months.billing_group_name,
    groups.cost_center,
    groups.gl_account,
    groups.owner,
    months.member_count,
    months.active_member_count,
    months.average_seats,
    cast(round(months.on_demand_cents, 0) as bigint) as on_demand_usd,
    cast(round(months.included_cents, 0) as bigint) as included_usd,
    cast(round(months.automation_cents, 0) as bigint) as automation_usd,
    charges.usage_billed_usd,
    charges.seat_billed_usd,
    charges.adjustment_billed_usd,
    months.billed_usd,
    charges.billed_share,
    months.billed_usd - months.billed_usd_previous_month as change_usd
from marts.mart_group_months as months
left join charges
    on months.team = charges.team and months.billing_group_id = charges.billing_group_id
left join marts.dim_billing_groups as groups
    on months.team = groups.team and months.billing_group_id = groups.billing_group_id
where
    months.charge_month = $month
    and ($group is null or lower($group) in (lower(months.billing_group_id), lower(months.billing_group_name)))
    -- a group with neither members nor seats nor usage nor a bill before is nothing to read about
    and (
        coalesce(months.member_count, 0) > 0
        or coalesce(months.average_seats, 0) > 0
        or months.usage_cents <> 0
        or months.billed_usd <> 0
        or coalesce(months.billed_usd_previous_month, 0) <> 0
    )
order by months.team, months.billed_usd desc, months.usage_cents desc, months.billing_group_id
"""

# A person is counted once, however many groups and e-mails they had.
_COUNTS = """
select
    (
        select count(distinct (memberships.team, coalesce(users.user_id, memberships.user_email)))
        from marts.dim_group_memberships as memberships
        left join marts.dim_users as users
            on memberships.team = users.team and memberships.user_email = users.user_email
        where
            memberships.valid_from_at < $next_month
            and memberships.valid_to_at > $month
            and memberships.billing_group_id in (select unnest($groups))
    ),
    (
        select count(distinct (charges.team, coalesce(users.user_id, charges.user_email)))
        from marts.fct_daily_charges as charges
        left join marts.dim_users as users
            on charges.team = users.team and charges.user_email = users.user_email
        where
            charges.charge_month = $month
            and charges.actor_type = 'member'
            and charges.event_count > 0
            and charges.billing_group_id in (select unnest($groups))
    )
"""

_PARTS = """
with charges as (
    select
        coalesce(model, '(' || charge_type || ')') as model,
        coalesce(surface, '(' || charge_type || ')') as surface,
        coalesce(
            user_email,
            service_account_id,
            case
                when charge_type = 'seat' then '(committed seats not taken)'
                when charge_type = 'usage' then '(nobody named)'
                else '(' || charge_type || ')'
            end
        ) as person,
        event_count,
        usage_cents,
        billed_cents
    from marts.fct_daily_charges
    where charge_month = $month and billing_group_id in (select unnest($groups))
),
parts as (
    select 1 as place, 'model' as breakdown, model as name, * from charges
    union all
    select 2, 'surface', surface, * from charges
    union all
    select 3, 'person', person, * from charges
)
select
    breakdown,
    name,
    cast(sum(event_count) as bigint),
    cast(sum(usage_cents) as decimal(18, 6)),
    cast(coalesce(sum(billed_cents), 0) as decimal(18, 6)) as billed_cents
from parts
group by place, breakdown, name
order by place, billed_cents desc, name
"""


def read_report(paths: DataPaths, month: date, group: str | None = None) -> Report:
    """The month as published; `group` narrows it to one billing group, by id or name.

    Raises:
        FileError: nothing is published, or the file cannot be read.
        NoDataError: the published file says nothing about the month, or about the group in it.
    """
    if not paths.published.exists():
        raise FileError(f"Nothing is published yet at {paths.published}. Run `chargeback run` first.")
    publish.read_publication(paths.published)  # says what is wrong with a file that is not ours
    next_month = month_after(month)
    with publish.open_read_only(paths.published, "The published file") as connection:
        found = connection.execute(_LINES, {"month": month, "group": group})
        names = [column[0] for column in found.description]
        rows = [dict(zip(names, row, strict=True)) for row in found.fetchall()]
        if not rows:
            raise NoDataError(_no_data_message(connection, month, group))
        lines = [_line(row) for row in rows]
        asked = {"month": month, "groups": [line.billing_group_id for line in lines]}
        counts = connection.execute(_COUNTS, {**asked, "next_month": next_month}).fetchone()
        parts = connection.execute(_PARTS, asked).fetchall() if group is not None else []
        notes = month_notes(connection, asked, next_month, is_whole_month=group is None)
    assert counts is not None
    return Report(month, lines, _total(lines, *counts), notes, [Part(*part) for part in parts])


def _no_data_message(connection: duckdb.DuckDBPyConnection, month: date, group: str | None) -> str:
    groups = connection.execute(
        "select distinct billing_group_name from marts.mart_group_months where charge_month = ? order by 1", [month]
    ).fetchall()
    if groups:
        return f"No group {group!r} in {month:%Y-%m}. There are: {', '.join(str(name) for (name,) in groups)}."
    months = connection.execute("select min(charge_month), max(charge_month) from marts.mart_group_months").fetchone()
    if months is None or months[0] is None:
        return f"No data for {month:%Y-%m}: the published file holds no usage yet."
    return f"No data for {month:%Y-%m}: the published file holds {months[0]:%Y-%m} to {months[1]:%Y-%m}."


def _line(row: dict[str, Any]) -> ReportLine:
    for name in ("on_demand_usd", "included_usd", "automation_usd"):  # whole cents until here
        row[name] = (Decimal(row[name]) * CENT).quantize(CENT)
    return ReportLine(**row)


def _sum(values: list[Decimal | None]) -> Decimal | None:
    """The sum of what is known; null when nothing is."""
    known = [value for value in values if value is not None]
    return sum(known, Decimal(0)) if known else None


def _total(lines: list[ReportLine], members: int, active_members: int) -> ReportLine:
    is_one_team = len({line.team for line in lines}) == 1
    return ReportLine(
        team=lines[0].team if is_one_team else "",
        billing_group_id="",
        billing_group_name="Total",
        cost_center=None,
        gl_account=None,
        owner=None,
        member_count=members,
        active_member_count=active_members,
        average_seats=_sum([line.average_seats for line in lines]),
        on_demand_usd=sum((line.on_demand_usd for line in lines), Decimal(0)),
        included_usd=sum((line.included_usd for line in lines), Decimal(0)),
        automation_usd=sum((line.automation_usd for line in lines), Decimal(0)),
        usage_billed_usd=_sum([line.usage_billed_usd for line in lines]),
        seat_billed_usd=_sum([line.seat_billed_usd for line in lines]),
        adjustment_billed_usd=_sum([line.adjustment_billed_usd for line in lines]),
        billed_usd=sum((line.billed_usd for line in lines), Decimal(0)),
        # shares are of one team's month: those of several do not add up to anything
        billed_share=_sum([line.billed_share for line in lines]) if is_one_team else None,
        change_usd=_sum([line.change_usd for line in lines]),
    )
