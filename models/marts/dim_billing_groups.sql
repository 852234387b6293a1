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

current_snapshots as (
    select * from {{ ref('int_current_snapshots') }}
),

directory_groups as (
    select * from {{ ref('stg_cursor_admin__directory_groups') }}
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
),

-- what Cursor itself says was spent, also of its own Unassigned group, whatever its id
groups_now as (
    select
        snapshot_groups.team,
        case
            when snapshot_groups.is_unassigned then {{ unassigned_group_id() }}
            else snapshot_groups.billing_group_id
        end as billing_group_id,
        max(snapshot_groups.spend_cents) as api_spend_cents,
        max(current_snapshots.read_at) as api_spend_read_at
    from snapshot_groups
    inner join current_snapshots
        on
            snapshot_groups.team = current_snapshots.team
            and snapshot_groups.snapshot_id = current_snapshots.snapshot_id
            and current_snapshots.resource = 'billing_groups'
    group by
        snapshot_groups.team,
        case
            when snapshot_groups.is_unassigned then {{ unassigned_group_id() }}
            else snapshot_groups.billing_group_id
        end
),

-- by id alone: whether billing groups and directory groups share their ids is not documented, and a name that looks
-- alike proves nothing
directory_groups_now as (
    select
        directory_groups.team,
        directory_groups.directory_group_id,
        max(directory_groups.directory_group_name) as directory_group_name,
        max(directory_groups.monthly_limit_usd) as monthly_limit_usd
    from directory_groups
    inner join current_snapshots
        on
            directory_groups.team = current_snapshots.team
            and directory_groups.snapshot_id = current_snapshots.snapshot_id
            and current_snapshots.resource = 'directory_groups'
    group by directory_groups.team, directory_groups.directory_group_id
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
    listed_groups.last_seen_at,
    directory_groups_now.directory_group_name,
    cast(directory_groups_now.monthly_limit_usd as decimal(18, 2)) as directory_group_limit_usd,
    {{ cents('groups_now.api_spend_cents') }} as api_spend_cents,
    groups_now.api_spend_read_at
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
left join groups_now
    on
        known_groups.team = groups_now.team
        and known_groups.billing_group_id = groups_now.billing_group_id
left join directory_groups_now
    on
        listed_groups.team = directory_groups_now.team
        and listed_groups.directory_group_id = directory_groups_now.directory_group_id
