-- Grain: one row per entry of a directory group's members list and snapshot.
select
    team,
    snapshot_id,
    directory_group_id,
    nullif(trim(user_id), '') as user_id,
    nullif(lower(trim(user_email)), '') as user_email,
    name as user_name,
    joined_at
from {{ source('cursor_admin', 'directory_group_members') }}
