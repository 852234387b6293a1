-- Grain: one row per team and person in at least one group of the company directory now.
with

current_snapshots as (
    select * from {{ ref('int_current_snapshots') }}
),

directory_groups as (
    select * from {{ ref('stg_cursor_admin__directory_groups') }}
),

directory_group_members as (
    select * from {{ ref('stg_cursor_admin__directory_group_members') }}
),

user_ids as (
    select * from {{ ref('int_user_ids') }}
),

memberships as (
    select distinct
        directory_group_members.team,
        coalesce(directory_group_members.user_email, user_ids.user_email) as user_email,
        directory_group_members.directory_group_id,
        directory_groups.directory_group_name
    from directory_group_members
    inner join current_snapshots
        on
            directory_group_members.team = current_snapshots.team
            and directory_group_members.snapshot_id = current_snapshots.snapshot_id
            and current_snapshots.resource = 'directory_groups'
    left join directory_groups
        on
            directory_group_members.team = directory_groups.team
            and directory_group_members.snapshot_id = directory_groups.snapshot_id
            and directory_group_members.directory_group_id = directory_groups.directory_group_id
    left join user_ids
        on
            directory_group_members.team = user_ids.team
            and directory_group_members.user_id = user_ids.user_id
),

ranked as (
    select
        team,
        user_email,
        directory_group_id,
        coalesce(directory_group_name, directory_group_id) as directory_group_name,
        row_number() over (
            partition by team, user_email
            order by directory_group_name asc nulls last, directory_group_id asc nulls last
        ) as name_rank
    from memberships
    where user_email is not null
)

select
    team,
    user_email,
    count(distinct directory_group_id) as directory_group_count,
    max(case when name_rank = 1 then directory_group_name end) as directory_group_name
from ranked
group by team, user_email
