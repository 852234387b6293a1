-- Grain: one row per team, person and start of an interval; a person is in one group at a time.
{{ config(materialized='table') }}

with

memberships as (
    select * from {{ ref('int_group_memberships_resolved') }}
)

select
    team,
    user_email,
    user_id,
    billing_group_id,
    valid_from_at,
    valid_to_at,
    interval_method,
    observed_from_at,
    observed_to_at
from memberships
