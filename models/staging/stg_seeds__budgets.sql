-- Grain: one row per team (null: every team), month and owner.
select
    nullif(trim(team), '') as team,
    month as charge_month,
    trim(owner_type) as owner_type,
    trim(owner_id) as owner_id,
    budget_usd
from {{ ref('budgets') }}
