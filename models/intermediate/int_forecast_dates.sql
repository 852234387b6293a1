-- Grain: one row per team, open month and month to forecast: the open month itself, and for the back-test up to three
-- months before it that are over, each seen from the day on which as many of its days were complete.
with

complete_days as (
    select * from {{ ref('int_complete_days') }}
),

owner_days as (
    select * from {{ ref('int_owner_days') }}
),

day_numbers as (
    {{ day_numbers() }}
),

spans as (
    select
        team,
        min(usage_date) as first_complete_date,
        max(usage_date) as last_complete_date
    from complete_days
    group by team
),

-- an adjustment can stand in a month that has not begun
last_charged_months as (
    select
        team,
        max(charge_month) as last_charged_month
    from owner_days
    group by team
),

-- what is read says which months are over, and not the clock: a month whose last day was never read goes on
open_spans as (
    select
        spans.team,
        spans.first_complete_date,
        spans.last_complete_date,
        {{ month_of(next_day('spans.last_complete_date')) }} as first_open_month,
        greatest(
            {{ month_of(next_day('spans.last_complete_date')) }},
            {{ month_of(published_at()) }},
            coalesce(last_charged_months.last_charged_month, spans.last_complete_date)
        ) as last_open_month
    from spans
    left join last_charged_months on spans.team = last_charged_months.team
),

open_months as (
    select
        open_spans.team,
        open_spans.first_complete_date,
        open_spans.last_complete_date,
        cast({{ dbt.dateadd('month', 'day_numbers.day_number', 'open_spans.first_open_month') }} as date) as open_month
    from open_spans
    inner join day_numbers
        on
            open_spans.last_open_month
            >= {{ dbt.dateadd('month', 'day_numbers.day_number', 'open_spans.first_open_month') }}
),

open_months_with_days as (
    select
        open_months.*,
        greatest(
            0, {{ dbt.datediff('open_months.open_month', 'open_months.last_complete_date', 'day') }} + 1
        ) as complete_through_day
    from open_months
),

months_before as (
    select
        open_months_with_days.*,
        cast({{ dbt.dateadd('month', '-day_numbers.day_number', 'open_months_with_days.open_month') }} as date)
            as charge_month
    from open_months_with_days
    inner join day_numbers on day_numbers.day_number between 1 and 3
),

dates as (
    select
        team,
        open_month,
        open_month as charge_month,
        last_complete_date as as_of_date,
        false as is_back_test
    from open_months_with_days
    union all
    select
        team,
        open_month,
        charge_month,
        cast({{ dbt.dateadd('day', 'complete_through_day - 1', 'charge_month') }} as date) as as_of_date,
        true as is_back_test
    from months_before
    where
        first_complete_date <= charge_month
        and cast({{ dbt.last_day('charge_month', 'month') }} as date) <= last_complete_date
        -- in a shorter month nothing would be left to forecast
        and complete_through_day < {{ days_in_month('charge_month') }}
),

history as (
    select
        dates.team,
        dates.open_month,
        dates.charge_month,
        count(case when complete_days.day_type = 'weekday' then 1 end) as history_weekday_count,
        count(case when complete_days.day_type = 'weekend' then 1 end) as history_weekend_count
    from dates
    inner join complete_days
        on
            dates.team = complete_days.team
            and dates.as_of_date >= complete_days.usage_date
            and {{ dbt.dateadd('day', -28, 'dates.as_of_date') }} < complete_days.usage_date
    group by dates.team, dates.open_month, dates.charge_month
),

days_to_come as (
    select
        dates.team,
        dates.open_month,
        dates.charge_month,
        {{ day_type(dbt.dateadd('day', 'day_numbers.day_number', 'dates.charge_month')) }} as day_type
    from dates
    inner join day_numbers
        on
            day_numbers.day_number < {{ days_in_month('dates.charge_month') }}
            and {{ dbt.dateadd('day', 'day_numbers.day_number', 'dates.charge_month') }} > dates.as_of_date
),

remaining as (
    select
        team,
        open_month,
        charge_month,
        count(case when day_type = 'weekday' then 1 end) as remaining_weekday_count,
        count(case when day_type = 'weekend' then 1 end) as remaining_weekend_count
    from days_to_come
    group by team, open_month, charge_month
)

select
    dates.team,
    dates.open_month,
    dates.charge_month,
    dates.as_of_date,
    dates.is_back_test,
    coalesce(history.history_weekday_count, 0) as history_weekday_count,
    coalesce(history.history_weekend_count, 0) as history_weekend_count,
    -- a mean of less than a week would take one odd day for the month
    coalesce(history.history_weekday_count, 0) + coalesce(history.history_weekend_count, 0) >= 7
    and coalesce(history.history_weekday_count, 0) > 0
    and coalesce(history.history_weekend_count, 0) > 0 as has_history,
    coalesce(remaining.remaining_weekday_count, 0) as remaining_weekday_count,
    coalesce(remaining.remaining_weekend_count, 0) as remaining_weekend_count
from dates
left join history
    on
        dates.team = history.team
        and dates.open_month = history.open_month
        and dates.charge_month = history.charge_month
left join remaining
    on
        dates.team = remaining.team
        and dates.open_month = remaining.open_month
        and dates.charge_month = remaining.charge_month
