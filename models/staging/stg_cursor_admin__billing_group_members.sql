-- Grain: one row per entry of a group's member lists and snapshot.
select
    team,
    snapshot_id,
    billing_group_id,
    is_unassigned,
    user_id,
    nullif(lower(trim(user_email)), '') as user_email,
    name as user_name,
    is_current,
    joined_at,
    left_at,
    spend_cents
from {{ source('cursor_admin', 'billing_group_members') }}
