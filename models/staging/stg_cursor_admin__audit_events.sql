-- Grain: one row per event of the audit log. Windows overlap by a day, so most events were read several times.
with

audit_events as (
    select * from {{ source('cursor_admin', 'audit_events') }}
),

stream_reads as (
    select * from {{ source('cursor_admin', 'stream_reads') }}
),

-- a batch without its ledger row was not read completely
audit_events_read as (
    select
        audit_events.team,
        audit_events.event_id,
        audit_events.occurred_at,
        audit_events.actor,
        audit_events.event_type,
        audit_events.event_data_json,
        row_number() over (
            partition by audit_events.team, audit_events.event_id
            order by
                stream_reads.read_number desc nulls last,
                -- an id is one event: the rest only makes sure that the same one is taken every time
                audit_events.occurred_at asc nulls last,
                audit_events.event_data_json asc nulls last
        ) as recency
    from audit_events
    inner join stream_reads
        on
            audit_events.team = stream_reads.team
            and audit_events.batch_id = stream_reads.batch_id
            and stream_reads.resource = 'audit_logs'
            and stream_reads.outcome = 'landed'
)

select
    team,
    event_id,
    occurred_at,
    actor,
    event_type,
    -- both vocabularies: the names of spring 2026 stand second
    case
        when event_type in ('add_user', 'member_added') then 'added'
        when event_type in ('remove_user', 'member_removed') then 'removed'
        when event_type in ('update_user_role', 'role_changed') then 'role_changed'
    end as roster_change,
    coalesce(
        nullif(lower(trim({{ json_text('event_data_json', 'user_email') }})), ''),
        nullif(lower(trim({{ json_text('event_data_json', 'email') }})), ''),
        nullif(lower(trim({{ json_text('event_data_json', 'target_user_email') }})), '')
    ) as subject_email,
    {{ roster_role(json_text('event_data_json', 'role')) }} as role,
    {{ roster_role(json_text('event_data_json', 'old_role')) }} as old_role,
    {{ roster_role(json_text('event_data_json', 'new_role')) }} as new_role,
    nullif({{ json_text('event_data_json', 'service_account_id') }}, '') as service_account_id,
    {{ json_text('event_data_json', 'service_account_name') }} as service_account_name,
    case
        when nullif({{ json_text('event_data_json', 'service_account_id') }}, '') is not null
            then {{ json_text('event_data_json', 'action') }}
    end as service_account_action
from audit_events_read
where recency = 1
