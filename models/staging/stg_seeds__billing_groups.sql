-- Grain: one row per team (null: every team) and billing group.
select
    nullif(trim(team), '') as team,
    trim(billing_group_id) as billing_group_id,
    nullif(trim(cost_center), '') as cost_center,
    nullif(trim(gl_account), '') as gl_account,
    nullif(trim(owner), '') as owner
from {{ ref('billing_groups') }}
