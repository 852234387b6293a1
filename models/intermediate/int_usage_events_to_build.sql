-- Grain: one row per event of the current batch of a day to build, with its remembered person.
with

days_to_build as (
    select * from {{ ref('int_usage_days_to_build') }}
),

usage_events as (
    select * from {{ ref('stg_cursor_admin__usage_events') }}
),

recalled_events as (
    select * from {{ ref('int_nameless_events_recalled') }}
),

current_events as (
    select
        usage_events.*,
        days_to_build.status,
        {{ usage_event_hash('usage_events') }} as usage_event_hash
    from usage_events
    -- the day is in the condition for the engine's sake: rows lie in the order of days, batches do not
    inner join days_to_build
        on
            usage_events.team = days_to_build.team
            and usage_events.usage_date = days_to_build.usage_date
            and usage_events.batch_id = days_to_build.batch_id
),

named_events as (
    select
        current_events.*,
        -- the e-mail of a service account's event is not used: it may be its creator's
        case when current_events.service_account_id is null then current_events.user_email end as resolved_email
    from current_events
    where current_events.service_account_id is not null or current_events.user_email is not null
),

nameless_events as (
    select
        current_events.*,
        {{ nameless_event_number('current_events') }} as nameless_event_number
    from current_events
    where current_events.service_account_id is null and current_events.user_email is null
)

{% set columns = [
    'team', 'usage_date', 'usage_event_hash', 'occurred_at', 'service_account_id', 'service_account_name',
    'cloud_agent_id', 'automation_id', 'conversation_id', 'model', 'kind', 'is_max_mode', 'is_headless',
    'input_tokens', 'output_tokens', 'cache_write_tokens', 'cache_read_tokens', 'model_cents', 'token_fee_cents',
    'charged_cents', 'status',
] %}

select
    {% for column in columns %}named_events.{{ column }},
    {% endfor %}named_events.resolved_email as user_email
from named_events
union all
select
    {% for column in columns %}nameless_events.{{ column }},
    {% endfor %}recalled_events.user_email
from nameless_events
left join recalled_events
    on
        nameless_events.team = recalled_events.team
        and nameless_events.batch_id = recalled_events.batch_id
        and nameless_events.usage_event_hash = recalled_events.usage_event_hash
        and nameless_events.nameless_event_number = recalled_events.nameless_event_number
