-- Grain: one row per directory group and snapshot.
select
    team,
    snapshot_id,
    directory_group_id,
    name as directory_group_name,
    member_count,
    monthly_limit_usd,
    created_at,
    updated_at
from {{ source('cursor_admin', 'directory_groups') }}
