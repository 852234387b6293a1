-- Grain: one row per team, seat type and run of days [valid_from_date, valid_to_date) with one commitment and price.
with

committed_seats as (
    select * from {{ ref('stg_seeds__committed_seats') }}
),

seat_prices as (
    select * from {{ ref('int_seat_prices') }}
),

commitments as (
    {{ dated_rows('committed_seats', ['seat_type'], ['seat_count']) }}
),

cuts as (
    select
        team,
        seat_type,
        seat_count,
        valid_from_date,
        valid_to_date,
        valid_from_date as cut_date
    from commitments
    union
    select
        commitments.team,
        commitments.seat_type,
        commitments.seat_count,
        commitments.valid_from_date,
        commitments.valid_to_date,
        seat_prices.valid_from_date as cut_date
    from commitments
    inner join seat_prices
        on
            commitments.team = seat_prices.team
            and commitments.seat_type = seat_prices.seat_type
            and commitments.valid_from_date < seat_prices.valid_from_date
            and commitments.valid_to_date > seat_prices.valid_from_date
),

teams_with_prices as (
    select distinct team
    from seat_prices
),

slices as (
    select
        team,
        seat_type,
        seat_count,
        cut_date as valid_from_date,
        coalesce(
            lead(cut_date) over (partition by team, seat_type, valid_from_date order by cut_date), valid_to_date
        ) as valid_to_date
    from cuts
)

select
    slices.team,
    slices.seat_type,
    slices.seat_count,
    case
        when teams_with_prices.team is null then 'not_priced'
        else 'priced'
    end as seat_price_status,
    seat_prices.monthly_price_usd,
    slices.valid_from_date,
    slices.valid_to_date
from slices
left join seat_prices
    on
        slices.team = seat_prices.team
        and slices.seat_type = seat_prices.seat_type
        and slices.valid_from_date >= seat_prices.valid_from_date
        and slices.valid_from_date < seat_prices.valid_to_date
left join teams_with_prices
    on slices.team = teams_with_prices.team
