-- Closing moves no money away: over all months, a group is charged what its events and seats cost by today's knowledge.
-- Frozen lines, the adjustments booked since, and open months together; per group and by what is charged.
with

charged as (
    select
        team,
        billing_group_id,
        coalesce(adjusts_charge_type, charge_type) as charge_type,
        billed_cents
    from {{ ref('fct_monthly_chargeback') }}
),

known_today as (
    select
        team,
        billing_group_id,
        'usage' as charge_type,
        billed_cents
    from {{ ref('fct_usage_events') }}
    union all
    select
        team,
        billing_group_id,
        'seat' as charge_type,
        coalesce(seat_cents, 0) as billed_cents
    from {{ ref('fct_daily_seat_costs') }}
),

differences as (
    select
        team,
        billing_group_id,
        charge_type,
        billed_cents
    from charged
    union all
    select
        team,
        billing_group_id,
        charge_type,
        -billed_cents as billed_cents
    from known_today
)

select
    team,
    billing_group_id,
    charge_type,
    sum(billed_cents) as difference_cents
from differences
group by team, billing_group_id, charge_type
having sum(billed_cents) <> 0
