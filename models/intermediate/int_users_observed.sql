-- Grain: one row per team, user id and e-mail that an accepted snapshot ever listed together.
-- Events name people by e-mail, groups by user id: this is the bridge, and it keeps people who have left.
{{ config(materialized='table') }}

with

reads as (
    select * from {{ ref('stg_cursor_admin__snapshot_reads') }}
),

members as (
    select * from {{ ref('stg_cursor_admin__members') }}
),

billing_group_members as (
    select * from {{ ref('stg_cursor_admin__billing_group_members') }}
),

snapshots as (
    select
        team,
        resource,
        snapshot_id,
        min(read_at) as first_read_at,
        max(read_at) as last_read_at
    from reads
    where is_accepted
    group by team, resource, snapshot_id
),

listings as (
    select
        members.team,
        members.user_id,
        members.user_email,
        members.user_name,
        members.role,
        case when not coalesce(members.is_removed, false) then snapshots.last_read_at end as last_on_roster_at,
        snapshots.last_read_at as last_roster_read_at,
        snapshots.first_read_at,
        snapshots.last_read_at
    from members
    inner join snapshots
        on
            members.team = snapshots.team
            and members.snapshot_id = snapshots.snapshot_id
            and snapshots.resource = 'members'
    union all
    select
        billing_group_members.team,
        billing_group_members.user_id,
        billing_group_members.user_email,
        billing_group_members.user_name,
        null as role,
        null as last_on_roster_at,
        null as last_roster_read_at,
        snapshots.first_read_at,
        snapshots.last_read_at
    from billing_group_members
    inner join snapshots
        on
            billing_group_members.team = snapshots.team
            and billing_group_members.snapshot_id = snapshots.snapshot_id
            and snapshots.resource = 'billing_groups'
),

-- the roster knows more about a person than a group's member list
ranked as (
    select
        listings.*,
        row_number() over (
            partition by listings.team, listings.user_id, listings.user_email
            order by
                listings.last_roster_read_at desc nulls last,
                listings.last_read_at desc,
                listings.user_name asc nulls last,
                listings.role asc nulls last
        ) as newest_first
    from listings
    where listings.user_id is not null and listings.user_email is not null
)

select
    team,
    user_id,
    user_email,
    max(case when newest_first = 1 then user_name end) as user_name,
    max(case when newest_first = 1 then role end) as role,
    max(last_on_roster_at) as last_on_roster_at,
    min(first_read_at) as first_seen_at,
    max(last_read_at) as last_seen_at
from ranked
group by team, user_id, user_email
