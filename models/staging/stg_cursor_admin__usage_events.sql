-- Grain: one row per usage event and batch. Every version that was ever read; int_usage_days says which batch counts.
select
    team,
    batch_id,
    usage_date,
    occurred_at,
    -- the API changes the case of an e-mail, and blanks it: both are no e-mail change
    nullif(lower(trim(user_email)), '') as user_email,
    nullif(service_account_id, '') as service_account_id,
    service_account_name,
    cloud_agent_id,
    automation_id,
    conversation_id,
    model,
    kind,
    is_max_mode,
    is_headless,
    input_tokens,
    output_tokens,
    cache_write_tokens,
    cache_read_tokens,
    model_cents,
    token_fee_cents,
    charged_cents
from {{ source('cursor_admin', 'usage_events') }}
