-- Grain: one row per group, user (null: the whole group), day and snapshot.
select
    team,
    snapshot_id,
    billing_group_id,
    user_id,
    spend_date,
    spend_cents
from {{ source('cursor_admin', 'billing_group_daily_spend') }}
