-- Grain: one row per control: what about its period could account for a difference.
with

controls as (
    select * from {{ ref('int_control_reads') }}
),

control_days as (
    select * from {{ ref('int_control_days') }}
),

actors as (
    select * from {{ ref('int_control_actors') }}
),

days_by_control as (
    select
        team,
        resource,
        cycle_start_at,
        count(case when batch_id is null then 1 end) as missing_day_count,
        sum(case when is_whole_day and not is_settled then charged_cents end) as unsettled_day_cents
    from control_days
    group by team, resource, cycle_start_at
),

actors_by_control as (
    select
        team,
        resource,
        cycle_start_at,
        sum(case when not is_settled then overall_cents end) as unsettled_cents,
        sum(case when is_nameless then overall_cents end) as nameless_cents
    from actors
    group by team, resource, cycle_start_at
)

select
    controls.team,
    controls.resource,
    controls.cycle_start_at,
    controls.cycle_end_at,
    controls.control_read_at,
    coalesce(controls.cycle_end_at, {{ end_of_time() }}) > {{ published_at() }} as is_open_cycle,
    coalesce(controls.cycle_end_at, {{ end_of_time() }}) > controls.usage_before_at as is_before_cycle_end,
    coalesce(days_by_control.missing_day_count, 0) as missing_day_count,
    {{ cents('coalesce(actors_by_control.unsettled_cents, days_by_control.unsettled_day_cents, 0)') }}
        as unsettled_cents,
    {{ cents('coalesce(actors_by_control.nameless_cents, 0)') }} as nameless_cents
from controls
left join days_by_control
    on
        controls.team = days_by_control.team
        and controls.resource = days_by_control.resource
        and controls.cycle_start_at is not distinct from days_by_control.cycle_start_at
left join actors_by_control
    on
        controls.team = actors_by_control.team
        and controls.resource = actors_by_control.resource
        and controls.cycle_start_at = actors_by_control.cycle_start_at
