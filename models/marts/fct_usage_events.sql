-- Grain: one row per usage event. Every event of the current version of every covered day, with the billing group that
-- held its person at that instant and what that group is billed.
-- depends_on: {{ ref('int_usage_days_to_build') }}
{{ config(materialized='incremental', incremental_strategy='replace_days', meta={'day_column': 'usage_date'}) }}

with

usage_events as (
    select * from {{ ref('int_usage_events_attributed') }}
),

usage_kinds as (
    select * from {{ ref('usage_kinds') }}
),

plans as (
    select * from {{ ref('int_plans') }}
),

billing_cycles as (
    select * from {{ ref('int_billing_cycles') }}
),

categorised_events as (
    select
        usage_events.*,
        coalesce(usage_kinds.usage_category, 'unknown') as usage_category,
        {{ cents('coalesce(usage_events.charged_cents, 0)') }} as usage_cents,
        plans.plan,
        plans.usage_rate,
        cast(billing_cycles.cycle_start_at as date) as cycle_start_date
    from usage_events
    left join usage_kinds on usage_events.kind = usage_kinds.kind
    left join plans
        on
            usage_events.team = plans.team
            and usage_events.usage_date >= plans.valid_from_date
            and usage_events.usage_date < plans.valid_to_date
    left join billing_cycles
        on
            usage_events.team = billing_cycles.team
            and usage_events.occurred_at >= billing_cycles.cycle_start_at
            and usage_events.occurred_at < billing_cycles.cycle_end_at
)

select
    team,
    usage_event_id,
    occurred_at,
    usage_date,
    {{ month_of('usage_date') }} as usage_month,
    cycle_start_date,
    actor_type,
    user_email,
    user_id,
    service_account_id,
    service_account_name,
    billing_group_id,
    billing_group_name,
    attribution_method,
    model,
    kind,
    usage_category,
    case
        when automation_id is not null then 'automation'
        when cloud_agent_id is not null then 'cloud_agent'
        when is_headless then 'headless'
        else 'interactive'
    end as surface,
    is_max_mode,
    is_headless,
    conversation_id,
    cloud_agent_id,
    automation_id,
    input_tokens,
    output_tokens,
    cache_write_tokens,
    cache_read_tokens,
    model_cents,
    token_fee_cents,
    usage_cents,
    case
        when usage_category = 'not_charged' then {{ cents('0') }}
        -- the seat paid for included usage; on an enterprise plan it draws on the pool
        when plan = 'teams' and usage_category = 'included' then {{ cents('0') }}
        when plan = 'teams' then usage_cents
        when plan = 'enterprise' then {{ cents('usage_cents * usage_rate') }}
    end as billed_cents,
    charged_cents is null as is_unpriced,
    status <> 'final' as is_provisional
from categorised_events
