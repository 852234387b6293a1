-- Grain: one row per team, stream and UTC day that the stream was ever asked for.
with

stream_reads as (
    select * from {{ ref('stg_cursor_admin__stream_reads') }}
),

audit_events as (
    select * from {{ ref('stg_cursor_admin__audit_events') }}
),

daily_usage as (
    select * from {{ ref('stg_cursor_admin__daily_usage') }}
),

ai_commits as (
    select * from {{ ref('stg_cursor_admin__ai_commits') }}
),

day_numbers as (
    {{ day_numbers() }}
),

asked_spans as (
    select
        team,
        resource,
        cast(min(window_start_at) as date) as first_date,
        max(window_end_at) as last_at
    from stream_reads
    group by team, resource
),

asked_days as (
    select
        asked_spans.team,
        asked_spans.resource,
        cast({{ dbt.dateadd('day', 'day_numbers.day_number', 'asked_spans.first_date') }} as date) as coverage_date,
        asked_spans.last_at
    from asked_spans
    cross join day_numbers
),

-- windows begin at midnight and end there or at the time of the run, so a day never has to be put together of two
reads_of_days as (
    select
        asked_days.team,
        asked_days.resource,
        asked_days.coverage_date,
        stream_reads.read_id,
        stream_reads.is_accepted,
        stream_reads.outcome,
        stream_reads.read_at,
        stream_reads.is_accepted
        and stream_reads.window_start_at <= {{ start_of_day('asked_days.coverage_date') }}
        and stream_reads.window_end_at >= {{ start_of_day(next_day('asked_days.coverage_date')) }} as is_whole_day,
        row_number() over (
            partition by asked_days.team, asked_days.resource, asked_days.coverage_date
            order by stream_reads.read_number desc nulls last
        ) as recency
    from asked_days
    left join stream_reads
        on
            asked_days.team = stream_reads.team
            and asked_days.resource = stream_reads.resource
            and stream_reads.window_start_at < {{ start_of_day(next_day('asked_days.coverage_date')) }}
            and stream_reads.window_end_at > {{ start_of_day('asked_days.coverage_date') }}
    where {{ start_of_day('asked_days.coverage_date') }} < asked_days.last_at
),

days_read as (
    select
        team,
        resource,
        coverage_date,
        case
            when max(case when is_whole_day then 1 else 0 end) = 1 then 'read'
            when max(case when is_accepted then 1 else 0 end) = 1 then 'provisional'
            -- never answered: why not, as the last attempt says
            when count(read_id) > 0 then max(case when recency = 1 then outcome end)
            else 'missing'
        end as status,
        max(case when is_accepted then read_at end) as last_complete_read_at,
        count(read_id) as read_count
    from reads_of_days
    group by team, resource, coverage_date
),

days_of_rows as (
    select
        team,
        'audit_logs' as resource,
        cast(occurred_at as date) as coverage_date
    from audit_events
    union all
    select
        team,
        'daily_usage' as resource,
        usage_date as coverage_date
    from daily_usage
    union all
    select
        team,
        'ai_commits' as resource,
        cast(created_at as date) as coverage_date
    from ai_commits
),

row_counts as (
    select
        team,
        resource,
        coverage_date,
        count(*) as row_count
    from days_of_rows
    group by team, resource, coverage_date
)

select
    days_read.team,
    days_read.resource,
    days_read.coverage_date,
    days_read.status,
    case
        when days_read.status in ('read', 'provisional') then coalesce(row_counts.row_count, 0)
    end as row_count,
    days_read.last_complete_read_at,
    days_read.read_count
from days_read
left join row_counts
    on
        days_read.team = row_counts.team
        and days_read.resource = row_counts.resource
        and days_read.coverage_date = row_counts.coverage_date
