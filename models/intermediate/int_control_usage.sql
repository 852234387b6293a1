-- Grain: one row per batch and part of its day a control asks for, person, service account, kind and nameless event.
-- A batch never changes, so what it holds up to an instant is added up once and kept: a night's work goes with the
-- versions that are new to a control, whatever lies in raw. A part of a day without events has one row that says so.
-- Nameless events stay single, so that a person remembered later can still be given theirs.
{{ config(materialized='incremental', incremental_strategy='delete+insert',
          unique_key=['team', 'batch_id', 'usage_from_at', 'usage_before_at']) }}

with

control_days as (
    select * from {{ ref('int_control_days') }}
),

usage_events as (
    select * from {{ ref('stg_cursor_admin__usage_events') }}
),

-- the ledger knows the sum of a whole day: the pool, which asks for no person, needs only what begins or ends in one
parts as (
    select distinct
        control_days.team,
        control_days.usage_date,
        control_days.batch_id,
        control_days.usage_from_at,
        control_days.usage_before_at
    from control_days
    where
        control_days.batch_id is not null
        and (control_days.resource <> 'pooled_usage' or not control_days.is_whole_day)
    {{ and_new_part('control_days') }}
),

part_events as (
    select
        usage_events.*,
        parts.usage_from_at,
        parts.usage_before_at
    from usage_events
    -- the day is in the condition for the engine's sake: rows lie in the order of days, batches do not
    inner join parts
        on
            usage_events.team = parts.team
            and usage_events.usage_date = parts.usage_date
            and usage_events.batch_id = parts.batch_id
            and usage_events.occurred_at >= parts.usage_from_at
            and usage_events.occurred_at < parts.usage_before_at
),

nameless_events as (
    select
        part_events.*,
        {{ usage_event_hash('part_events') }} as usage_event_hash
    from part_events
    where part_events.service_account_id is null and part_events.user_email is null
),

-- the e-mail of a service account's event is not used
actor_events as (
    select
        team,
        batch_id,
        usage_from_at,
        usage_before_at,
        occurred_at,
        case when service_account_id is null then user_email end as user_email,
        service_account_id,
        cast(null as {{ dbt.type_string() }}) as usage_event_hash,
        cast(null as bigint) as nameless_event_number,
        kind,
        charged_cents
    from part_events
    where service_account_id is not null or user_email is not null
    union all
    select
        nameless_events.team,
        nameless_events.batch_id,
        nameless_events.usage_from_at,
        nameless_events.usage_before_at,
        nameless_events.occurred_at,
        null as user_email,
        null as service_account_id,
        nameless_events.usage_event_hash,
        {{ nameless_event_number('nameless_events', ['usage_from_at', 'usage_before_at']) }} as nameless_event_number,
        nameless_events.kind,
        nameless_events.charged_cents
    from nameless_events
),

sums as (
    select
        actor_events.team,
        actor_events.batch_id,
        actor_events.usage_from_at,
        actor_events.usage_before_at,
        actor_events.user_email,
        actor_events.service_account_id,
        actor_events.kind,
        actor_events.usage_event_hash,
        actor_events.nameless_event_number,
        min(actor_events.occurred_at) as first_occurred_at,
        max(actor_events.occurred_at) as last_occurred_at,
        count(*) as event_count,
        count(case when actor_events.charged_cents is null then 1 end) as unpriced_event_count,
        sum(coalesce(actor_events.charged_cents, 0)) as usage_cents
    from actor_events
    group by
        actor_events.team,
        actor_events.batch_id,
        actor_events.usage_from_at,
        actor_events.usage_before_at,
        actor_events.user_email,
        actor_events.service_account_id,
        actor_events.kind,
        actor_events.usage_event_hash,
        actor_events.nameless_event_number
)

select
    parts.team,
    parts.usage_date,
    parts.batch_id,
    parts.usage_from_at,
    parts.usage_before_at,
    sums.user_email,
    sums.service_account_id,
    sums.kind,
    sums.usage_event_hash,
    sums.nameless_event_number,
    sums.first_occurred_at,
    sums.last_occurred_at,
    cast(coalesce(sums.event_count, 0) as bigint) as event_count,
    cast(coalesce(sums.unpriced_event_count, 0) as bigint) as unpriced_event_count,
    {{ cents('coalesce(sums.usage_cents, 0)') }} as usage_cents
from parts
left join sums
    on
        parts.team = sums.team
        and parts.batch_id = sums.batch_id
        and parts.usage_from_at = sums.usage_from_at
        and parts.usage_before_at = sums.usage_before_at
