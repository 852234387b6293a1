-- Grain: one row per team and UTC day that the audit log was ever asked for.
with

stream_reads as (
    select * from {{ ref('stg_cursor_admin__stream_reads') }}
    where resource = 'audit_logs'
),

audit_events as (
    select * from {{ ref('stg_cursor_admin__audit_events') }}
),

day_numbers as (
    {{ day_numbers() }}
),

asked_spans as (
    select
        team,
        cast(min(window_start_at) as date) as first_date,
        max(window_end_at) as last_at
    from stream_reads
    group by team
),

asked_days as (
    select
        asked_spans.team,
        cast({{ dbt.dateadd('day', 'day_numbers.day_number', 'asked_spans.first_date') }} as date) as coverage_date,
        asked_spans.last_at
    from asked_spans
    cross join day_numbers
),

-- windows begin at midnight and end there or at the time of the run, so a day never has to be put together of two
reads_of_days as (
    select
        asked_days.team,
        asked_days.coverage_date,
        stream_reads.read_id,
        stream_reads.is_accepted,
        stream_reads.read_at,
        stream_reads.is_accepted
        and stream_reads.window_start_at <= {{ start_of_day('asked_days.coverage_date') }}
        and stream_reads.window_end_at >= {{ start_of_day(next_day('asked_days.coverage_date')) }} as is_whole_day
    from asked_days
    left join stream_reads
        on
            asked_days.team = stream_reads.team
            and stream_reads.window_start_at < {{ start_of_day(next_day('asked_days.coverage_date')) }}
            and stream_reads.window_end_at > {{ start_of_day('asked_days.coverage_date') }}
    where {{ start_of_day('asked_days.coverage_date') }} < asked_days.last_at
),

days_read as (
    select
        team,
        coverage_date,
        case
            when max(case when is_whole_day then 1 else 0 end) = 1 then 'read'
            when max(case when is_accepted then 1 else 0 end) = 1 then 'provisional'
            when count(read_id) > 0 then 'unavailable'
            else 'missing'
        end as status,
        max(case when is_accepted then read_at end) as last_complete_read_at,
        count(read_id) as read_count
    from reads_of_days
    group by team, coverage_date
),

event_counts as (
    select
        team,
        cast(occurred_at as date) as coverage_date,
        count(*) as event_count
    from audit_events
    group by team, cast(occurred_at as date)
)

select
    days_read.team,
    days_read.coverage_date,
    days_read.status,
    case
        when days_read.status in ('read', 'provisional') then coalesce(event_counts.event_count, 0)
    end as event_count,
    days_read.last_complete_read_at,
    days_read.read_count
from days_read
left join event_counts
    on
        days_read.team = event_counts.team
        and days_read.coverage_date = event_counts.coverage_date
