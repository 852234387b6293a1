-- Grain: one row per team, person and UTC day on which daily usage saw the person do something, and model most used.
-- Two ids that share an e-mail are one person.
{{ config(materialized='table') }}

with

daily_usage as (
    select * from {{ ref('stg_cursor_admin__daily_usage') }}
),

user_ids as (
    select * from {{ ref('int_user_ids') }}
)

select distinct
    daily_usage.team,
    daily_usage.usage_date,
    coalesce(daily_usage.user_email, user_ids.user_email) as user_email,
    daily_usage.most_used_model
from daily_usage
left join user_ids
    on
        daily_usage.team = user_ids.team
        and daily_usage.user_id = user_ids.user_id
where
    daily_usage.has_activity
    and coalesce(daily_usage.user_email, user_ids.user_email) is not null
