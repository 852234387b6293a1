-- Grain: one row per team and billing cycle; disjoint, and every covered day lies in one.
-- Cycles are what group answers say they are. Where none does, member spend tells where one starts, and it ends with
-- the next one or after a month. Where nobody tells, calendar months stand in, cut at the known cycles.
with

reads as (
    select * from {{ ref('stg_cursor_admin__snapshot_reads') }}
),

usage_days as (
    select * from {{ ref('int_usage_days_covered') }}
),

day_numbers as (
    {{ day_numbers() }}
),

-- where answers disagree about a cycle's end, the newest read is right
told as (
    select
        team,
        cycle_start_at,
        cycle_end_at,
        row_number() over (partition by team, cycle_start_at order by read_at desc, read_number desc) as newest_first
    from reads
    where resource = 'billing_groups' and is_accepted and cycle_start_at < cycle_end_at
),

-- where cycles overlap, a cycle ends when the next one begins
group_cycles as (
    select
        team,
        cycle_start_at,
        least(
            cycle_end_at,
            coalesce(lead(cycle_start_at) over (partition by team order by cycle_start_at), cycle_end_at)
        ) as cycle_end_at
    from told
    where newest_first = 1
),

-- to the millisecond one start may be told in two ways
spend_starts as (
    select
        team,
        min(cycle_start_at) as cycle_start_at
    from reads
    where resource = 'member_spend' and is_accepted and cycle_start_at is not null
    group by team, cast(cycle_start_at as date)
),

spend_cycles as (
    select
        team,
        cycle_start_at,
        least(
            cast({{ dbt.dateadd('month', 1, 'cycle_start_at') }} as timestamp),
            coalesce(
                lead(cycle_start_at) over (partition by team order by cycle_start_at), {{ end_of_time() }}
            )
        ) as cycle_end_at
    from spend_starts
),

known_cycles as (
    select
        team,
        cycle_start_at,
        cycle_end_at,
        'groups' as source
    from group_cycles
    union all
    select
        spend_cycles.team,
        spend_cycles.cycle_start_at,
        spend_cycles.cycle_end_at,
        'spend' as source
    from spend_cycles
    left join group_cycles
        on
            spend_cycles.team = group_cycles.team
            and spend_cycles.cycle_start_at < group_cycles.cycle_end_at
            and spend_cycles.cycle_end_at > group_cycles.cycle_start_at
    where group_cycles.team is null
),

covered_months as (
    select
        team,
        {{ month_of('min(usage_date)') }} as first_month,
        {{ month_of('max(usage_date)') }} as last_month
    from usage_days
    group by team
),

months as (
    select
        covered_months.team,
        {{ start_of_day(dbt.dateadd('month', 'day_numbers.day_number', 'covered_months.first_month')) }}
            as month_start_at,
        {{ start_of_day(dbt.dateadd('month', 'day_numbers.day_number + 1', 'covered_months.first_month')) }}
            as month_end_at
    from covered_months
    inner join day_numbers
        on
            {{ dbt.dateadd('month', 'day_numbers.day_number', 'covered_months.first_month') }}
            <= covered_months.last_month
    where day_numbers.day_number < 1200
),

-- the time before the first known cycle, between two that do not touch, and after the last
gaps as (
    select
        team,
        cycle_end_at as gap_start_at,
        coalesce(
            lead(cycle_start_at) over (partition by team order by cycle_start_at), {{ end_of_time() }}
        ) as gap_end_at
    from known_cycles
    union all
    select
        covered_months.team,
        {{ beginning_of_time() }} as gap_start_at,
        coalesce(min(known_cycles.cycle_start_at), {{ end_of_time() }}) as gap_end_at
    from covered_months
    left join known_cycles on covered_months.team = known_cycles.team
    group by covered_months.team
),

assumed_cycles as (
    select
        months.team,
        greatest(months.month_start_at, gaps.gap_start_at) as cycle_start_at,
        least(months.month_end_at, gaps.gap_end_at) as cycle_end_at
    from months
    inner join gaps
        on
            months.team = gaps.team
            and months.month_start_at < gaps.gap_end_at
            and months.month_end_at > gaps.gap_start_at
    where gaps.gap_start_at < gaps.gap_end_at
)

select
    team,
    cycle_start_at,
    cycle_end_at,
    source
from known_cycles
union all
select
    team,
    cycle_start_at,
    cycle_end_at,
    'assumed_calendar_month' as source
from assumed_cycles
