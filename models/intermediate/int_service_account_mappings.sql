-- Grain: one row per team, service account and first day of a mapping. A null group: unmapped from that day on.
with

service_accounts as (
    select * from {{ ref('stg_seeds__service_accounts') }}
),

mappings as (
    {{ dated_rows('service_accounts', ['service_account_id'], ['billing_group_id']) }}
)

select
    team,
    service_account_id,
    billing_group_id,
    {{ start_of_day('valid_from_date') }} as valid_from_at,
    {{ start_of_day('valid_to_date') }} as valid_to_at
from mappings
