-- Grain: one row per team.
select
    team,
    start_date,
    first_run_at
from {{ source('cursor_admin', 'teams') }}
