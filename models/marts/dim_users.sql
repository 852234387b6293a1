-- Grain: one row per team and person (lower-cased e-mail): everybody in a snapshot, with usage or with a seat.
-- A company address can serve two accounts one after the other; the latest user id stands for the person.
{{ config(materialized='table') }}

with

persons as (
    select * from {{ ref('int_persons') }}
),

daily_charges as (
    select * from {{ ref('fct_daily_charges') }}
),

memberships as (
    select * from {{ ref('dim_group_memberships') }}
),

published as (
    select {{ published_at() }} as published_at
),

-- an estimated seat is no sighting, unless the audit log is all that ever named the person
persons_in_events as (
    select
        team,
        user_email,
        coalesce(
            min(case when charge_type = 'usage' then charge_date end), min(charge_date)
        ) as first_seen_date,
        coalesce(
            max(case when charge_type = 'usage' then charge_date end), max(charge_date)
        ) as last_seen_date,
        max(case when charge_type = 'usage' then 1 else 0 end) = 1 as has_usage
    from daily_charges
    where user_email is not null
    group by team, user_email
),

everybody as (
    select
        team,
        user_email
    from persons
    union
    select
        team,
        user_email
    from persons_in_events
),

memberships_in_force as (
    select
        memberships.team,
        memberships.user_email,
        memberships.billing_group_id
    from memberships
    inner join published
        on
            memberships.valid_from_at <= published.published_at
            and memberships.valid_to_at > published.published_at
)

select
    everybody.team,
    everybody.user_email,
    persons.user_id,
    persons.name as user_name,
    persons.role,
    persons.is_removed,
    least(
        coalesce(cast(persons.first_seen_at as date), persons_in_events.first_seen_date),
        coalesce(persons_in_events.first_seen_date, cast(persons.first_seen_at as date))
    ) as first_seen_date,
    greatest(
        coalesce(cast(persons.last_seen_at as date), persons_in_events.last_seen_date),
        coalesce(persons_in_events.last_seen_date, cast(persons.last_seen_at as date))
    ) as last_seen_date,
    case
        when persons.user_email is null or persons.is_removed then null
        else coalesce(memberships_in_force.billing_group_id, {{ unassigned_group_id() }})
    end as current_billing_group_id
from everybody
left join persons
    on
        everybody.team = persons.team
        and everybody.user_email = persons.user_email
left join persons_in_events
    on
        everybody.team = persons_in_events.team
        and everybody.user_email = persons_in_events.user_email
        and (persons_in_events.has_usage or persons.user_email is null)
left join memberships_in_force
    on
        everybody.team = memberships_in_force.team
        and everybody.user_email = memberships_in_force.user_email
