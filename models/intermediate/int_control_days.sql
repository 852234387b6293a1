-- Grain: one row per control and UTC day it is about, with the version of the day that Cursor's answer rests on.
-- Raw keeps every version: that is how a control taken weeks ago is compared as priced then. The version is the newest
-- one accepted up to the control, and the reads of one run count as one look at the API, whichever came first. A day
-- that was read only later takes the first version after.
{{ config(materialized='table') }}

with

controls as (
    select * from {{ ref('int_control_reads') }}
    where resource in ('member_spend', 'billing_groups', 'pooled_usage')
),

load_windows as (
    select * from {{ ref('stg_cursor_admin__load_windows') }}
    where is_accepted
),

day_numbers as (
    {{ day_numbers() }}
),

-- a contract without dates: everything that is covered
first_days as (
    select
        team,
        min(usage_date) as first_date
    from load_windows
    group by team
),

spans as (
    select
        controls.team,
        controls.resource,
        controls.cycle_start_at,
        controls.run_id,
        controls.control_read_at,
        controls.usage_before_at,
        coalesce(controls.cycle_start_at, {{ start_of_day('first_days.first_date') }}) as usage_from_at
    from controls
    inner join first_days on controls.team = first_days.team
),

days as (
    select
        spans.team,
        spans.resource,
        spans.cycle_start_at,
        spans.run_id,
        spans.control_read_at,
        spans.usage_from_at,
        spans.usage_before_at,
        cast({{ dbt.dateadd('day', 'day_numbers.day_number', 'cast(spans.usage_from_at as date)') }} as date)
            as usage_date
    from spans
    inner join day_numbers
        on
            {{ dbt.dateadd('day', 'day_numbers.day_number', 'cast(spans.usage_from_at as date)') }}
            < spans.usage_before_at
),

versions as (
    select
        days.team,
        days.resource,
        days.cycle_start_at,
        days.usage_date,
        load_windows.batch_id,
        load_windows.charged_cents,
        load_windows.read_at,
        row_number() over (
            partition by days.team, days.resource, days.cycle_start_at, days.usage_date
            order by
                case
                    when load_windows.read_at <= days.control_read_at or load_windows.run_id = days.run_id then 0
                    else 1
                end,
                case
                    when
                        load_windows.read_at <= days.control_read_at or load_windows.run_id = days.run_id
                        then -load_windows.read_number
                    else load_windows.read_number
                end
        ) as preference
    from days
    inner join load_windows
        on
            days.team = load_windows.team
            and days.usage_date = load_windows.usage_date
)

select
    days.team,
    days.resource,
    days.cycle_start_at,
    days.usage_date,
    versions.batch_id,
    greatest(days.usage_from_at, {{ start_of_day('days.usage_date') }}) as usage_from_at,
    least(days.usage_before_at, {{ start_of_day(next_day('days.usage_date')) }}) as usage_before_at,
    days.usage_from_at <= {{ start_of_day('days.usage_date') }}
    and days.usage_before_at >= {{ start_of_day(next_day('days.usage_date')) }} as is_whole_day,
    {{ cents('versions.charged_cents') }} as charged_cents,
    -- neither what Cursor answered nor what we hold can have moved since
    coalesce(
        least(versions.read_at, days.control_read_at) >= {{ dbt.dateadd('day', 3, start_of_day('days.usage_date')) }},
        false
    ) as is_settled
from days
left join versions
    on
        days.team = versions.team
        and days.resource = versions.resource
        and days.cycle_start_at is not distinct from versions.cycle_start_at
        and days.usage_date = versions.usage_date
        and versions.preference = 1
