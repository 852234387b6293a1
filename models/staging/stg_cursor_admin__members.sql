-- Grain: one row per user and snapshot of the roster.
select
    team,
    snapshot_id,
    user_id,
    nullif(lower(trim(user_email)), '') as user_email,
    name as user_name,
    role,
    is_removed
from {{ source('cursor_admin', 'members') }}
