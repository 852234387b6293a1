-- Grain: one row per team, month, billing group, charge type and adjusted month.
-- Cents are rounded here and only here: whole cents by largest remainder, so that the lines of a statement add up.
-- A closed month is its frozen copy, to the cent as it was sent.
{{ config(materialized='table') }}

with

daily_charges as (
    select * from {{ ref('fct_daily_charges') }}
),

usage_days as (
    select * from {{ ref('int_usage_days') }}
),

group_names as (
    select * from {{ ref('int_billing_group_names') }}
),

seat_costs as (
    select * from {{ ref('fct_daily_seat_costs') }}
),

frozen_lines as (
    select * from {{ ref('stg_close_ledger__closed_monthly_chargeback') }}
),

-- a late event can still reach any group while one day of the month is open: the state is the month's, not the line's
month_states as (
    select
        team,
        {{ month_of('usage_date') }} as charge_month,
        max(usage_date) < cast({{ dbt.last_day('max(usage_date)', 'month') }} as date)
        or max(case when status in ('provisional', 'missing') then 1 else 0 end) = 1 as is_provisional
    from usage_days
    group by team, {{ month_of('usage_date') }}
),

lines as (
    select
        team,
        charge_month,
        cast({{ dbt.last_day('charge_month', 'month') }} as date) as month_last_date,
        billing_group_id,
        charge_type,
        adjusts_month,
        adjusts_charge_type,
        {{ cents('sum(usage_cents)') }} as usage_cents,
        {{ cents('sum(billed_cents)') }} as billed_cents,
        cast(sum(event_count) as bigint) as event_count,
        max(case when is_estimate then 1 else 0 end) = 1 as is_estimate
    from daily_charges
    where not is_closed
    group by team, charge_month, billing_group_id, charge_type, adjusts_month, adjusts_charge_type
),

seat_days_by_month as (
    select
        team,
        {{ month_of('seat_date') }} as charge_month,
        billing_group_id,
        'seat' as charge_type,
        cast(sum(seat_count) as bigint) as seat_days
    from seat_costs
    group by team, {{ month_of('seat_date') }}, billing_group_id
),

lines_floored as (
    select
        lines.*,
        cast(floor(lines.billed_cents) as decimal(18, 0)) as floor_cents,
        {{ cents('sum(lines.billed_cents) over (partition by lines.team, lines.charge_month)') }} as month_cents
    from lines
),

-- the remainder is never negative, because floor goes towards minus infinity
lines_with_remainder as (
    select
        lines_floored.*,
        lines_floored.billed_cents - lines_floored.floor_cents as remainder_cents,
        cast(round(lines_floored.month_cents, 0) as decimal(18, 0))
        - sum(lines_floored.floor_cents) over (partition by lines_floored.team, lines_floored.charge_month)
            as cents_to_give
    from lines_floored
),

lines_ranked as (
    select
        lines_with_remainder.*,
        row_number() over (
            partition by lines_with_remainder.team, lines_with_remainder.charge_month
            order by
                lines_with_remainder.remainder_cents desc nulls last,
                lines_with_remainder.billing_group_id asc nulls last,
                lines_with_remainder.charge_type asc nulls last,
                lines_with_remainder.adjusts_month asc nulls last,
                lines_with_remainder.adjusts_charge_type asc nulls last
        ) as remainder_rank
    from lines_with_remainder
),

lines_rounded as (
    select
        lines_ranked.*,
        lines_ranked.floor_cents
        + case when lines_ranked.remainder_rank <= lines_ranked.cents_to_give then 1 else 0 end as statement_cents
    from lines_ranked
)

select
    lines_rounded.team,
    lines_rounded.charge_month,
    lines_rounded.billing_group_id,
    -- a group that only a seed names has no other name than its id
    coalesce(group_names.name, lines_rounded.billing_group_id) as billing_group_name,
    lines_rounded.charge_type,
    lines_rounded.adjusts_month,
    lines_rounded.adjusts_charge_type,
    lines_rounded.usage_cents,
    lines_rounded.billed_cents,
    cast(lines_rounded.statement_cents * cast(0.01 as decimal(3, 2)) as decimal(18, 2)) as billed_usd,
    case
        when lines_rounded.month_cents > 0
            then cast(lines_rounded.billed_cents / lines_rounded.month_cents as decimal(18, 6))
    end as billed_share,
    lines_rounded.event_count,
    coalesce(seat_days_by_month.seat_days, 0) as seat_days,
    lines_rounded.is_estimate,
    -- what an adjustment adjusts was sent long ago
    lines_rounded.charge_type <> 'adjustment' and coalesce(month_states.is_provisional, true) as is_provisional,
    false as is_closed
from lines_rounded
left join seat_days_by_month
    on
        lines_rounded.team = seat_days_by_month.team
        and lines_rounded.charge_month = seat_days_by_month.charge_month
        and lines_rounded.billing_group_id = seat_days_by_month.billing_group_id
        and lines_rounded.charge_type = seat_days_by_month.charge_type
left join month_states
    on
        lines_rounded.team = month_states.team
        and lines_rounded.charge_month = month_states.charge_month
left join group_names
    on
        lines_rounded.team = group_names.team
        and lines_rounded.billing_group_id = group_names.billing_group_id
        and lines_rounded.month_last_date >= group_names.valid_from_date
        and lines_rounded.month_last_date < group_names.valid_to_date
union all
select
    team,
    charge_month,
    billing_group_id,
    billing_group_name,
    charge_type,
    adjusts_month,
    adjusts_charge_type,
    usage_cents,
    billed_cents,
    billed_usd,
    billed_share,
    event_count,
    seat_days,
    is_estimate,
    is_provisional,
    true as is_closed
from frozen_lines
