-- Grain: one row per team, day and owner: the whole team, each billing group, each service account.
-- A service account's cost stands in its group's row too: owners of different types are never added up.
-- A table: forecasts, their back-test and anomalies all read it, and fct_daily_charges is read once a night for them.
{{ config(materialized='table') }}

with

daily_charges as (
    select * from {{ ref('fct_daily_charges') }}
),

charges_by_owner as (
    select
        team,
        charge_date,
        'billing_group' as owner_type,
        billing_group_id as owner_id,
        charge_type,
        billed_cents
    from daily_charges
    union all
    select
        team,
        charge_date,
        'total' as owner_type,
        'total' as owner_id,
        charge_type,
        billed_cents
    from daily_charges
    union all
    select
        team,
        charge_date,
        'service_account' as owner_type,
        service_account_id as owner_id,
        charge_type,
        billed_cents
    from daily_charges
    where service_account_id is not null
)

select
    team,
    charge_date,
    {{ month_of('charge_date') }} as charge_month,
    owner_type,
    owner_id,
    {{ cents("sum(case when charge_type = 'usage' then billed_cents else 0 end)") }} as usage_billed_cents,
    {{ cents("sum(case when charge_type = 'seat' then billed_cents else 0 end)") }} as seat_cents,
    {{ cents("sum(case when charge_type = 'adjustment' then billed_cents else 0 end)") }} as adjustment_cents
from charges_by_owner
group by team, charge_date, {{ month_of('charge_date') }}, owner_type, owner_id
