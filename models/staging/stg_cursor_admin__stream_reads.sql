-- Grain: one row per read of a window of a stream.
select
    team,
    resource,
    window_start_at,
    window_end_at,
    read_id,
    read_number,
    batch_id,
    outcome,
    outcome in ('landed', 'unchanged') as is_accepted,
    row_count,
    detail,
    read_at,
    run_id
from {{ source('cursor_admin', 'stream_reads') }}
