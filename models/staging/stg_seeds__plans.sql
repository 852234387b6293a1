-- Grain: one row per team (null: every team) and first day.
select
    nullif(trim(team), '') as team,
    trim(plan) as plan,
    coalesce(valid_from_date, {{ beginning_of_dates() }}) as valid_from_date,
    coalesce(usage_rate, 1) as usage_rate
from {{ ref('plans') }}
