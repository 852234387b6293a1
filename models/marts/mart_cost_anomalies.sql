-- Grain: one row per team, billing group and day that cost far more than that group's own days of the same kind.
-- Reads day totals, never events.
{{ config(materialized='table') }}

with

anomalies as (
    select *
    from {{ ref('int_group_days_compared') }}
    where is_anomaly
),

daily_charges as (
    select * from {{ ref('fct_daily_charges') }}
),

complete_days as (
    select * from {{ ref('int_complete_days') }}
),

group_names as (
    select * from {{ ref('int_billing_group_names') }}
),

-- the day itself, and the days that it was compared with: days without usage add nothing to a sum
days_to_explain as (
    select
        anomalies.team,
        anomalies.billing_group_id,
        anomalies.usage_date,
        anomalies.comparable_day_count,
        complete_days.usage_date as charge_date
    from anomalies
    inner join complete_days
        on
            anomalies.team = complete_days.team
            and anomalies.day_type = complete_days.day_type
            and anomalies.usage_date >= complete_days.usage_date
            and {{ dbt.dateadd('day', -56, 'anomalies.usage_date') }} <= complete_days.usage_date
),

charges as (
    select
        days_to_explain.team,
        days_to_explain.billing_group_id,
        days_to_explain.usage_date,
        days_to_explain.comparable_day_count,
        daily_charges.model,
        daily_charges.surface,
        daily_charges.actor_type,
        daily_charges.user_email,
        daily_charges.service_account_id,
        case when days_to_explain.charge_date = days_to_explain.usage_date then daily_charges.billed_cents else 0 end
            as day_cents,
        case when days_to_explain.charge_date < days_to_explain.usage_date then daily_charges.billed_cents else 0 end
            as history_cents
    from days_to_explain
    inner join daily_charges
        on
            days_to_explain.team = daily_charges.team
            and days_to_explain.billing_group_id = daily_charges.billing_group_id
            and days_to_explain.charge_date = daily_charges.charge_date
    where daily_charges.charge_type = 'usage'
),

{%- set increase -%}
    {{ cents('sum(day_cents) - ' ~ cents_of_millionths(
        whole_quotient(millionths('sum(history_cents)'), 'comparable_day_count')
    )) }}
{%- endset %}

models as (
    select
        team,
        billing_group_id,
        usage_date,
        model,
        {{ increase }} as increase_cents
    from charges
    group by team, billing_group_id, usage_date, comparable_day_count, model
),

models_ranked as (
    select
        *,
        row_number() over (
            partition by team, billing_group_id, usage_date
            order by increase_cents desc nulls last, model asc nulls last
        ) as rank_number
    from models
),

surfaces as (
    select
        team,
        billing_group_id,
        usage_date,
        surface,
        {{ increase }} as increase_cents
    from charges
    group by team, billing_group_id, usage_date, comparable_day_count, surface
),

surfaces_ranked as (
    select
        *,
        row_number() over (
            partition by team, billing_group_id, usage_date
            order by increase_cents desc nulls last, surface asc nulls last
        ) as rank_number
    from surfaces
),

actors as (
    select
        team,
        billing_group_id,
        usage_date,
        actor_type,
        user_email,
        service_account_id,
        {{ increase }} as increase_cents
    from charges
    group by team, billing_group_id, usage_date, comparable_day_count, actor_type, user_email, service_account_id
),

actors_ranked as (
    select
        *,
        row_number() over (
            partition by team, billing_group_id, usage_date
            order by
                increase_cents desc nulls last, user_email asc nulls last, service_account_id asc nulls last
        ) as rank_number
    from actors
)

select
    anomalies.team,
    anomalies.usage_date as charge_date,
    anomalies.billing_group_id,
    coalesce(group_names.name, anomalies.billing_group_id) as billing_group_name,
    anomalies.day_type,
    anomalies.billed_cents,
    anomalies.median_cents,
    anomalies.recent_median_cents,
    anomalies.median_deviation_cents,
    anomalies.excess_cents,
    anomalies.score,
    cast(anomalies.comparable_day_count as bigint) as comparable_day_count,
    models_ranked.model as top_model,
    models_ranked.increase_cents as top_model_increase_cents,
    surfaces_ranked.surface as top_surface,
    surfaces_ranked.increase_cents as top_surface_increase_cents,
    actors_ranked.actor_type as top_actor_type,
    actors_ranked.user_email as top_user_email,
    actors_ranked.service_account_id as top_service_account_id,
    actors_ranked.increase_cents as top_actor_increase_cents,
    anomalies.is_provisional
from anomalies
inner join models_ranked
    on
        anomalies.team = models_ranked.team
        and anomalies.billing_group_id = models_ranked.billing_group_id
        and anomalies.usage_date = models_ranked.usage_date
        and models_ranked.rank_number = 1
inner join surfaces_ranked
    on
        anomalies.team = surfaces_ranked.team
        and anomalies.billing_group_id = surfaces_ranked.billing_group_id
        and anomalies.usage_date = surfaces_ranked.usage_date
        and surfaces_ranked.rank_number = 1
inner join actors_ranked
    on
        anomalies.team = actors_ranked.team
        and anomalies.billing_group_id = actors_ranked.billing_group_id
        and anomalies.usage_date = actors_ranked.usage_date
        and actors_ranked.rank_number = 1
left join group_names
    on
        anomalies.team = group_names.team
        and anomalies.billing_group_id = group_names.billing_group_id
        and anomalies.usage_date >= group_names.valid_from_date
        and anomalies.usage_date < group_names.valid_to_date
