-- Grain: one row per team, resource and billing cycle (of the pool: contract): the answer our figures are held against.
-- It is the last accepted one about the cycle. Member spend is served for the current cycle only, so that of a closed
-- cycle is what the last night before its end saw; groups of a closed cycle can be read after it.
{{ config(materialized='table') }}

with

reads as (
    select * from {{ ref('stg_cursor_admin__snapshot_reads') }}
    where
        is_accepted
        and resource in ('member_spend', 'billing_groups', 'billing_group_details', 'members', 'pooled_usage')
),

billing_cycles as (
    select * from {{ ref('int_billing_cycles') }}
),

seat_days as (
    select * from {{ ref('int_seat_days') }}
),

contracts as (
    select
        team,
        snapshot_id,
        max(contract_start_at) as contract_start_at,
        -- sent as the last instant that belongs to it
        max({{ dbt.dateadd('millisecond', 1, 'contract_end_at') }}) as contract_end_at
    from {{ ref('stg_cursor_admin__pooled_usage') }}
    where is_own_team
    group by team, snapshot_id
),

-- an answer that names no cycle is about the one it was given in
cycle_reads as (
    select
        reads.team,
        reads.resource,
        reads.snapshot_id,
        reads.run_id,
        reads.read_number,
        reads.read_at,
        coalesce(reads.cycle_start_at, containing_cycles.cycle_start_at) as cycle_start_at,
        coalesce(
            reads.cycle_end_at,
            case when reads.cycle_start_at is null then containing_cycles.cycle_end_at end
        ) as cycle_end_at
    from reads
    left join billing_cycles as containing_cycles
        on
            reads.team = containing_cycles.team
            and reads.read_at >= containing_cycles.cycle_start_at
            and reads.read_at < containing_cycles.cycle_end_at
    where
        reads.resource in ('member_spend', 'billing_groups', 'billing_group_details')
        and (reads.cycle_start_at is not null or coalesce(reads.is_current_cycle, true))
    union all
    -- seats of the open day are not known yet: the roster is held against seats of days that are over
    select
        reads.team,
        reads.resource,
        reads.snapshot_id,
        reads.run_id,
        reads.read_number,
        reads.read_at,
        billing_cycles.cycle_start_at,
        billing_cycles.cycle_end_at
    from reads
    inner join billing_cycles
        on
            reads.team = billing_cycles.team
            and reads.read_at >= billing_cycles.cycle_start_at
            and reads.read_at < billing_cycles.cycle_end_at
    inner join seat_days
        on
            reads.team = seat_days.team
            and cast(reads.read_at as date) = seat_days.seat_date
    where reads.resource = 'members'
    union all
    select
        reads.team,
        reads.resource,
        reads.snapshot_id,
        reads.run_id,
        reads.read_number,
        reads.read_at,
        contracts.contract_start_at as cycle_start_at,
        contracts.contract_end_at as cycle_end_at
    from reads
    inner join contracts
        on
            reads.team = contracts.team
            and reads.snapshot_id = contracts.snapshot_id
    where reads.resource = 'pooled_usage'
),

-- by the day: the start of one cycle may come with other milliseconds the next night
newest_first as (
    select
        cycle_reads.*,
        row_number() over (
            partition by cycle_reads.team, cycle_reads.resource, cast(cycle_reads.cycle_start_at as date)
            order by cycle_reads.read_at desc, cycle_reads.read_number desc
        ) as recency
    from cycle_reads
),

controls as (
    select
        newest_first.*,
        lead(newest_first.cycle_start_at) over (
            partition by newest_first.team, newest_first.resource order by newest_first.cycle_start_at
        ) as next_cycle_start_at
    from newest_first
    where newest_first.recency = 1
),

-- spend comes without its cycle's end: what groups say of that cycle, else where the next cycle began
settled as (
    select
        controls.team,
        controls.resource,
        controls.snapshot_id,
        controls.run_id,
        controls.read_at as control_read_at,
        controls.cycle_start_at,
        coalesce(
            controls.cycle_end_at,
            told_cycles.cycle_end_at,
            case when controls.resource = 'member_spend' then controls.next_cycle_start_at end
        ) as cycle_end_at
    from controls
    left join billing_cycles as told_cycles
        on
            controls.team = told_cycles.team
            and controls.resource = 'member_spend'
            and told_cycles.source = 'groups'
            and cast(controls.cycle_start_at as date) = cast(told_cycles.cycle_start_at as date)
)

select
    team,
    resource,
    snapshot_id,
    run_id,
    control_read_at,
    cycle_start_at,
    cycle_end_at,
    -- Cursor adds usage up by the hour: the answer knows nothing of the hour it was given in
    least(
        {{ dbt.date_trunc('hour', 'control_read_at') }}, coalesce(cycle_end_at, {{ end_of_time() }})
    ) as usage_before_at
from settled
