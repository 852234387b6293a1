-- Grain: one row per read of a day of usage events.
select
    team,
    read_id,
    read_number,
    usage_date,
    batch_id,
    outcome,
    outcome in ('landed', 'unchanged') as is_accepted,
    announced_count,
    row_count,
    charged_cents,
    digest,
    read_at,
    run_id
from {{ source('cursor_admin', 'load_windows') }}
where resource = 'usage_events'
