-- Grain: one row per read of a resource and billing cycle.
select
    team,
    resource,
    cycle_start_at,
    cycle_end_at,
    is_current_cycle,
    read_id,
    read_number,
    snapshot_id,
    outcome,
    outcome in ('landed', 'unchanged') as is_accepted,
    row_count,
    current_member_count,
    detail,
    read_at,
    run_id
from {{ source('cursor_admin', 'snapshot_reads') }}
