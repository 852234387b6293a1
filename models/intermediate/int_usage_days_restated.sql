-- Grain: one row per team, day and accepted read that replaced the rows of the day, for the days to build.
with

days_to_build as (
    select * from {{ ref('int_usage_days_to_build') }}
),

load_windows as (
    select * from {{ ref('stg_cursor_admin__load_windows') }}
),

accepted_reads as (
    select
        load_windows.team,
        load_windows.usage_date,
        load_windows.read_id,
        load_windows.read_number,
        load_windows.read_at,
        load_windows.batch_id,
        load_windows.row_count,
        load_windows.charged_cents,
        row_number() over (
            partition by load_windows.team, load_windows.usage_date
            order by load_windows.read_number
        ) as version_number,
        lag(load_windows.read_at) over (
            partition by load_windows.team, load_windows.usage_date
            order by load_windows.read_number
        ) as previous_read_at,
        lag(load_windows.batch_id) over (
            partition by load_windows.team, load_windows.usage_date
            order by load_windows.read_number
        ) as previous_batch_id,
        lag(load_windows.row_count) over (
            partition by load_windows.team, load_windows.usage_date
            order by load_windows.read_number
        ) as previous_row_count,
        lag(load_windows.charged_cents) over (
            partition by load_windows.team, load_windows.usage_date
            order by load_windows.read_number
        ) as previous_charged_cents
    from load_windows
    inner join days_to_build
        on
            load_windows.team = days_to_build.team
            and load_windows.usage_date = days_to_build.usage_date
    where load_windows.is_accepted
)

select
    team,
    usage_date,
    read_id,
    read_number,
    read_at,
    batch_id,
    row_count,
    charged_cents,
    previous_read_at,
    previous_batch_id,
    previous_row_count,
    previous_charged_cents
from accepted_reads
where
    version_number > 1
    and batch_id is distinct from previous_batch_id
