-- Grain: one row per team of the organisation and snapshot.
select
    team,
    snapshot_id,
    api_team_id,
    coalesce(is_own_team, false) as is_own_team,
    used_cents,
    budget_limit_cents,
    pool_limit_cents,
    pool_used_cents,
    pool_remaining_cents,
    contract_start_at,
    contract_end_at
from {{ source('cursor_admin', 'pooled_usage') }}
