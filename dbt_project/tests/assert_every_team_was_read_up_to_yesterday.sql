-- Fresh: for every team, the day before the one of publication was read, and after it was over. A warning: what is
-- there is right, it is only old.
{{ config(severity='warn') }}

with

days_read as (
    select
        team,
        max(case when cast(last_complete_read_at as date) > coverage_date then coverage_date end) as last_date
    from {{ ref('mart_load_coverage') }}
    where resource = 'usage_events'
    group by team
),

publication as (
    select published_at from {{ ref('mart_publication') }}
)

select
    days_read.team,
    days_read.last_date,
    publication.published_at
from days_read
cross join publication
where
    days_read.last_date is null
    or {{ next_day('days_read.last_date') }} < cast(publication.published_at as date)
