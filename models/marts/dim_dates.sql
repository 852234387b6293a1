-- Grain: one row per day, in whole years around the covered days.
{{ config(materialized='table') }}

with

usage_days as (
    select * from {{ ref('int_usage_days') }}
),

day_numbers as (
    {{ day_numbers() }}
),

years as (
    select
        cast({{ dbt.date_trunc('year', 'min(usage_date)') }} as date) as first_date,
        cast({{ dbt.dateadd('year', 1, dbt.date_trunc('year', 'max(usage_date)')) }} as date) as end_date
    from usage_days
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
