-- Grain: one row per team and e-mail that an accepted snapshot ever listed.
-- A person is a lower-cased e-mail: somebody invited again gets a new user id and stays the same person.
with

users as (
    select * from {{ ref('int_users_observed') }}
),

reads as (
    select * from {{ ref('stg_cursor_admin__snapshot_reads') }}
),

newest_rosters as (
    select
        team,
        max(read_at) as read_at
    from reads
    where resource = 'members' and is_accepted
    group by team
),

ranked as (
    select
        users.*,
        row_number() over (
            partition by users.team, users.user_email
            order by
                users.last_on_roster_at desc nulls last, users.last_seen_at desc, users.first_seen_at desc,
                users.user_id desc
        ) as newest_first
    from users
),

persons as (
    select
        team,
        user_email,
        max(case when newest_first = 1 then user_id end) as user_id,
        max(case when newest_first = 1 then user_name end) as user_name,
        max(case when newest_first = 1 then role end) as role,
        max(last_on_roster_at) as last_on_roster_at,
        min(first_seen_at) as first_seen_at,
        max(last_seen_at) as last_seen_at
    from ranked
    group by team, user_email
)

select
    persons.team,
    persons.user_email,
    persons.user_id,
    persons.user_name as name,
    persons.role,
    -- flagged as removed or no longer listed: both happen to people who left; without any roster nobody is removed
    coalesce(
        coalesce(persons.last_on_roster_at, {{ beginning_of_time() }}) < newest_rosters.read_at, false
    ) as is_removed,
    persons.first_seen_at,
    persons.last_seen_at
from persons
left join newest_rosters on persons.team = newest_rosters.team
