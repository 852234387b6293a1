-- Grain: one row per team and user id of either kind: `user_…`, and the number that daily usage and old answers have.
-- Some records name a person by id alone. Snapshots know the person of a `user_` id, daily usage that of a number.
{{ config(materialized='table') }}

with

users as (
    select * from {{ ref('int_users_observed') }}
),

daily_usage as (
    select * from {{ ref('stg_cursor_admin__daily_usage') }}
),

sightings as (
    select
        team,
        user_id,
        user_email,
        1 as source_rank,
        last_seen_at as seen_at
    from users
    union all
    select
        team,
        user_id,
        user_email,
        2 as source_rank,
        {{ start_of_day('max(usage_date)') }} as seen_at
    from daily_usage
    where user_id is not null and user_email is not null
    group by team, user_id, user_email
),

ranked as (
    select
        team,
        user_id,
        user_email,
        row_number() over (
            partition by team, user_id
            order by source_rank asc, seen_at desc, user_email asc
        ) as newest_first
    from sightings
)

select
    team,
    user_id,
    user_email
from ranked
where newest_first = 1
