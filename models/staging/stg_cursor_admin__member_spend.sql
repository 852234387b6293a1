-- Grain: one row per user and snapshot of what members spent.
select
    team,
    snapshot_id,
    user_id,
    nullif(lower(trim(user_email)), '') as user_email,
    name as user_name,
    role,
    spend_cents,
    overall_spend_cents,
    limit_override_usd,
    monthly_limit_usd,
    effective_limit_usd,
    nullif(lower(trim(billing_tier)), '') as billing_tier
from {{ source('cursor_admin', 'member_spend') }}
