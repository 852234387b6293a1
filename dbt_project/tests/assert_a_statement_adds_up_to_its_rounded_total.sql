-- The lines of a team's month add up to its total, rounded half away from zero, and no line moves by a cent or more.
with

statements as (
    select
        team,
        charge_month,
        sum(billed_usd) as billed_usd,
        cast(round(sum(billed_cents), 0) as decimal(18, 0)) as total_cents,
        max(abs(billed_usd * 100 - billed_cents)) as largest_rounding_cents
    from {{ ref('fct_monthly_chargeback') }}
    group by team, charge_month
)

select
    team,
    charge_month,
    billed_usd,
    total_cents,
    largest_rounding_cents
from statements
where
    billed_usd * 100 <> total_cents
    or largest_rounding_cents >= 1
