-- Grain: one row per team, person with a row in the seed and first day of a seat type; before the first it is standard.
with

seat_types as (
    select * from {{ ref('stg_seeds__seat_types') }}
),

dated_types as (
    {{ dated_rows('seat_types', ['user_email'], ['seat_type']) }}
),

first_types as (
    select
        team,
        user_email,
        min(valid_from_date) as valid_from_date
    from dated_types
    group by team, user_email
)

select
    team,
    user_email,
    seat_type,
    valid_from_date,
    valid_to_date
from dated_types
union all
select
    team,
    user_email,
    {{ standard_seat_type() }} as seat_type,
    {{ beginning_of_dates() }} as valid_from_date,
    valid_from_date as valid_to_date
from first_types
where valid_from_date > {{ beginning_of_dates() }}
