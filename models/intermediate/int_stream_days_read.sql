-- Grain: one row per team, stream and covered UTC day that an accepted read covers from its first to its last instant.
with

usage_days as (
    select * from {{ ref('int_usage_days_covered') }}
),

stream_reads as (
    select * from {{ ref('stg_cursor_admin__stream_reads') }}
)

select distinct
    usage_days.team,
    stream_reads.resource,
    usage_days.usage_date
from usage_days
inner join stream_reads
    on
        usage_days.team = stream_reads.team
        and stream_reads.outcome in ('landed', 'unchanged')
        and stream_reads.window_start_at <= {{ start_of_day('usage_days.usage_date') }}
        and stream_reads.window_end_at >= {{ start_of_day(next_day('usage_days.usage_date')) }}
