-- Grain: one row per team and UTC day that is complete: it was over when it was last read. The open day is not.
-- Days before the team's first event are none of its history.
select
    team,
    usage_date,
    {{ day_type('usage_date') }} as day_type,
    status = 'provisional' as is_provisional
from {{ ref('int_usage_days') }}
where
    cast(last_complete_read_at as date) > usage_date
    and status <> 'before_history'
