-- Grain: one row per event of a day to build, with the key it keeps when its price or e-mail changes.
-- The API gives events no id. The key is a hash of what stays fixed and an ordinal among equals; a restated twin may
-- swap ordinals with its sibling, which no total sees.
with

usage_events as (
    select * from {{ ref('int_usage_events_to_build') }}
)

select
    usage_events.team,
    usage_events.usage_event_hash || '-' || cast(
        row_number() over (
            partition by usage_events.team, usage_events.usage_date, usage_events.usage_event_hash
            order by
                usage_events.user_email nulls last, usage_events.charged_cents nulls last, usage_events.kind nulls last,
                usage_events.model_cents nulls last, usage_events.token_fee_cents nulls last,
                usage_events.is_headless nulls last, usage_events.service_account_name nulls last
        ) as {{ dbt.type_string() }}
    ) as usage_event_id,
    usage_events.usage_date,
    usage_events.status,
    usage_events.occurred_at,
    usage_events.user_email,
    usage_events.service_account_id,
    usage_events.service_account_name,
    usage_events.cloud_agent_id,
    usage_events.automation_id,
    usage_events.conversation_id,
    usage_events.model,
    usage_events.kind,
    usage_events.is_max_mode,
    usage_events.is_headless,
    usage_events.input_tokens,
    usage_events.output_tokens,
    usage_events.cache_write_tokens,
    usage_events.cache_read_tokens,
    usage_events.model_cents,
    usage_events.token_fee_cents,
    usage_events.charged_cents
from usage_events
