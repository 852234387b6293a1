-- Grain: one row per team, closed month, billing group and charge type that is not today what has been booked for it.
-- Booked is what was frozen for the month, and what later months, closed since, have adjusted already. The difference
-- stands in the first open month, so that over all months a group is charged what events and seats say today.
with

closed_months as (
    select * from {{ ref('stg_close_ledger__closed_months') }}
),

frozen_lines as (
    select * from {{ ref('stg_close_ledger__closed_monthly_chargeback') }}
),

usage_events as (
    select * from {{ ref('fct_usage_events') }}
),

seat_costs as (
    select * from {{ ref('fct_daily_seat_costs') }}
),

open_months as (
    select
        team,
        cast({{ dbt.dateadd('month', 1, 'max(charge_month)') }} as date) as first_open_month
    from closed_months
    group by team
),

amounts as (
    select
        usage_events.team,
        usage_events.usage_month as adjusts_month,
        usage_events.billing_group_id,
        'usage' as adjusts_charge_type,
        sum(usage_events.usage_cents) as usage_cents,
        sum(usage_events.billed_cents) as billed_cents
    from usage_events
    inner join closed_months
        on
            usage_events.team = closed_months.team
            and usage_events.usage_month = closed_months.charge_month
    group by usage_events.team, usage_events.usage_month, usage_events.billing_group_id
    union all
    select
        seat_costs.team,
        closed_months.charge_month as adjusts_month,
        seat_costs.billing_group_id,
        'seat' as adjusts_charge_type,
        0 as usage_cents,
        sum(coalesce(seat_costs.seat_cents, 0)) as billed_cents
    from seat_costs
    inner join closed_months
        on
            seat_costs.team = closed_months.team
            and {{ month_of('seat_costs.seat_date') }} = closed_months.charge_month
    group by seat_costs.team, closed_months.charge_month, seat_costs.billing_group_id
    union all
    -- a frozen adjustment was booked for the month that it adjusts
    select
        team,
        coalesce(adjusts_month, charge_month) as adjusts_month,
        billing_group_id,
        coalesce(adjusts_charge_type, charge_type) as adjusts_charge_type,
        -usage_cents as usage_cents,
        -billed_cents as billed_cents
    from frozen_lines
),

differences as (
    select
        team,
        adjusts_month,
        billing_group_id,
        adjusts_charge_type,
        {{ cents('sum(usage_cents)') }} as usage_cents,
        {{ cents('sum(billed_cents)') }} as billed_cents
    from amounts
    group by team, adjusts_month, billing_group_id, adjusts_charge_type
)

select
    differences.team,
    open_months.first_open_month as charge_month,
    differences.billing_group_id,
    differences.adjusts_month,
    differences.adjusts_charge_type,
    differences.usage_cents,
    differences.billed_cents
from differences
inner join open_months on differences.team = open_months.team
where differences.billed_cents <> 0
