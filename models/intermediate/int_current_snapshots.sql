-- Grain: one row per team and resource: the newest accepted answer about the current billing cycle.
with

reads as (
    select * from {{ ref('stg_cursor_admin__snapshot_reads') }}
),

ranked as (
    select
        team,
        resource,
        snapshot_id,
        read_at,
        row_number() over (
            partition by team, resource
            order by read_at desc nulls last, read_number desc nulls last
        ) as newest_first
    from reads
    where
        outcome in ('landed', 'unchanged')
        -- answers about earlier cycles are read on the same night; most resources know no cycle at all
        and coalesce(is_current_cycle, true)
)

select
    team,
    resource,
    snapshot_id,
    read_at
from ranked
where newest_first = 1
