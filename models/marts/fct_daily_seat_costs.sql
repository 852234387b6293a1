-- Grain: one row per team, day, seat type, status and person; committed seats that nobody took have no person.
-- Days that are over, and only those: before its last instant nobody knows who holds a seat on a day.
{{ config(materialized='incremental', incremental_strategy='replace_days', meta={'day_column': 'seat_date'}) }}

with

days_to_build as (
    select * from {{ ref('int_usage_days_to_build') }}
),

seat_days as (
    select * from {{ ref('int_seat_days') }}
),

seats_placed as (
    select * from {{ ref('int_seats_placed') }}
),

committed_seats as (
    select * from {{ ref('int_committed_seats') }}
),

billing_cycles as (
    select * from {{ ref('int_billing_cycles') }}
),

group_names as (
    select * from {{ ref('int_billing_group_names') }}
),

days as (
    select
        seat_days.team,
        seat_days.seat_date,
        seat_days.seat_evidence,
        cast(billing_cycles.cycle_start_at as date) as cycle_start_date
    from days_to_build
    inner join seat_days
        on
            days_to_build.team = seat_days.team
            and days_to_build.usage_date = seat_days.seat_date
    left join billing_cycles
        on
            seat_days.team = billing_cycles.team
            and {{ last_instant_of('seat_days.seat_date') }} >= billing_cycles.cycle_start_at
            and {{ last_instant_of('seat_days.seat_date') }} < billing_cycles.cycle_end_at
),

seats_of_people as (
    select
        days.team,
        days.seat_date,
        days.cycle_start_date,
        seats_placed.seat_type,
        seats_placed.seat_status,
        seats_placed.user_email,
        seats_placed.user_id,
        seats_placed.billing_group_id,
        seats_placed.billing_group_name,
        days.seat_evidence,
        seats_placed.seat_price_status,
        seats_placed.monthly_price_usd,
        1 as seat_count
    from days
    inner join seats_placed
        on
            days.team = seats_placed.team
            and days.seat_date >= seats_placed.valid_from_date
            and days.seat_date < seats_placed.valid_to_date
),

seats_by_type as (
    select
        team,
        seat_date,
        seat_type,
        sum(seat_count) as seat_count
    from seats_of_people
    group by team, seat_date, seat_type
),

committed_seats_unused as (
    select
        days.team,
        days.seat_date,
        days.cycle_start_date,
        committed_seats.seat_type,
        'committed_unused' as seat_status,
        cast(null as {{ dbt.type_string() }}) as user_email,
        cast(null as {{ dbt.type_string() }}) as user_id,
        {{ unattributed_group_id() }} as billing_group_id,
        group_names.name as billing_group_name,
        days.seat_evidence,
        committed_seats.seat_price_status,
        committed_seats.monthly_price_usd,
        committed_seats.seat_count - coalesce(seats_by_type.seat_count, 0) as seat_count
    from days
    inner join committed_seats
        on
            days.team = committed_seats.team
            and days.seat_date >= committed_seats.valid_from_date
            and days.seat_date < committed_seats.valid_to_date
    left join seats_by_type
        on
            days.team = seats_by_type.team
            and days.seat_date = seats_by_type.seat_date
            and committed_seats.seat_type = seats_by_type.seat_type
    left join group_names
        on
            days.team = group_names.team
            and group_names.billing_group_id = {{ unattributed_group_id() }}
    where committed_seats.seat_count > coalesce(seats_by_type.seat_count, 0)
),

seats as (
    select * from seats_of_people
    union all
    select * from committed_seats_unused
)

select
    team,
    seat_date,
    cycle_start_date,
    seat_type,
    seat_status,
    user_email,
    user_id,
    billing_group_id,
    billing_group_name,
    seat_evidence,
    seat_price_status,
    cast(monthly_price_usd as decimal(18, 2)) as monthly_price_usd,
    cast(seat_count as bigint) as seat_count,
    {{ seat_day_cents('monthly_price_usd', 'seat_date', 'seat_count') }} as seat_cents
from seats
