-- Grain: one row per team, day, billing group, actor, model, surface, charge type, usage category and adjusted month.
-- Days are replaced whole: a day whose events or attribution changed is deleted and written again.
{{ config(materialized='incremental', incremental_strategy='replace_days', on_schema_change='fail',
          meta={'day_column': 'charge_date'}) }}

with

days_to_build as (
    select * from {{ ref('int_usage_days_to_build') }}
),

usage_events as (
    select * from {{ ref('fct_usage_events') }}
),

billing_cycles as (
    select * from {{ ref('int_billing_cycles') }}
),

-- a day belongs to one cycle, the one at its end, so that a cycle that starts at noon does not split the day's rows
days_with_cycle as (
    select
        days_to_build.team,
        days_to_build.usage_date,
        cast(billing_cycles.cycle_start_at as date) as cycle_start_date
    from days_to_build
    left join billing_cycles
        on
            days_to_build.team = billing_cycles.team
            and billing_cycles.cycle_start_at < {{ start_of_day(next_day('days_to_build.usage_date')) }}
            and billing_cycles.cycle_end_at >= {{ start_of_day(next_day('days_to_build.usage_date')) }}
),

usage_by_day as (
    select
        usage_events.team,
        usage_events.usage_date,
        usage_events.usage_month,
        days_with_cycle.cycle_start_date,
        usage_events.billing_group_id,
        usage_events.billing_group_name,
        usage_events.actor_type,
        usage_events.user_email,
        usage_events.service_account_id,
        usage_events.model,
        usage_events.surface,
        usage_events.usage_category,
        count(*) as event_count,
        sum(
            coalesce(usage_events.input_tokens, 0)
            + coalesce(usage_events.output_tokens, 0)
            + coalesce(usage_events.cache_write_tokens, 0)
            + coalesce(usage_events.cache_read_tokens, 0)
        ) as total_tokens,
        sum(usage_events.usage_cents) as usage_cents,
        sum(usage_events.billed_cents) as billed_cents,
        max(case when usage_events.is_provisional then 1 else 0 end) = 1 as is_provisional
    from usage_events
    inner join days_with_cycle
        on
            usage_events.team = days_with_cycle.team
            and usage_events.usage_date = days_with_cycle.usage_date
    group by
        usage_events.team,
        usage_events.usage_date,
        usage_events.usage_month,
        days_with_cycle.cycle_start_date,
        usage_events.billing_group_id,
        usage_events.billing_group_name,
        usage_events.actor_type,
        usage_events.user_email,
        usage_events.service_account_id,
        usage_events.model,
        usage_events.surface,
        usage_events.usage_category
)

select
    team,
    usage_date as charge_date,
    usage_month as charge_month,
    cycle_start_date,
    billing_group_id,
    billing_group_name,
    actor_type,
    user_email,
    service_account_id,
    model,
    surface,
    'usage' as charge_type,
    usage_category,
    cast(null as date) as adjusts_month,
    cast(null as {{ dbt.type_string() }}) as adjusts_charge_type,
    event_count,
    cast(total_tokens as bigint) as total_tokens,
    {{ cents('usage_cents') }} as usage_cents,
    {{ cents('billed_cents') }} as billed_cents,
    false as is_estimate,
    is_provisional,
    false as is_closed
from usage_by_day
