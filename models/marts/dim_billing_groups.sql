-- Grain: one row per team and billing group: every group in a snapshot, a seed or a closed month, and the
-- two reserved rows.
-- The API's own Unassigned group has an id that may differ from team to team: it is the reserved row.
{{ config(materialized='table') }}

with

teams as (
    select * from {{ ref('stg_cursor_admin__teams') }}
),

snapshot_groups as (
    select * from {{ ref('stg_cursor_admin__billing_groups') }}
),

snapshot_reads as (
    select * from {{ ref('stg_cursor_admin__snapshot_reads') }}
),

group_names as (
    select * from {{ ref('int_billing_group_names') }}
),

seed_groups as (
    select * from {{ ref('stg_seeds__billing_groups') }}
),

seed_service_accounts as (
    select * from {{ ref('stg_seeds__service_accounts') }}
),

users as (
    select * from {{ ref('dim_users') }}
),

frozen_lines as (
    select * from {{ ref('stg_close_ledger__closed_monthly_chargeback') }}
),

accepted_reads as (
    select
        team,
        snapshot_id,
        coalesce(is_current_cycle, true) as is_current_cycle,
        read_at,
        read_number
    from snapshot_reads
    where
        resource = 'billing_groups'
        and is_accepted
),

listings as (
    select
        snapshot_groups.team,
        snapshot_groups.billing_group_id,
        snapshot_groups.directory_group_id,
        snapshot_groups.created_at,
        accepted_reads.is_current_cycle,
        accepted_reads.read_at,
        row_number() over (
            partition by snapshot_groups.team, snapshot_groups.billing_group_id
            order by accepted_reads.is_current_cycle desc, accepted_reads.read_at desc, accepted_reads.read_number desc
        ) as recency
    from snapshot_groups
    inner join accepted_reads
        on
            snapshot_groups.team = accepted_reads.team
            and snapshot_groups.snapshot_id = accepted_reads.snapshot_id
    where not snapshot_groups.is_unassigned
),

-- only answers about the current cycle say what exists now; others are read on the same night and may show the past
listed_groups as (
    select
        team,
        billing_group_id,
        max(case when recency = 1 then directory_group_id end) as directory_group_id,
        min(created_at) as created_at,
        min(read_at) as first_seen_at,
        max(read_at) as last_seen_at,
        max(case when is_current_cycle then read_at end) as last_current_at
    from listings
    group by team, billing_group_id
),

deletions as (
    select
        listed_groups.team,
        listed_groups.billing_group_id,
        min(accepted_reads.read_at) as deleted_at
    from listed_groups
    inner join accepted_reads
        on
            listed_groups.team = accepted_reads.team
            and accepted_reads.is_current_cycle
            and listed_groups.last_current_at < accepted_reads.read_at
    group by listed_groups.team, listed_groups.billing_group_id
),

-- a seed row of the team itself goes before one for every team
seed_groups_by_team as (
    select
        teams.team,
        seed_groups.billing_group_id,
        seed_groups.cost_center,
        seed_groups.gl_account,
        seed_groups.owner,
        row_number() over (
            partition by teams.team, seed_groups.billing_group_id
            order by seed_groups.team nulls last
        ) as seed_rank
    from teams
    inner join seed_groups
        on teams.team = coalesce(seed_groups.team, teams.team)
),

known_groups as (
    select
        team,
        {{ unassigned_group_id() }} as billing_group_id
    from teams
    union
    select
        team,
        {{ unattributed_group_id() }} as billing_group_id
    from teams
    union
    select
        team,
        billing_group_id
    from listed_groups
    union
    select
        team,
        billing_group_id
    from seed_groups_by_team
    union
    select
        teams.team,
        seed_service_accounts.billing_group_id
    from teams
    inner join seed_service_accounts
        on teams.team = coalesce(seed_service_accounts.team, teams.team)
    where seed_service_accounts.billing_group_id is not null
    union
    select
        team,
        billing_group_id
    from frozen_lines
),

current_members as (
    select
        team,
        current_billing_group_id as billing_group_id,
        count(distinct coalesce(user_id, user_email)) as current_member_count
    from users
    where current_billing_group_id is not null
    group by team, current_billing_group_id
)

select
    known_groups.team,
    known_groups.billing_group_id,
    coalesce(group_names.name, known_groups.billing_group_id) as billing_group_name,
    listed_groups.directory_group_id,
    seed_groups_by_team.cost_center,
    seed_groups_by_team.gl_account,
    seed_groups_by_team.owner,
    cast(coalesce(current_members.current_member_count, 0) as bigint) as current_member_count,
    listed_groups.created_at,
    deletions.deleted_at,
    listed_groups.first_seen_at,
    listed_groups.last_seen_at
from known_groups
left join listed_groups
    on
        known_groups.team = listed_groups.team
        and known_groups.billing_group_id = listed_groups.billing_group_id
left join deletions
    on
        known_groups.team = deletions.team
        and known_groups.billing_group_id = deletions.billing_group_id
left join seed_groups_by_team
    on
        known_groups.team = seed_groups_by_team.team
        and known_groups.billing_group_id = seed_groups_by_team.billing_group_id
        and seed_groups_by_team.seed_rank = 1
left join current_members
    on
        known_groups.team = current_members.team
        and known_groups.billing_group_id = current_members.billing_group_id
left join group_names
    on
        known_groups.team = group_names.team
        and known_groups.billing_group_id = group_names.billing_group_id
        and group_names.valid_to_date = {{ end_of_dates() }}
