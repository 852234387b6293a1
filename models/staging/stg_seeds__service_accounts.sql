-- Grain: one row per team (null: every team), service account and first day.
select
    nullif(trim(team), '') as team,
    trim(service_account_id) as service_account_id,
    nullif(trim(name), '') as service_account_name,
    nullif(lower(trim(email)), '') as user_email,
    nullif(trim(owner), '') as owner,
    nullif(trim(purpose), '') as purpose,
    nullif(trim(billing_group_id), '') as billing_group_id,
    key_rotated_on,
    rotation_days,
    coalesce(valid_from_date, {{ beginning_of_dates() }}) as valid_from_date
from {{ ref('service_accounts') }}
