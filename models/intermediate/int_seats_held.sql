-- Grain: one row per team, person and run of days [valid_from_date, valid_to_date) with one seat status.
-- A day belongs to the state at its last instant, 23:59:59.999: the day of joining counts, the day of leaving does not.
-- Kept as runs of days, so that the work of a night goes with changes and not with people times days.
{{ config(materialized='table') }}

with

roster_states as (
    select * from {{ ref('int_roster_states') }}
),

service_accounts as (
    select * from {{ ref('stg_seeds__service_accounts') }}
),

billing_cycles as (
    select * from {{ ref('int_billing_cycles') }}
),

usage_days as (
    select * from {{ ref('int_usage_days_covered') }}
),

actors as (
    select * from {{ ref('int_usage_day_actors') }}
),

recalled_events as (
    select * from {{ ref('int_nameless_events_recalled') }}
),

-- only the table of service accounts says that an address is nobody's; events may bear that of their creator
people_states as (
    select roster_states.*
    from roster_states
    where not exists (
        select 1
        from service_accounts
        where
            roster_states.team = coalesce(service_accounts.team, roster_states.team)
            and roster_states.user_email = service_accounts.user_email
    )
),

seats_taken as (
    select
        team,
        user_email,
        'taken' as seat_status,
        cast(valid_from_at as date) as valid_from_date,
        cast(valid_to_at as date) as valid_to_date
    from people_states
    where is_on_roster and role in {{ seat_roles() }}
),

removals as (
    select
        people_states.team,
        people_states.user_email,
        people_states.valid_from_at as removed_at,
        people_states.valid_to_at as returned_at,
        billing_cycles.cycle_start_at,
        billing_cycles.cycle_end_at
    from people_states
    inner join billing_cycles
        on
            people_states.team = billing_cycles.team
            and people_states.valid_from_at >= billing_cycles.cycle_start_at
            and people_states.valid_from_at < billing_cycles.cycle_end_at
    where
        not people_states.is_on_roster
        and not people_states.is_renamed
        and people_states.previous_role in {{ seat_roles() }}
),

usage_by_person as (
    select
        actors.team,
        actors.user_email,
        actors.first_occurred_at,
        actors.last_occurred_at
    from actors
    inner join usage_days on actors.team = usage_days.team and actors.batch_id = usage_days.batch_id
    where actors.user_email is not null
    union all
    select distinct
        recalled_events.team,
        recalled_events.user_email,
        {{ start_of_day('recalled_events.usage_date') }} as first_occurred_at,
        {{ last_instant_of('recalled_events.usage_date') }} as last_occurred_at
    from recalled_events
),

removals_with_usage as (
    select
        removals.team,
        removals.user_email,
        removals.removed_at,
        removals.returned_at,
        removals.cycle_end_at
    from removals
    inner join usage_by_person
        on
            removals.team = usage_by_person.team
            and removals.user_email = usage_by_person.user_email
            and removals.cycle_end_at > usage_by_person.first_occurred_at
            and removals.cycle_start_at <= usage_by_person.last_occurred_at
    group by
        removals.team, removals.user_email, removals.removed_at, removals.returned_at, removals.cycle_end_at
),

seats_held_after_removal as (
    select
        team,
        user_email,
        'held_after_removal' as seat_status,
        cast(removed_at as date) as valid_from_date,
        least(
            cast(returned_at as date),
            -- the first day that does not start before the cycle's end
            {{ next_day(dbt.dateadd('millisecond', -1, 'cycle_end_at')) }}
        ) as valid_to_date
    from removals_with_usage
    where {{ 'true' if (var('hold_seats_after_removal') | string | lower) == 'true' else 'false' }}
)

select
    team,
    user_email,
    seat_status,
    valid_from_date,
    valid_to_date
from seats_taken
where valid_from_date < valid_to_date
union all
select
    team,
    user_email,
    seat_status,
    valid_from_date,
    valid_to_date
from seats_held_after_removal
where valid_from_date < valid_to_date
