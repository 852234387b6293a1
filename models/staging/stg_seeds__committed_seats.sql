-- Grain: one row per team (null: every team), seat type and first day.
select
    nullif(trim(team), '') as team,
    trim(seat_type) as seat_type,
    seat_count,
    coalesce(valid_from_date, {{ beginning_of_dates() }}) as valid_from_date
from {{ ref('committed_seats') }}
