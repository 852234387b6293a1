-- Grain: one row per team and closed month.
select
    team,
    charge_month,
    close_id,
    closed_at,
    run_id,
    closed_by,
    was_forced,
    detail,
    daily_line_count,
    monthly_line_count,
    lines_sha256
from {{ source('close_ledger', 'closed_months') }}
