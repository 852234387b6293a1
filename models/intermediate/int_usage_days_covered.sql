-- Grain: one row per team and UTC day, from the first day of coverage to the newest day in the ledger.
-- All of it is derived from the ledger, the only high-water mark: what was read, when, and how it ended.
with

teams as (
    select * from {{ ref('stg_cursor_admin__teams') }}
),

reads as (
    select * from {{ ref('stg_cursor_admin__load_windows') }}
),

day_numbers as (
    {{ day_numbers() }}
),

-- reading further back than the first run's start date widens the coverage
spans as (
    select
        reads.team,
        least(min(teams.start_date), min(reads.usage_date)) as first_date,
        max(reads.usage_date) as last_date
    from reads
    left join teams on reads.team = teams.team
    group by reads.team
),

days as (
    select
        spans.team,
        cast({{ dbt.dateadd('day', 'day_numbers.day_number', 'spans.first_date') }} as date) as usage_date
    from spans
    inner join day_numbers
        on {{ dbt.dateadd('day', 'day_numbers.day_number', 'spans.first_date') }} <= spans.last_date
),

accepted_reads as (
    select
        reads.*,
        row_number() over (
            partition by reads.team, reads.usage_date order by reads.read_number desc
        ) as newest_first
    from reads
    where reads.is_accepted
),

current_versions as (
    select
        team,
        usage_date,
        batch_id,
        row_count,
        charged_cents
    from accepted_reads
    where newest_first = 1
),

accepted_days as (
    select
        team,
        usage_date,
        max(read_at) as last_complete_read_at
    from accepted_reads
    group by team, usage_date
),

read_counts as (
    select
        team,
        usage_date,
        count(*) as read_count,
        count(case when not is_accepted then 1 end) as suspect_read_count
    from reads
    group by team, usage_date
),

-- what the API no longer serves, or never had, is not missing
histories as (
    select
        team,
        min(usage_date) as first_usage_date
    from accepted_reads
    where row_count > 0
    group by team
)

select
    days.team,
    days.usage_date,
    case
        when current_versions.batch_id is null then 'missing'
        when days.usage_date < histories.first_usage_date then 'before_history'
        -- the API restates prices for about a day: a read two days after the day's end has seen it all
        when
            accepted_days.last_complete_read_at
            >= {{ dbt.dateadd('day', 3, start_of_day('days.usage_date')) }} then 'final'
        else 'provisional'
    end as status,
    current_versions.batch_id,
    current_versions.row_count,
    {{ cents('current_versions.charged_cents') }} as charged_cents,
    accepted_days.last_complete_read_at,
    coalesce(read_counts.read_count, 0) as read_count,
    coalesce(read_counts.suspect_read_count, 0) as suspect_read_count
from days
left join current_versions
    on days.team = current_versions.team and days.usage_date = current_versions.usage_date
left join accepted_days
    on days.team = accepted_days.team and days.usage_date = accepted_days.usage_date
left join read_counts
    on days.team = read_counts.team and days.usage_date = read_counts.usage_date
left join histories on days.team = histories.team
