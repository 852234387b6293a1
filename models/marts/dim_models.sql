-- Grain: one row per model.
{{ config(materialized='table') }}

with

daily_charges as (
    select * from {{ ref('fct_daily_charges') }}
),

activity_days as (
    select * from {{ ref('int_person_activity_days') }}
),

models_in_charges as (
    select
        model,
        min(charge_date) as first_used_date,
        max(charge_date) as last_used_date,
        sum(event_count) as event_count,
        sum(usage_cents) as usage_cents,
        sum(
            case when charge_date > {{ days_before_publication(30) }} then usage_cents else 0 end
        ) as last_30_days_usage_cents,
        count(distinct case
            when charge_date > {{ days_before_publication(30) }} and user_email is not null
                then {{ row_text(['team', 'user_email']) }}
        end) as last_30_days_person_count
    from daily_charges
    where model is not null
    group by model
),

most_used_days as (
    select
        most_used_model,
        count(*) as person_day_count
    from activity_days
    where most_used_model is not null
    group by most_used_model
)

select
    models_in_charges.model,
    models_in_charges.first_used_date,
    models_in_charges.last_used_date,
    cast(models_in_charges.event_count as bigint) as event_count,
    {{ cents('models_in_charges.usage_cents') }} as usage_cents,
    {{ cents('models_in_charges.last_30_days_usage_cents') }} as last_30_days_usage_cents,
    cast(models_in_charges.last_30_days_person_count as bigint) as last_30_days_person_count,
    cast(coalesce(most_used_days.person_day_count, 0) as bigint) as most_used_person_day_count
from models_in_charges
left join most_used_days
    on models_in_charges.model = most_used_days.most_used_model
