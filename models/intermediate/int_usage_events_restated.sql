-- Grain: one row per team, day, read that changed it, event hash, charge, kind and e-mail of which the two versions
-- hold different numbers. Versions are compared as bags: among identical twins nobody can tell which one was re-priced.
with

restated_days as (
    select * from {{ ref('int_usage_days_restated') }}
),

usage_events as (
    select * from {{ ref('stg_cursor_admin__usage_events') }}
),

versions as (
    select
        team,
        usage_date,
        read_number,
        previous_batch_id as batch_id,
        1 as is_before,
        0 as is_after
    from restated_days
    union all
    select
        team,
        usage_date,
        read_number,
        batch_id,
        0 as is_before,
        1 as is_after
    from restated_days
),

version_events as (
    select
        versions.team,
        versions.usage_date,
        versions.read_number,
        versions.is_before,
        versions.is_after,
        {{ usage_event_hash('usage_events') }} as usage_event_hash,
        usage_events.occurred_at,
        usage_events.service_account_id,
        usage_events.user_email,
        usage_events.kind,
        usage_events.charged_cents
    from versions
    inner join usage_events
        on
            versions.team = usage_events.team
            and versions.usage_date = usage_events.usage_date
            and versions.batch_id = usage_events.batch_id
)

select
    team,
    usage_date,
    read_number,
    usage_event_hash,
    occurred_at,
    service_account_id,
    user_email,
    kind,
    charged_cents,
    sum(is_before) as before_count,
    sum(is_after) as after_count
from version_events
group by
    team,
    usage_date,
    read_number,
    usage_event_hash,
    occurred_at,
    service_account_id,
    user_email,
    kind,
    charged_cents
having sum(is_before) <> sum(is_after)
