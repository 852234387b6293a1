-- Grain: one row per team, billing group and complete day of the last 13 weeks, beside the group's own days of the same
-- kind in the eight weeks before it. A day without usage is a day of nothing, from the group's first usage on.
-- Compared are medians, so that one odd day does not make the next one look usual. A table, as its tests read it too.
{{ config(materialized='table') }}

with

complete_days as (
    select * from {{ ref('int_complete_days') }}
),

owner_days as (
    select * from {{ ref('int_owner_days') }}
),

last_days as (
    select
        team,
        max(usage_date) as last_complete_date
    from complete_days
    group by team
),

groups as (
    select
        team,
        owner_id as billing_group_id,
        min(charge_date) as first_usage_date
    from owner_days
    where
        owner_type = 'billing_group'
        and usage_billed_cents > 0
    group by team, owner_id
),

-- 13 weeks to judge and the eight before them to judge by
group_days as (
    select
        groups.team,
        groups.billing_group_id,
        complete_days.usage_date,
        complete_days.day_type,
        complete_days.is_provisional,
        last_days.last_complete_date,
        coalesce(owner_days.usage_billed_cents, 0) as billed_cents,
        row_number() over (
            partition by groups.team, groups.billing_group_id, complete_days.day_type
            order by complete_days.usage_date
        ) as day_number
    from groups
    inner join last_days on groups.team = last_days.team
    inner join complete_days
        on
            groups.team = complete_days.team
            and groups.first_usage_date <= complete_days.usage_date
            and {{ dbt.dateadd('day', -147, 'last_days.last_complete_date') }} < complete_days.usage_date
    left join owner_days
        on
            groups.team = owner_days.team
            and owner_days.owner_type = 'billing_group'
            and groups.billing_group_id = owner_days.owner_id
            and complete_days.usage_date = owner_days.charge_date
),

comparisons as (
    select
        days.team,
        days.billing_group_id,
        days.usage_date,
        comparable_days.billed_cents as comparable_cents,
        -- the last five of the same kind: what the group has come to cost
        case when days.day_number - comparable_days.day_number <= 5 then comparable_days.billed_cents end
            as recent_cents
    from group_days as days
    inner join group_days as comparable_days
        on
            days.team = comparable_days.team
            and days.billing_group_id = comparable_days.billing_group_id
            and days.day_type = comparable_days.day_type
            and days.usage_date > comparable_days.usage_date
            and {{ dbt.dateadd('day', -56, 'days.usage_date') }} <= comparable_days.usage_date
    where days.usage_date > {{ dbt.dateadd('day', -91, 'days.last_complete_date') }}
),

medians as (
    select
        team,
        billing_group_id,
        usage_date,
        count(*) as comparable_day_count,
        {{ median_cents('comparable_cents') }} as median_cents,
        {{ median_cents('recent_cents') }} as recent_median_cents
    from comparisons
    group by team, billing_group_id, usage_date
),

deviations as (
    select
        comparisons.team,
        comparisons.billing_group_id,
        comparisons.usage_date,
        {{ median_cents('abs(comparisons.comparable_cents - medians.median_cents)') }} as median_deviation_cents
    from comparisons
    inner join medians
        on
            comparisons.team = medians.team
            and comparisons.billing_group_id = medians.billing_group_id
            and comparisons.usage_date = medians.usage_date
    group by comparisons.team, comparisons.billing_group_id, comparisons.usage_date
),

-- A new level is news on its first days, not for the weeks until the median of eight weeks follows: hence the greater
-- of the two medians. 1.4826 median deviations are one standard deviation where amounts are spread normally; a quarter
-- of the usual amount, and a dollar, are the least taken for spread, as some groups hardly vary.
days_compared as (
    select
        group_days.team,
        group_days.billing_group_id,
        group_days.usage_date,
        group_days.day_type,
        group_days.is_provisional,
        group_days.billed_cents,
        medians.comparable_day_count,
        medians.median_cents,
        medians.recent_median_cents,
        deviations.median_deviation_cents,
        {{ cents('group_days.billed_cents - greatest(medians.median_cents, medians.recent_median_cents)') }}
            as excess_cents,
        {{ cents(
            'greatest(deviations.median_deviation_cents * cast(1.4826 as decimal(5, 4)),'
            ~ ' greatest(medians.median_cents, medians.recent_median_cents) * cast(0.25 as decimal(3, 2)), 100)'
        ) }} as spread_cents
    from group_days
    inner join medians
        on
            group_days.team = medians.team
            and group_days.billing_group_id = medians.billing_group_id
            and group_days.usage_date = medians.usage_date
    inner join deviations
        on
            group_days.team = deviations.team
            and group_days.billing_group_id = deviations.billing_group_id
            and group_days.usage_date = deviations.usage_date
    -- fewer days say nothing about what is usual
    where medians.comparable_day_count >= 6
)

select
    team,
    billing_group_id,
    usage_date,
    day_type,
    is_provisional,
    billed_cents,
    comparable_day_count,
    median_cents,
    recent_median_cents,
    median_deviation_cents,
    excess_cents,
    cast(cast(excess_cents as double) / cast(spread_cents as double) as decimal(18, 6)) as score,
    -- 3.5 is the customary bound of such a score; five dollars are not worth anybody's morning
    excess_cents >= 500 and excess_cents > {{ cents('spread_cents * cast(3.5 as decimal(2, 1))') }} as is_anomaly
from days_compared
