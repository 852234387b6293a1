-- Grain: one row per team, seat type and first day of a price.
with

seat_prices as (
    select * from {{ ref('stg_seeds__seat_prices') }}
),

dated_prices as (
    {{ dated_rows('seat_prices', ['seat_type'], ['monthly_price_usd']) }}
)

select
    team,
    seat_type,
    monthly_price_usd,
    valid_from_date,
    valid_to_date
from dated_prices
