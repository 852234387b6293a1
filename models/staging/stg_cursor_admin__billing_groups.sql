-- Grain: one row per billing group and snapshot.
select
    team,
    snapshot_id,
    billing_group_id,
    name as billing_group_name,
    group_type,
    directory_group_id,
    is_unassigned,
    member_count,
    created_at,
    updated_at,
    spend_cents
from {{ source('cursor_admin', 'billing_groups') }}
