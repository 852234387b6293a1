-- Grain: one row per day, in whole years around the covered days and the closed months.
{{ config(materialized='table') }}

with

usage_days as (
    select * from {{ ref('int_usage_days') }}
),

closed_months as (
    select * from {{ ref('stg_close_ledger__closed_months') }}
),

day_numbers as (
    {{ day_numbers() }}
),

-- an adjustment stands on the first day of the month after the closed ones, whether that has begun or not
charge_days as (
    select usage_date as charge_date
    from usage_days
    union all
    select charge_month as charge_date
    from closed_months
    union all
    select cast({{ dbt.dateadd('month', 1, 'charge_month') }} as date) as charge_date
    from closed_months
),

years as (
    select
        cast({{ dbt.date_trunc('year', 'min(charge_date)') }} as date) as first_date,
        cast({{ dbt.dateadd('year', 1, dbt.date_trunc('year', 'max(charge_date)')) }} as date) as end_date
    from charge_days
),

days as (
    select
        years.end_date,
        cast({{ dbt.dateadd('day', 'day_numbers.day_number', 'years.first_date') }} as date) as calendar_date
    from years
    cross join day_numbers
),

days_in_weeks as (
    select
        calendar_date,
        {{ dbt.datediff(dbt.date_trunc('week', 'calendar_date'), 'calendar_date', 'day') }} as days_since_monday
    from days
    where calendar_date < end_date
)

select
    calendar_date,
    {{ month_of('calendar_date') }} as calendar_month,
    cast({{ dbt.date_trunc('quarter', 'calendar_date') }} as date) as calendar_quarter,
    cast({{ dbt.date_trunc('year', 'calendar_date') }} as date) as calendar_year,
    -- counted from the Monday of the week: `extract(dow)` differs from engine to engine
    cast(days_since_monday + 1 as bigint) as iso_weekday,
    days_since_monday >= 5 as is_weekend
from days_in_weeks
