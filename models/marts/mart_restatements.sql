-- Grain: one row per team, day and accepted read that replaced the day's events.
-- The first version of a day restates nothing.
{{ config(materialized='incremental', incremental_strategy='replace_days', on_schema_change='fail',
          meta={'day_column': 'usage_date'}) }}

with

restated_days as (
    select * from {{ ref('int_usage_days_restated') }}
),

restated_events as (
    select * from {{ ref('int_usage_events_restated') }}
),

memberships as (
    select * from {{ ref('int_group_memberships_resolved') }}
),

departures as (
    select * from {{ ref('int_person_departures') }}
),

service_account_mappings as (
    select * from {{ ref('int_service_account_mappings') }}
),

prices as (
    select
        team,
        usage_date,
        read_number,
        usage_event_hash,
        charged_cents,
        sum(before_count) as before_count,
        sum(after_count) as after_count
    from restated_events
    group by team, usage_date, read_number, usage_event_hash, charged_cents
),

-- of the events that both versions hold, those whose price only one of them holds were re-priced
counted_events as (
    select
        team,
        usage_date,
        read_number,
        usage_event_hash,
        greatest(sum(after_count) - sum(before_count), 0) as added_count,
        greatest(sum(before_count) - sum(after_count), 0) as removed_count,
        least(sum(before_count), sum(after_count)) - sum(least(before_count, after_count)) as repriced_count
    from prices
    group by team, usage_date, read_number, usage_event_hash
),

counts_by_read as (
    select
        team,
        usage_date,
        read_number,
        sum(added_count) as added_event_count,
        sum(removed_count) as removed_event_count,
        sum(repriced_count) as repriced_event_count
    from counted_events
    group by team, usage_date, read_number
),

kinds as (
    select
        team,
        usage_date,
        read_number,
        usage_event_hash,
        sum(before_count) <> sum(after_count) as is_changed,
        sum(case when user_email is not null then after_count - before_count else 0 end) as newly_named_count
    from restated_events
    group by team, usage_date, read_number, usage_event_hash, charged_cents, kind
),

-- a lost e-mail is recalled and moves nothing; one that appears moves the event to its person's group
touched_events as (
    select
        team,
        usage_date,
        read_number,
        usage_event_hash
    from kinds
    group by team, usage_date, read_number, usage_event_hash
    having max(case when is_changed or newly_named_count > 0 then 1 else 0 end) = 1
),

touched_actors as (
    select
        restated_events.team,
        restated_events.usage_date,
        restated_events.read_number,
        restated_events.occurred_at,
        restated_events.service_account_id,
        restated_events.user_email,
        max(restated_events.user_email) over (
            partition by
                restated_events.team,
                restated_events.usage_date,
                restated_events.read_number,
                restated_events.usage_event_hash
        ) as any_user_email
    from restated_events
    inner join touched_events
        on
            restated_events.team = touched_events.team
            and restated_events.usage_date = touched_events.usage_date
            and restated_events.read_number = touched_events.read_number
            and restated_events.usage_event_hash = touched_events.usage_event_hash
),

touched_groups as (
    select distinct
        touched_actors.team,
        touched_actors.usage_date,
        touched_actors.read_number,
        case
            when touched_actors.service_account_id is not null
                then coalesce(service_account_mappings.billing_group_id, {{ unassigned_group_id() }})
            when touched_actors.any_user_email is not null
                then coalesce(
                    memberships.billing_group_id,
                    departures.billing_group_id,
                    {{ unassigned_group_id() }}
                )
            else {{ unattributed_group_id() }}
        end as billing_group_id
    from touched_actors
    left join service_account_mappings
        on
            touched_actors.team = service_account_mappings.team
            and touched_actors.service_account_id = service_account_mappings.service_account_id
            and touched_actors.occurred_at >= service_account_mappings.valid_from_at
            and touched_actors.occurred_at < service_account_mappings.valid_to_at
    left join memberships
        on
            touched_actors.team = memberships.team
            and coalesce(touched_actors.user_email, touched_actors.any_user_email) = memberships.user_email
            and touched_actors.occurred_at >= memberships.valid_from_at
            and touched_actors.occurred_at < memberships.valid_to_at
    left join departures
        on
            touched_actors.team = departures.team
            and coalesce(touched_actors.user_email, touched_actors.any_user_email) = departures.user_email
            and touched_actors.occurred_at >= departures.departed_at
            and touched_actors.occurred_at < departures.returned_at
),

groups_by_read as (
    select
        team,
        usage_date,
        read_number,
        count(*) as billing_group_count,
        {{ dbt.listagg('billing_group_id', "','", 'order by billing_group_id') }} as billing_group_ids
    from touched_groups
    group by team, usage_date, read_number
)

select
    restated_days.team,
    restated_days.usage_date,
    restated_days.read_id,
    restated_days.read_at,
    restated_days.previous_read_at,
    restated_days.previous_read_at < {{ start_of_day(next_day('restated_days.usage_date')) }} as is_open_day,
    cast(restated_days.previous_row_count as bigint) as event_count_before,
    cast(restated_days.row_count as bigint) as event_count_after,
    {{ cents('coalesce(restated_days.previous_charged_cents, 0)') }} as usage_cents_before,
    {{ cents('coalesce(restated_days.charged_cents, 0)') }} as usage_cents_after,
    cast(coalesce(counts_by_read.added_event_count, 0) as bigint) as added_event_count,
    cast(coalesce(counts_by_read.removed_event_count, 0) as bigint) as removed_event_count,
    cast(coalesce(counts_by_read.repriced_event_count, 0) as bigint) as repriced_event_count,
    cast(coalesce(groups_by_read.billing_group_count, 0) as bigint) as billing_group_count,
    coalesce(groups_by_read.billing_group_ids, '') as billing_group_ids
from restated_days
left join counts_by_read
    on
        restated_days.team = counts_by_read.team
        and restated_days.usage_date = counts_by_read.usage_date
        and restated_days.read_number = counts_by_read.read_number
left join groups_by_read
    on
        restated_days.team = groups_by_read.team
        and restated_days.usage_date = groups_by_read.usage_date
        and restated_days.read_number = groups_by_read.read_number
