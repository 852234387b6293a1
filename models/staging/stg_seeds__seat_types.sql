-- Grain: one row per team (null: every team), person and first day.
select
    nullif(trim(team), '') as team,
    lower(trim(user_email)) as user_email,
    trim(seat_type) as seat_type,
    coalesce(valid_from_date, {{ beginning_of_dates() }}) as valid_from_date
from {{ ref('seat_types') }}
