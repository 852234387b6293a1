-- Grain: one row per team, resource and UTC day.
-- Built after every table that is replaced by the day: the fingerprints in here say what those tables were built from.
-- depends_on: {{ ref('fct_usage_events') }}
-- depends_on: {{ ref('fct_daily_seat_costs') }}
-- depends_on: {{ ref('fct_daily_charges') }}
-- depends_on: {{ ref('mart_restatements') }}
{{ config(materialized='table') }}

with

usage_days as (
    select * from {{ ref('int_usage_days') }}
),

load_windows as (
    select * from {{ ref('stg_cursor_admin__load_windows') }}
),

snapshot_reads as (
    select * from {{ ref('stg_cursor_admin__snapshot_reads') }}
),

stream_days as (
    select * from {{ ref('int_stream_days') }}
),

day_numbers as (
    {{ day_numbers() }}
),

accepted_reads as (
    select
        team,
        usage_date,
        max(read_number) as newest_read_number
    from load_windows
    where is_accepted
    group by team, usage_date
),

-- a suspect read that a later one settled needs nobody
suspect_reads as (
    select
        load_windows.team,
        load_windows.usage_date,
        count(*) as suspect_read_count
    from load_windows
    left join accepted_reads
        on
            load_windows.team = accepted_reads.team
            and load_windows.usage_date = accepted_reads.usage_date
    where
        load_windows.outcome = 'suspect'
        and load_windows.read_number > coalesce(accepted_reads.newest_read_number, 0)
    group by load_windows.team, load_windows.usage_date
),

-- answers about earlier cycles are read on the same day and say nothing about today
current_snapshot_reads as (
    select
        team,
        resource,
        cast(read_at as date) as read_date,
        outcome,
        row_count,
        read_id,
        read_at,
        is_accepted,
        row_number() over (
            partition by team, resource, cast(read_at as date)
            order by read_at desc nulls last, read_number desc nulls last
        ) as recency
    from snapshot_reads
    where coalesce(is_current_cycle, true)
),

snapshot_reads_by_day as (
    select
        team,
        resource,
        read_date,
        max(case when recency = 1 then outcome end) as outcome,
        max(case when recency = 1 then row_count end) as row_count,
        max(case when is_accepted then read_at end) as last_complete_read_at,
        -- a refused answer that was accepted later stands in the ledger twice
        count(distinct read_id) as read_count
    from current_snapshot_reads
    group by team, resource, read_date
),

touched_days as (
    select
        team,
        max(usage_date) as touched_date
    from usage_days
    group by team
    union all
    select
        team,
        max(read_date) as touched_date
    from snapshot_reads_by_day
    group by team
),

newest_days as (
    select
        team,
        max(touched_date) as newest_date
    from touched_days
    group by team
),

first_days as (
    select
        team,
        resource,
        min(read_date) as first_date
    from snapshot_reads_by_day
    group by team, resource
),

-- a night that asked for no snapshot is a gap that no later answer can close
snapshot_days as (
    select
        first_days.team,
        first_days.resource,
        cast({{ dbt.dateadd('day', 'day_numbers.day_number', 'first_days.first_date') }} as date) as coverage_date,
        newest_days.newest_date
    from first_days
    inner join newest_days
        on first_days.team = newest_days.team
    cross join day_numbers
)

select
    usage_days.team,
    'usage_events' as resource,
    usage_days.usage_date as coverage_date,
    usage_days.status,
    cast(usage_days.row_count as bigint) as row_count,
    {{ cents('usage_days.charged_cents') }} as charged_cents,
    usage_days.last_complete_read_at,
    cast(usage_days.read_count as bigint) as read_count,
    cast(coalesce(suspect_reads.suspect_read_count, 0) as bigint) as suspect_read_count,
    usage_days.batch_id,
    usage_days.day_fingerprint
from usage_days
left join suspect_reads
    on
        usage_days.team = suspect_reads.team
        and usage_days.usage_date = suspect_reads.usage_date
union all
select
    snapshot_days.team,
    snapshot_days.resource,
    snapshot_days.coverage_date,
    case
        when snapshot_reads_by_day.outcome is null then 'missing'
        when snapshot_reads_by_day.outcome in ('landed', 'unchanged') then 'read'
        else snapshot_reads_by_day.outcome
    end as status,
    cast(snapshot_reads_by_day.row_count as bigint) as row_count,
    {{ cents('null') }} as charged_cents,
    snapshot_reads_by_day.last_complete_read_at,
    cast(coalesce(snapshot_reads_by_day.read_count, 0) as bigint) as read_count,
    cast(0 as bigint) as suspect_read_count,
    cast(null as {{ dbt.type_string() }}) as batch_id,
    cast(null as {{ dbt.type_string() }}) as day_fingerprint
from snapshot_days
left join snapshot_reads_by_day
    on
        snapshot_days.team = snapshot_reads_by_day.team
        and snapshot_days.resource = snapshot_reads_by_day.resource
        and snapshot_days.coverage_date = snapshot_reads_by_day.read_date
where snapshot_days.coverage_date <= snapshot_days.newest_date
union all
select
    team,
    resource,
    coverage_date,
    status,
    cast(row_count as bigint) as row_count,
    {{ cents('null') }} as charged_cents,
    last_complete_read_at,
    cast(read_count as bigint) as read_count,
    cast(0 as bigint) as suspect_read_count,
    cast(null as {{ dbt.type_string() }}) as batch_id,
    cast(null as {{ dbt.type_string() }}) as day_fingerprint
from stream_days
