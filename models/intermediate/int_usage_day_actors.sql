-- Grain: one row per team, day, accepted batch, person and service account: who a batch's events name.
-- Kept from night to night, as a batch never changes: it tells which days a changed membership can touch without
-- looking at their events. A full refresh writes it again.
{{ config(materialized='incremental', incremental_strategy='delete+insert', unique_key='batch_id',
          on_schema_change='append_new_columns') }}

with

reads as (
    select * from {{ ref('stg_cursor_admin__load_windows') }}
),

usage_events as (
    select * from {{ ref('stg_cursor_admin__usage_events') }}
),

batches as (
    select distinct
        reads.team,
        reads.usage_date,
        reads.batch_id
    from reads
    where
        reads.is_accepted
    {{ and_new_batch('reads') }}
)

select
    usage_events.team,
    usage_events.usage_date,
    usage_events.batch_id,
    usage_events.service_account_id,
    -- the e-mail of a service account's event is not used
    case when usage_events.service_account_id is null then usage_events.user_email end as user_email,
    min(usage_events.occurred_at) as first_occurred_at,
    max(usage_events.occurred_at) as last_occurred_at
from usage_events
inner join batches
    on
        usage_events.team = batches.team
        and usage_events.usage_date = batches.usage_date
        and usage_events.batch_id = batches.batch_id
group by
    usage_events.team,
    usage_events.usage_date,
    usage_events.batch_id,
    usage_events.service_account_id,
    case when usage_events.service_account_id is null then usage_events.user_email end
