-- Grain: one row per team (null: every team), seat type and first day.
select
    nullif(trim(team), '') as team,
    trim(seat_type) as seat_type,
    monthly_price_usd,
    coalesce(valid_from_date, {{ beginning_of_dates() }}) as valid_from_date
from {{ ref('seat_prices') }}
