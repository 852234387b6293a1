-- Grain: one row per team, person, instant and kind of evidence about being on the roster.
-- Evidence is an accepted members answer, true at the instant it was read, or an event of the audit log, true from its
-- own instant on. Of the answers only those stand here that say something new, and the first after every event.
{{ config(materialized='table') }}

with

reads as (
    select * from {{ ref('stg_cursor_admin__snapshot_reads') }}
),

members as (
    select * from {{ ref('stg_cursor_admin__members') }}
),

users as (
    select * from {{ ref('int_users_observed') }}
),

audit_events as (
    select * from {{ ref('stg_cursor_admin__audit_events') }}
),

rosters as (
    select
        team,
        snapshot_id,
        read_at,
        read_number,
        case
            when lag(snapshot_id) over (partition by team order by read_at, read_number) = snapshot_id then 0
            else 1
        end as is_change
    from reads
    where resource = 'members' and is_accepted
),

numbered_rosters as (
    select
        rosters.*,
        sum(rosters.is_change) over (
            partition by rosters.team
            order by rosters.read_at, rosters.read_number rows between unbounded preceding and current row
        ) as roster_number
    from rosters
),

-- nights in a row with the same roster are one
roster_periods as (
    select
        team,
        roster_number,
        snapshot_id,
        min(read_at) as first_read_at
    from numbered_rosters
    group by team, roster_number, snapshot_id
),

current_members as (
    select
        team,
        snapshot_id,
        user_id,
        user_email,
        {{ roster_role('role') }} as role
    from members
    where not coalesce(is_removed, false) and user_email is not null
),

-- two accounts that share an address are one person with one seat
ranked_members as (
    select
        current_members.*,
        row_number() over (
            partition by current_members.team, current_members.snapshot_id, current_members.user_email
            order by
                case when current_members.role in {{ seat_roles() }} then 0 else 1 end,
                current_members.role nulls last,
                current_members.user_id nulls last
        ) as precedence
    from current_members
),

presences as (
    select
        roster_periods.team,
        ranked_members.user_email,
        roster_periods.roster_number,
        roster_periods.first_read_at,
        ranked_members.role,
        lag(roster_periods.roster_number) over (
            partition by roster_periods.team, ranked_members.user_email order by roster_periods.roster_number
        ) as previous_number,
        lag(ranked_members.role) over (
            partition by roster_periods.team, ranked_members.user_email order by roster_periods.roster_number
        ) as previous_role,
        lead(roster_periods.roster_number) over (
            partition by roster_periods.team, ranked_members.user_email order by roster_periods.roster_number
        ) as next_number
    from ranked_members
    inner join roster_periods
        on
            ranked_members.team = roster_periods.team
            and ranked_members.snapshot_id = roster_periods.snapshot_id
    where ranked_members.precedence = 1
),

roster_changes as (
    select
        audit_events.team,
        audit_events.subject_email as user_email,
        audit_events.event_id,
        audit_events.occurred_at,
        audit_events.roster_change,
        case
            when audit_events.roster_change = 'added' then audit_events.role
            when audit_events.roster_change = 'role_changed' then audit_events.new_role
        end as role,
        case
            when audit_events.roster_change = 'added' then audit_events.role
            when audit_events.roster_change = 'role_changed'
                then coalesce(audit_events.old_role, audit_events.new_role)
        end as told_role
    from audit_events
    where audit_events.roster_change is not null and audit_events.subject_email is not null
),

-- an answer that is no news may still contradict the event before it
answers_after_changes as (
    select
        roster_changes.team,
        roster_changes.user_email,
        roster_changes.event_id,
        min(rosters.read_at) as read_at
    from roster_changes
    inner join rosters
        on roster_changes.team = rosters.team and roster_changes.occurred_at <= rosters.read_at
    group by roster_changes.team, roster_changes.user_email, roster_changes.event_id
),

rosters_at_an_instant as (
    select
        team,
        read_at,
        max(roster_number) as roster_number
    from numbered_rosters
    group by team, read_at
),

observations as (
    select
        team,
        user_email,
        first_read_at as observed_at,
        'roster_snapshot' as evidence,
        roster_number,
        true as is_on_roster,
        role
    from presences
    where
        previous_number is null
        or previous_number + 1 < roster_number
        or role is distinct from previous_role
    union
    select
        presences.team,
        presences.user_email,
        roster_periods.first_read_at as observed_at,
        'roster_snapshot' as evidence,
        roster_periods.roster_number,
        false as is_on_roster,
        null as role
    from presences
    inner join roster_periods
        on
            presences.team = roster_periods.team
            and presences.roster_number + 1 = roster_periods.roster_number
            and roster_periods.roster_number < coalesce(presences.next_number, roster_periods.roster_number + 1)
    union
    select
        answers_after_changes.team,
        answers_after_changes.user_email,
        answers_after_changes.read_at as observed_at,
        'roster_snapshot' as evidence,
        rosters_at_an_instant.roster_number,
        presences.user_email is not null as is_on_roster,
        presences.role
    from answers_after_changes
    inner join rosters_at_an_instant
        on
            answers_after_changes.team = rosters_at_an_instant.team
            and answers_after_changes.read_at = rosters_at_an_instant.read_at
    left join presences
        on
            answers_after_changes.team = presences.team
            and answers_after_changes.user_email = presences.user_email
            and rosters_at_an_instant.roster_number = presences.roster_number
),

-- the account goes on under another address: nobody left, and no second seat is held
renamed_users as (
    select distinct
        current_members.team,
        current_members.snapshot_id,
        users.user_email
    from current_members
    inner join users
        on
            current_members.team = users.team
            and current_members.user_id = users.user_id
            and current_members.user_email <> users.user_email
)

select
    observations.team,
    observations.user_email,
    observations.observed_at,
    observations.evidence,
    null as event_id,
    observations.is_on_roster,
    observations.role,
    observations.role as told_role,
    not observations.is_on_roster and renamed_users.user_email is not null as is_renamed
from observations
inner join roster_periods
    on
        observations.team = roster_periods.team
        and observations.roster_number = roster_periods.roster_number
left join renamed_users
    on
        observations.team = renamed_users.team
        and observations.user_email = renamed_users.user_email
        and roster_periods.snapshot_id = renamed_users.snapshot_id
union all
select
    team,
    user_email,
    occurred_at as observed_at,
    'audit_log' as evidence,
    event_id,
    roster_change <> 'removed' as is_on_roster,
    role,
    told_role,
    false as is_renamed
from roster_changes
