-- On a Teams plan on-demand usage is what is billed. Where all of it costs nothing over the last four weeks, Cursor
-- sends no amounts, or the plan is set wrongly, and every bill is too low. A warning, as a team may have stopped on
-- purpose; ten events are the least from which that can be told. So since 2026-11.
{{ config(severity='warn') }}

with

plans as (
    select * from {{ ref('int_plans') }}
    where plan = 'teams'
)

select
    charges.team,
    sum(charges.event_count) as event_count,
    min(charges.charge_date) as first_date,
    max(charges.charge_date) as last_date
from {{ ref('fct_daily_charges') }} as charges
inner join plans
    on
        charges.team = plans.team
        and charges.charge_date >= plans.valid_from_date
        and charges.charge_date < plans.valid_to_date
where
    charges.charge_type = 'usage'
    and charges.usage_category = 'on_demand'
    and charges.charge_date >= {{ dbt.dateadd('day', -28, published_at()) }}
group by charges.team
having sum(charges.event_count) >= 10 and sum(charges.usage_cents) = 0
