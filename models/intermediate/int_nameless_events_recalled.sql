-- Grain: one row per nameless event of a current batch whose person is remembered.
-- By an earlier version of its day, else by its conversation, if that has exactly one person and no service account.
{{ config(materialized='table') }}

with

usage_days as (
    select * from {{ ref('int_usage_days_covered') }}
),

nameless_events as (
    select * from {{ ref('int_nameless_events') }}
),

usage_events as (
    select * from {{ ref('stg_cursor_admin__usage_events') }}
),

recalled_events as (
    select nameless_events.*
    from nameless_events
    inner join usage_days
        on nameless_events.team = usage_days.team and nameless_events.batch_id = usage_days.batch_id
),

wanted_conversations as (
    select distinct
        team,
        conversation_id
    from recalled_events
    where user_email is null and conversation_id is not null
),

conversation_actors as (
    select
        usage_events.team,
        usage_events.conversation_id,
        usage_events.service_account_id,
        usage_events.user_email
    from usage_events
    inner join wanted_conversations
        on
            usage_events.team = wanted_conversations.team
            and usage_events.conversation_id = wanted_conversations.conversation_id
    inner join usage_days
        on
            usage_events.team = usage_days.team
            and usage_events.usage_date = usage_days.usage_date
            and usage_events.batch_id = usage_days.batch_id
    union all
    select
        team,
        conversation_id,
        null as service_account_id,
        user_email
    from recalled_events
    where user_email is not null and conversation_id is not null
),

conversations as (
    select
        team,
        conversation_id,
        min(user_email) as user_email
    from conversation_actors
    group by team, conversation_id
    having count(distinct user_email) = 1 and count(service_account_id) = 0
)

select
    recalled_events.team,
    recalled_events.usage_date,
    recalled_events.batch_id,
    recalled_events.usage_event_hash,
    recalled_events.nameless_event_number,
    coalesce(recalled_events.user_email, conversations.user_email) as user_email,
    case when recalled_events.user_email is not null then 'earlier_version' else 'conversation' end as recall_method
from recalled_events
left join conversations
    on
        recalled_events.team = conversations.team
        and recalled_events.conversation_id = conversations.conversation_id
where coalesce(recalled_events.user_email, conversations.user_email) is not null
