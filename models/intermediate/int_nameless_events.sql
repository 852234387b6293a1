-- Grain: one row per nameless event of a current batch, with the person that an earlier version of the day remembers.
-- The API blanks e-mails of people who left. An earlier version of the day may still hold them: people whose e-mail
-- is still there are paired off first, then nameless events take the remaining e-mails, equal cents first.
-- Kept from night to night, as neither a batch nor the versions before it ever change. A full refresh writes it again.
{{ config(materialized='incremental', incremental_strategy='delete+insert', unique_key='batch_id') }}

with

usage_days as (
    select * from {{ ref('int_usage_days_covered') }}
),

reads as (
    select * from {{ ref('stg_cursor_admin__load_windows') }}
),

actors as (
    select * from {{ ref('int_usage_day_actors') }}
),

usage_events as (
    select * from {{ ref('stg_cursor_admin__usage_events') }}
),

batches as (
    select
        team,
        usage_date,
        batch_id,
        min(read_number) as first_read_number
    from reads
    where is_accepted
    group by team, usage_date, batch_id
),

nameless_batches as (
    select
        usage_days.team,
        usage_days.usage_date,
        usage_days.batch_id
    from usage_days
    inner join actors on usage_days.team = actors.team and usage_days.batch_id = actors.batch_id
    where
        actors.user_email is null
        and actors.service_account_id is null
    {{ and_new_batch('usage_days') }}
),

-- current batches with nameless events, and the earlier versions of those days
versions as (
    select
        batches.team,
        batches.usage_date,
        batches.batch_id,
        batches.first_read_number,
        batches.batch_id = nameless_batches.batch_id as is_current
    from nameless_batches
    inner join batches
        on nameless_batches.team = batches.team and nameless_batches.usage_date = batches.usage_date
    inner join batches as current_batches
        on nameless_batches.team = current_batches.team and nameless_batches.batch_id = current_batches.batch_id
    where batches.first_read_number <= current_batches.first_read_number
),

version_events as (
    select
        usage_events.team,
        usage_events.usage_date,
        usage_events.batch_id,
        usage_events.user_email,
        usage_events.conversation_id,
        usage_events.charged_cents,
        usage_events.kind,
        usage_events.model_cents,
        usage_events.token_fee_cents,
        usage_events.is_headless,
        versions.first_read_number,
        versions.is_current,
        {{ usage_event_hash('usage_events') }} as usage_event_hash
    from usage_events
    inner join versions
        on
            usage_events.team = versions.team
            and usage_events.usage_date = versions.usage_date
            and usage_events.batch_id = versions.batch_id
    where usage_events.service_account_id is null
),

nameless_events as (
    select
        version_events.*,
        {{ nameless_event_number('version_events') }} as nameless_event_number
    from version_events
    where version_events.is_current and version_events.user_email is null
),

nameless_hashes as (
    select distinct
        team,
        usage_date,
        usage_event_hash
    from nameless_events
),

equal_events as (
    select version_events.*
    from version_events
    inner join nameless_hashes
        on
            version_events.team = nameless_hashes.team
            and version_events.usage_date = nameless_hashes.usage_date
            and version_events.usage_event_hash = nameless_hashes.usage_event_hash
    where version_events.user_email is not null
),

-- of each person, the earlier version that holds most of their equal events, the newest of those
version_counts as (
    select
        team,
        usage_date,
        usage_event_hash,
        user_email,
        batch_id,
        row_number() over (
            partition by team, usage_date, usage_event_hash, user_email
            order by count(*) desc, max(first_read_number) desc
        ) as preference
    from equal_events
    where not is_current
    group by team, usage_date, usage_event_hash, user_email, batch_id
),

remembered as (
    select
        equal_events.team,
        equal_events.usage_date,
        equal_events.usage_event_hash,
        equal_events.user_email,
        equal_events.charged_cents,
        equal_events.first_read_number,
        row_number() over (
            partition by
                equal_events.team, equal_events.usage_date, equal_events.usage_event_hash, equal_events.user_email,
                equal_events.charged_cents
            order by equal_events.kind nulls last
        ) as equal_cents_number
    from equal_events
    inner join version_counts
        on
            equal_events.team = version_counts.team
            and equal_events.usage_date = version_counts.usage_date
            and equal_events.usage_event_hash = version_counts.usage_event_hash
            and equal_events.user_email = version_counts.user_email
            and equal_events.batch_id = version_counts.batch_id
            and version_counts.preference = 1
),

still_named as (
    select
        team,
        usage_date,
        usage_event_hash,
        user_email,
        count(*) as event_count
    from equal_events
    where is_current
    group by team, usage_date, usage_event_hash, user_email
),

still_named_at_cents as (
    select
        team,
        usage_date,
        usage_event_hash,
        user_email,
        charged_cents,
        count(*) as event_count
    from equal_events
    where is_current
    group by team, usage_date, usage_event_hash, user_email, charged_cents
),

-- a remembered event is taken by one that still bears the e-mail: those with equal cents come first
paired_off as (
    select
        remembered.*,
        coalesce(still_named.event_count, 0) as still_named_count,
        row_number() over (
            partition by remembered.team, remembered.usage_date, remembered.usage_event_hash, remembered.user_email
            order by
                case when remembered.equal_cents_number <= still_named_at_cents.event_count then 0 else 1 end,
                remembered.charged_cents nulls last,
                remembered.equal_cents_number
        ) as pairing_number
    from remembered
    left join still_named
        on
            remembered.team = still_named.team
            and remembered.usage_date = still_named.usage_date
            and remembered.usage_event_hash = still_named.usage_event_hash
            and remembered.user_email = still_named.user_email
    left join still_named_at_cents
        on
            remembered.team = still_named_at_cents.team
            and remembered.usage_date = still_named_at_cents.usage_date
            and remembered.usage_event_hash = still_named_at_cents.usage_event_hash
            and remembered.user_email = still_named_at_cents.user_email
            and remembered.charged_cents is not distinct from still_named_at_cents.charged_cents
),

remaining as (
    select
        paired_off.*,
        row_number() over (
            partition by paired_off.team, paired_off.usage_date, paired_off.usage_event_hash, paired_off.charged_cents
            order by paired_off.first_read_number desc, paired_off.user_email asc, paired_off.equal_cents_number asc
        ) as at_cents_number
    from paired_off
    where paired_off.pairing_number > paired_off.still_named_count
),

nameless_at_cents as (
    select
        nameless_events.*,
        row_number() over (
            partition by
                nameless_events.team,
                nameless_events.usage_date,
                nameless_events.usage_event_hash,
                nameless_events.charged_cents
            order by nameless_events.nameless_event_number
        ) as at_cents_number
    from nameless_events
),

equal_pairs as (
    select
        nameless_at_cents.team,
        nameless_at_cents.usage_date,
        nameless_at_cents.usage_event_hash,
        nameless_at_cents.nameless_event_number,
        nameless_at_cents.charged_cents,
        nameless_at_cents.at_cents_number,
        remaining.user_email
    from nameless_at_cents
    inner join remaining
        on
            nameless_at_cents.team = remaining.team
            and nameless_at_cents.usage_date = remaining.usage_date
            and nameless_at_cents.usage_event_hash = remaining.usage_event_hash
            and nameless_at_cents.charged_cents is not distinct from remaining.charged_cents
            and nameless_at_cents.at_cents_number = remaining.at_cents_number
),

left_over_names as (
    select
        remaining.team,
        remaining.usage_date,
        remaining.usage_event_hash,
        remaining.user_email,
        row_number() over (
            partition by remaining.team, remaining.usage_date, remaining.usage_event_hash
            order by
                remaining.first_read_number desc, remaining.user_email asc, remaining.charged_cents asc nulls last,
                remaining.at_cents_number asc
        ) as left_over_number
    from remaining
    left join equal_pairs
        on
            remaining.team = equal_pairs.team
            and remaining.usage_date = equal_pairs.usage_date
            and remaining.usage_event_hash = equal_pairs.usage_event_hash
            and remaining.charged_cents is not distinct from equal_pairs.charged_cents
            and remaining.at_cents_number = equal_pairs.at_cents_number
    where equal_pairs.team is null
),

left_over_events as (
    select
        nameless_events.team,
        nameless_events.usage_date,
        nameless_events.usage_event_hash,
        nameless_events.nameless_event_number,
        row_number() over (
            partition by nameless_events.team, nameless_events.usage_date, nameless_events.usage_event_hash
            order by nameless_events.nameless_event_number
        ) as left_over_number
    from nameless_events
    left join equal_pairs
        on
            nameless_events.team = equal_pairs.team
            and nameless_events.usage_date = equal_pairs.usage_date
            and nameless_events.usage_event_hash = equal_pairs.usage_event_hash
            and nameless_events.nameless_event_number = equal_pairs.nameless_event_number
    where equal_pairs.team is null
),

from_versions as (
    select
        team,
        usage_date,
        usage_event_hash,
        nameless_event_number,
        user_email
    from equal_pairs
    union all
    select
        left_over_events.team,
        left_over_events.usage_date,
        left_over_events.usage_event_hash,
        left_over_events.nameless_event_number,
        left_over_names.user_email
    from left_over_events
    inner join left_over_names
        on
            left_over_events.team = left_over_names.team
            and left_over_events.usage_date = left_over_names.usage_date
            and left_over_events.usage_event_hash = left_over_names.usage_event_hash
            and left_over_events.left_over_number = left_over_names.left_over_number
)

select
    nameless_events.team,
    nameless_events.usage_date,
    nameless_events.batch_id,
    nameless_events.usage_event_hash,
    nameless_events.nameless_event_number,
    nameless_events.conversation_id,
    from_versions.user_email
from nameless_events
left join from_versions
    on
        nameless_events.team = from_versions.team
        and nameless_events.usage_date = from_versions.usage_date
        and nameless_events.usage_event_hash = from_versions.usage_event_hash
        and nameless_events.nameless_event_number = from_versions.nameless_event_number
