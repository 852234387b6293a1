-- Grain: one row per control of spend, part of a day, person, service account, kind and nameless event: our side of it.
-- A nameless event of a version that is still current is its remembered person's; what nobody remembers stays nameless.
with

control_days as (
    select * from {{ ref('int_control_days') }}
),

control_usage as (
    select * from {{ ref('int_control_usage') }}
),

usage_kinds as (
    select * from {{ ref('usage_kinds') }}
),

recalled_events as (
    select * from {{ ref('int_nameless_events_recalled') }}
)

select
    control_days.team,
    control_days.resource,
    control_days.cycle_start_at,
    control_days.usage_date,
    control_days.batch_id,
    control_days.is_whole_day,
    control_days.is_settled,
    control_usage.usage_from_at,
    control_usage.usage_before_at,
    coalesce(control_usage.user_email, recalled_events.user_email) as user_email,
    control_usage.service_account_id,
    control_usage.kind,
    control_usage.usage_event_hash,
    control_usage.nameless_event_number,
    control_usage.usage_event_hash is not null and recalled_events.user_email is null as is_nameless,
    control_usage.first_occurred_at,
    control_usage.last_occurred_at,
    control_usage.unpriced_event_count,
    control_usage.usage_cents as overall_cents,
    -- as on the bill: a kind nobody knows counts as on demand
    coalesce(usage_kinds.usage_category, 'unknown') not in ('included', 'not_charged') as is_on_demand,
    case
        when coalesce(usage_kinds.usage_category, 'unknown') in ('included', 'not_charged') then {{ cents('0') }}
        else control_usage.usage_cents
    end as on_demand_cents
from control_days
inner join control_usage
    on
        control_days.team = control_usage.team
        and control_days.batch_id = control_usage.batch_id
        and control_days.usage_from_at = control_usage.usage_from_at
        and control_days.usage_before_at = control_usage.usage_before_at
left join usage_kinds on control_usage.kind = usage_kinds.kind
left join recalled_events
    on
        control_usage.team = recalled_events.team
        and control_usage.batch_id = recalled_events.batch_id
        and control_usage.usage_event_hash = recalled_events.usage_event_hash
        and control_usage.nameless_event_number = recalled_events.nameless_event_number
where
    control_days.resource in ('member_spend', 'billing_groups')
    and control_usage.event_count > 0
