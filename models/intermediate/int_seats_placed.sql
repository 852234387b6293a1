-- Grain: one row per team, person and run of days [valid_from_date, valid_to_date) in which nothing about the seat
-- changes: its status, type, price, and the group that pays for it.
-- The group is the one in force at a day's last instant, found as for usage: the interval, else after a departure the
-- group then in force, else Unassigned.
{{ config(materialized='table') }}

with

seats_held as (
    select * from {{ ref('int_seats_held') }}
),

seat_types as (
    select * from {{ ref('int_seat_types') }}
),

seat_prices as (
    select * from {{ ref('int_seat_prices') }}
),

memberships as (
    select
        team,
        user_email,
        billing_group_id,
        cast(valid_from_at as date) as valid_from_date,
        cast(valid_to_at as date) as valid_to_date
    from {{ ref('int_group_memberships_resolved') }}
),

departures as (
    select
        team,
        user_email,
        billing_group_id,
        cast(departed_at as date) as valid_from_date,
        cast(returned_at as date) as valid_to_date
    from {{ ref('int_person_departures') }}
),

group_names as (
    select * from {{ ref('int_billing_group_names') }}
),

persons as (
    select * from {{ ref('int_persons') }}
),

seats_with_type as (
    select
        seats_held.team,
        seats_held.user_email,
        seats_held.seat_status,
        coalesce(seat_types.seat_type, {{ standard_seat_type() }}) as seat_type,
        greatest(
            seats_held.valid_from_date, coalesce(seat_types.valid_from_date, seats_held.valid_from_date)
        ) as valid_from_date,
        least(
            seats_held.valid_to_date, coalesce(seat_types.valid_to_date, seats_held.valid_to_date)
        ) as valid_to_date
    from seats_held
    left join seat_types
        on
            seats_held.team = seat_types.team
            and seats_held.user_email = seat_types.user_email
            and seats_held.valid_from_date < seat_types.valid_to_date
            and seats_held.valid_to_date > seat_types.valid_from_date
),

changes_by_person as (
    select
        team,
        user_email,
        valid_from_date as change_date
    from memberships
    union
    select
        team,
        user_email,
        valid_to_date as change_date
    from memberships
    union
    select
        team,
        user_email,
        valid_from_date as change_date
    from departures
    union
    select
        team,
        user_email,
        valid_to_date as change_date
    from departures
),

cuts as (
    select
        team,
        user_email,
        seat_status,
        seat_type,
        valid_from_date,
        valid_to_date,
        valid_from_date as cut_date
    from seats_with_type
    union
    select
        seats_with_type.team,
        seats_with_type.user_email,
        seats_with_type.seat_status,
        seats_with_type.seat_type,
        seats_with_type.valid_from_date,
        seats_with_type.valid_to_date,
        changes_by_person.change_date as cut_date
    from seats_with_type
    inner join changes_by_person
        on
            seats_with_type.team = changes_by_person.team
            and seats_with_type.user_email = changes_by_person.user_email
            and seats_with_type.valid_from_date < changes_by_person.change_date
            and seats_with_type.valid_to_date > changes_by_person.change_date
    union
    select
        seats_with_type.team,
        seats_with_type.user_email,
        seats_with_type.seat_status,
        seats_with_type.seat_type,
        seats_with_type.valid_from_date,
        seats_with_type.valid_to_date,
        seat_prices.valid_from_date as cut_date
    from seats_with_type
    inner join seat_prices
        on
            seats_with_type.team = seat_prices.team
            and seats_with_type.seat_type = seat_prices.seat_type
            and seats_with_type.valid_from_date < seat_prices.valid_from_date
            and seats_with_type.valid_to_date > seat_prices.valid_from_date
),

teams_with_prices as (
    select distinct team
    from seat_prices
),

slices as (
    select
        team,
        user_email,
        seat_status,
        seat_type,
        cut_date as valid_from_date,
        coalesce(
            lead(cut_date) over (partition by team, user_email, valid_from_date order by cut_date), valid_to_date
        ) as valid_to_date
    from cuts
),

slices_with_group as (
    select
        slices.*,
        coalesce(
            memberships.billing_group_id, departures.billing_group_id, {{ unassigned_group_id() }}
        ) as billing_group_id,
        seat_prices.monthly_price_usd
    from slices
    left join memberships
        on
            slices.team = memberships.team
            and slices.user_email = memberships.user_email
            and slices.valid_from_date >= memberships.valid_from_date
            and slices.valid_from_date < memberships.valid_to_date
    left join departures
        on
            slices.team = departures.team
            and slices.user_email = departures.user_email
            and slices.valid_from_date >= departures.valid_from_date
            and slices.valid_from_date < departures.valid_to_date
    left join seat_prices
        on
            slices.team = seat_prices.team
            and slices.seat_type = seat_prices.seat_type
            and slices.valid_from_date >= seat_prices.valid_from_date
            and slices.valid_from_date < seat_prices.valid_to_date
)

select
    slices_with_group.team,
    slices_with_group.user_email,
    persons.user_id,
    slices_with_group.seat_status,
    slices_with_group.seat_type,
    slices_with_group.billing_group_id,
    coalesce(group_names.name, slices_with_group.billing_group_id) as billing_group_name,
    case
        when teams_with_prices.team is null then 'not_priced'
        else 'priced'
    end as seat_price_status,
    slices_with_group.monthly_price_usd,
    greatest(
        slices_with_group.valid_from_date, coalesce(group_names.valid_from_date, slices_with_group.valid_from_date)
    ) as valid_from_date,
    least(
        slices_with_group.valid_to_date, coalesce(group_names.valid_to_date, slices_with_group.valid_to_date)
    ) as valid_to_date
from slices_with_group
left join persons
    on
        slices_with_group.team = persons.team
        and slices_with_group.user_email = persons.user_email
left join group_names
    on
        slices_with_group.team = group_names.team
        and slices_with_group.billing_group_id = group_names.billing_group_id
        and slices_with_group.valid_from_date < group_names.valid_to_date
        and slices_with_group.valid_to_date > group_names.valid_from_date
left join teams_with_prices
    on slices_with_group.team = teams_with_prices.team
