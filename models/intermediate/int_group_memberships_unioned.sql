-- Grain: one row per team, user id, billing group and joined_at (null once, for entries without one): a stint.
-- The API keeps no history, so stints are the union of everything that accepted snapshots ever listed. An answer speaks
-- for the time up to `as_of_at`: when it was read or, for a cycle that was over by then, the end of that cycle.
{{ config(materialized='table') }}

with

reads as (
    select * from {{ ref('stg_cursor_admin__snapshot_reads') }}
),

entries as (
    select * from {{ ref('stg_cursor_admin__billing_group_members') }}
),

answers as (
    select
        team,
        snapshot_id,
        cycle_start_at,
        -- an API that names no cycle answers for now
        coalesce(is_current_cycle, true) as is_current_cycle,
        read_at,
        read_number,
        case when cycle_end_at < read_at then cycle_end_at else read_at end as as_of_at
    from reads
    where resource = 'billing_groups' and is_accepted
),

-- many nights confirm the same content
snapshots as (
    select
        team,
        snapshot_id,
        cycle_start_at,
        is_current_cycle,
        min(as_of_at) as first_as_of_at,
        max(as_of_at) as last_as_of_at,
        min(read_at) as first_read_at,
        max(read_at) as last_read_at,
        max(read_number) as last_read_number
    from answers
    group by team, snapshot_id, cycle_start_at, is_current_cycle
),

listings as (
    select
        entries.team,
        entries.user_id,
        entries.billing_group_id,
        entries.joined_at,
        entries.left_at,
        -- a former member without an end was here, but no longer at the time of the answer
        coalesce(entries.is_current, true) or entries.left_at is not null as is_evidence_of_membership,
        coalesce(entries.is_current, true) as is_current,
        snapshots.cycle_start_at,
        snapshots.first_as_of_at,
        snapshots.last_as_of_at,
        snapshots.first_read_at,
        snapshots.last_read_at,
        snapshots.last_read_number
    from entries
    inner join snapshots on entries.team = snapshots.team and entries.snapshot_id = snapshots.snapshot_id
    -- Unassigned is only ever the gap between groups
    where not entries.is_unassigned
),

ranked as (
    select
        listings.*,
        row_number() over (
            partition by
                listings.team,
                listings.user_id,
                listings.billing_group_id,
                listings.joined_at,
                listings.is_evidence_of_membership
            order by
                listings.last_as_of_at desc,
                listings.last_read_at desc,
                listings.last_read_number desc,
                listings.is_current desc,
                listings.left_at desc nulls last
        ) as newest_first
    from listings
),

stints as (
    select
        team,
        user_id,
        billing_group_id,
        joined_at,
        min(case when is_evidence_of_membership then first_as_of_at end) as first_as_of_at,
        max(case when is_evidence_of_membership then last_as_of_at end) as last_as_of_at,
        max(case when is_evidence_of_membership and newest_first = 1 then left_at end) as left_at,
        max(case when is_evidence_of_membership and newest_first = 1 then cycle_start_at end) as last_cycle_start_at,
        min(case when not is_evidence_of_membership then first_as_of_at end) as first_former_as_of_at,
        min(first_read_at) as observed_from_at,
        max(last_read_at) as observed_to_at
    from ranked
    group by team, user_id, billing_group_id, joined_at
),

-- the first later answer that could have listed the entry: it did not, as the newest listing is older
vanishings as (
    select
        stints.team,
        stints.user_id,
        stints.billing_group_id,
        stints.joined_at,
        answers.as_of_at,
        answers.cycle_start_at,
        row_number() over (
            partition by stints.team, stints.user_id, stints.billing_group_id, stints.joined_at
            order by answers.as_of_at, answers.read_number
        ) as oldest_first
    from stints
    inner join answers
        on
            stints.team = answers.team
            and stints.last_as_of_at < answers.as_of_at
            and (answers.is_current_cycle or stints.last_cycle_start_at < answers.cycle_start_at)
    where stints.left_at is null
),

closed as (
    select
        stints.team,
        stints.user_id,
        stints.billing_group_id,
        stints.joined_at,
        coalesce(stints.joined_at, stints.first_as_of_at) as valid_from_at,
        case
            when stints.last_as_of_at is null then stints.first_former_as_of_at
            when stints.left_at is not null then stints.left_at
            -- a later cycle that never knew the entry: gone when it began, if that is after it was last seen
            when
                vanishings.cycle_start_at > stints.last_cycle_start_at
                and vanishings.cycle_start_at >= stints.last_as_of_at then vanishings.cycle_start_at
            when vanishings.as_of_at is not null then vanishings.as_of_at
            else {{ end_of_time() }}
        end as valid_to_at,
        case
            when stints.joined_at is null then 'inferred'
            when stints.left_at is null and vanishings.as_of_at is not null then 'inferred'
            when stints.last_as_of_at is null then 'inferred'
            else 'reported'
        end as interval_method,
        stints.observed_from_at,
        stints.observed_to_at
    from stints
    left join vanishings
        on
            stints.team = vanishings.team
            and stints.user_id = vanishings.user_id
            and stints.billing_group_id = vanishings.billing_group_id
            and stints.joined_at is not distinct from vanishings.joined_at
            and vanishings.oldest_first = 1
)

select
    team,
    user_id,
    billing_group_id,
    joined_at,
    valid_from_at,
    valid_to_at,
    interval_method,
    observed_from_at,
    observed_to_at
from closed
where valid_from_at < valid_to_at
