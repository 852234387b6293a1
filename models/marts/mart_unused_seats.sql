-- Grain: one row per team and person whose seat was held, and not used, for 30 days in a row up to the last known one.
{{ config(materialized='table') }}

with

seat_costs as (
    select * from {{ ref('fct_daily_seat_costs') }}
),

daily_charges as (
    select * from {{ ref('fct_daily_charges') }}
),

activity_days as (
    select * from {{ ref('int_person_activity_days') }}
),

usage_days as (
    select * from {{ ref('int_usage_days_covered') }}
),

stream_days as (
    select * from {{ ref('int_stream_days_read') }}
),

users as (
    select * from {{ ref('dim_users') }}
),

-- the last day that is over: only of such days anybody knows who held a seat
periods as (
    select
        team,
        cast({{ dbt.dateadd('day', -29, 'max(seat_date)') }} as date) as period_from_date,
        max(seat_date) as period_through_date
    from seat_costs
    group by team
),

-- a seat held for somebody who was removed cannot be given back, and one just taken has not had its chance
seats_held as (
    select
        periods.team,
        periods.period_from_date,
        periods.period_through_date,
        seat_costs.user_email,
        max(case when seat_costs.seat_date = periods.period_through_date then seat_costs.seat_type end) as seat_type,
        max(
            case when seat_costs.seat_date = periods.period_through_date then seat_costs.monthly_price_usd end
        ) as monthly_price_usd,
        max(
            case when seat_costs.seat_date = periods.period_through_date then seat_costs.billing_group_id end
        ) as billing_group_id,
        max(
            case when seat_costs.seat_date = periods.period_through_date then seat_costs.billing_group_name end
        ) as billing_group_name,
        sum(seat_costs.seat_cents) as last_30_days_seat_cents
    from periods
    inner join seat_costs
        on
            periods.team = seat_costs.team
            and periods.period_from_date <= seat_costs.seat_date
            and periods.period_through_date >= seat_costs.seat_date
            and seat_costs.seat_status = 'taken'
    group by periods.team, periods.period_from_date, periods.period_through_date, seat_costs.user_email
    having count(distinct seat_costs.seat_date) = 30
),

days_used as (
    select
        team,
        user_email,
        charge_date as used_date
    from daily_charges
    where
        charge_type = 'usage'
        and user_email is not null
    union
    select
        team,
        user_email,
        usage_date as used_date
    from activity_days
),

last_uses as (
    select
        team,
        user_email,
        max(used_date) as last_used_date
    from days_used
    group by team, user_email
),

days_read as (
    select
        periods.team,
        count(case when usage_days.status <> 'missing' then 1 end) as event_day_count,
        count(stream_days.usage_date) as daily_usage_day_count
    from periods
    inner join usage_days
        on
            periods.team = usage_days.team
            and periods.period_from_date <= usage_days.usage_date
            and periods.period_through_date >= usage_days.usage_date
    left join stream_days
        on
            usage_days.team = stream_days.team
            and usage_days.usage_date = stream_days.usage_date
            and stream_days.resource = 'daily_usage'
    group by periods.team
)

select
    seats_held.team,
    seats_held.user_email,
    users.user_id,
    users.user_name,
    seats_held.seat_type,
    seats_held.billing_group_id,
    seats_held.billing_group_name,
    seats_held.period_from_date,
    seats_held.period_through_date,
    last_uses.last_used_date,
    case
        when days_read.daily_usage_day_count = 30 then 'events_and_daily_usage'
        when days_read.daily_usage_day_count > 0 then 'events_and_some_daily_usage'
        else 'events'
    end as usage_evidence,
    cast(days_read.event_day_count as bigint) as event_day_count,
    cast(days_read.daily_usage_day_count as bigint) as daily_usage_day_count,
    cast(seats_held.monthly_price_usd as decimal(18, 2)) as monthly_price_usd,
    {{ cents('seats_held.last_30_days_seat_cents') }} as last_30_days_seat_cents
from seats_held
inner join days_read
    on seats_held.team = days_read.team
left join last_uses
    on
        seats_held.team = last_uses.team
        and seats_held.user_email = last_uses.user_email
left join users
    on
        seats_held.team = users.team
        and seats_held.user_email = users.user_email
where
    last_uses.last_used_date is null
    or last_uses.last_used_date < seats_held.period_from_date
