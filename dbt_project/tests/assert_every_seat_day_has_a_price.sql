-- Where a team has seat prices, every seat of every day has one: a hole would be free seats that nobody meant.
select
    team,
    seat_type,
    min(seat_date) as first_date_without_price,
    max(seat_date) as last_date_without_price,
    sum(seat_count) as seat_days
from {{ ref('fct_daily_seat_costs') }}
where seat_price_status = 'priced' and seat_cents is null
group by team, seat_type
