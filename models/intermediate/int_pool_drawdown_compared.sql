-- Grain: one row per team and contract: what Cursor says the team has drawn from the pool, and its events since the
-- contract began. Whole days are the ledger's sums; only a day that is cut goes by its events.
with

controls as (
    select * from {{ ref('int_control_reads') }}
    where resource = 'pooled_usage'
),

pooled_usage as (
    select * from {{ ref('stg_cursor_admin__pooled_usage') }}
    where is_own_team and used_cents is not null
),

control_days as (
    select * from {{ ref('int_control_days') }}
    where resource = 'pooled_usage'
),

control_usage as (
    select * from {{ ref('int_control_usage') }}
),

drawn as (
    select
        controls.team,
        controls.cycle_start_at,
        {{ cents('sum(pooled_usage.used_cents)') }} as api_value
    from controls
    inner join pooled_usage
        on
            controls.team = pooled_usage.team
            and controls.snapshot_id = pooled_usage.snapshot_id
    group by controls.team, controls.cycle_start_at
),

parts_of_days as (
    select
        control_days.team,
        control_days.cycle_start_at,
        {{ cents('sum(control_usage.usage_cents)') }} as overall_cents
    from control_days
    inner join control_usage
        on
            control_days.team = control_usage.team
            and control_days.batch_id = control_usage.batch_id
            and control_days.usage_from_at = control_usage.usage_from_at
            and control_days.usage_before_at = control_usage.usage_before_at
    where not control_days.is_whole_day
    group by control_days.team, control_days.cycle_start_at
),

whole_days as (
    select
        team,
        cycle_start_at,
        {{ cents('sum(charged_cents)') }} as overall_cents
    from control_days
    where is_whole_day
    group by team, cycle_start_at
)

select
    drawn.team,
    drawn.cycle_start_at,
    'pool_drawdown' as control,
    drawn.api_value,
    {{ cents('coalesce(whole_days.overall_cents, 0) + coalesce(parts_of_days.overall_cents, 0)') }} as our_value,
    {{ cents('1') }} as tolerance_value
from drawn
left join whole_days
    on
        drawn.team = whole_days.team
        and drawn.cycle_start_at is not distinct from whole_days.cycle_start_at
left join parts_of_days
    on
        drawn.team = parts_of_days.team
        and drawn.cycle_start_at is not distinct from parts_of_days.cycle_start_at
