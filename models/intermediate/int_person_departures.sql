-- Grain: one row per team, person and departure from the team; somebody who came back may leave again.
-- The roster only says between which two reads somebody left. A group interval that ended after the last read that
-- still showed them ended by leaving: its end is the departure, its group the one in force. Somebody who was in no
-- group by then left from a gap, and stays in it.
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

persons as (
    select * from {{ ref('int_persons') }}
),

memberships as (
    select * from {{ ref('int_group_memberships_resolved') }}
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
        min(read_at) as first_read_at,
        max(read_at) as last_read_at
    from numbered_rosters
    group by team, roster_number, snapshot_id
),

-- a user who changed their e-mail is on the roster under both
presences as (
    select distinct
        roster_periods.team,
        users.user_email,
        roster_periods.roster_number
    from members
    inner join roster_periods
        on members.team = roster_periods.team and members.snapshot_id = roster_periods.snapshot_id
    inner join users on members.team = users.team and members.user_id = users.user_id
    where not coalesce(members.is_removed, false)
),

-- before the first roster everybody is absent: that is roster number 0
absence_starts as (
    select
        presences.team,
        presences.user_email,
        presences.roster_number as last_present_number,
        lead(presences.roster_number) over (
            partition by presences.team, presences.user_email order by presences.roster_number
        ) as next_present_number
    from (
        select
            team,
            user_email,
            roster_number
        from presences
        union all
        select
            team,
            user_email,
            0 as roster_number
        from persons
    ) as presences
),

absences as (
    select
        absence_starts.team,
        absence_starts.user_email,
        absence_starts.last_present_number > 0 as was_present,
        coalesce(last_present.last_read_at, {{ beginning_of_time() }}) as last_present_at,
        first_absent.first_read_at as first_absent_at,
        coalesce(returned.first_read_at, {{ end_of_time() }}) as returned_at
    from absence_starts
    inner join roster_periods as first_absent
        on
            absence_starts.team = first_absent.team
            and absence_starts.last_present_number + 1 = first_absent.roster_number
            and first_absent.roster_number
            < coalesce(absence_starts.next_present_number, first_absent.roster_number + 1)
    left join roster_periods as last_present
        on
            absence_starts.team = last_present.team
            and absence_starts.last_present_number = last_present.roster_number
    left join roster_periods as returned
        on
            absence_starts.team = returned.team
            and absence_starts.next_present_number = returned.roster_number
),

candidates as (
    select
        absences.*,
        memberships.billing_group_id,
        memberships.valid_to_at,
        row_number() over (
            partition by absences.team, absences.user_email, absences.first_absent_at
            order by memberships.valid_to_at desc nulls last
        ) as newest_first
    from absences
    left join memberships
        on
            absences.team = memberships.team
            and absences.user_email = memberships.user_email
            and absences.first_absent_at > memberships.valid_from_at
            and absences.last_present_at < memberships.valid_to_at
),

departures as (
    select
        team,
        user_email,
        case
            -- gone from the roster, still listed by a group: the first roster without them is all that is known
            when valid_to_at = {{ end_of_time() }} then first_absent_at
            else coalesce(valid_to_at, first_absent_at)
        end as departed_at,
        returned_at,
        billing_group_id
    from candidates
    where newest_first = 1
    -- absent from the first roster on: somebody who left before it has a group interval that ended, others came later
    and (was_present or valid_to_at < {{ end_of_time() }})
),

next_memberships as (
    select
        departures.team,
        departures.user_email,
        departures.departed_at,
        min(memberships.valid_from_at) as valid_from_at
    from departures
    inner join memberships
        on
            departures.team = memberships.team
            and departures.user_email = memberships.user_email
            and departures.departed_at <= memberships.valid_from_at
    group by departures.team, departures.user_email, departures.departed_at
)

select
    departures.team,
    departures.user_email,
    departures.departed_at,
    -- joining a group again is the earlier and more exact sign of coming back
    least(departures.returned_at, coalesce(next_memberships.valid_from_at, {{ end_of_time() }})) as returned_at,
    departures.billing_group_id
from departures
left join next_memberships
    on
        departures.team = next_memberships.team
        and departures.user_email = next_memberships.user_email
        and departures.departed_at = next_memberships.departed_at
-- a person whose stint ended after they were back on the roster never left
where
    departures.departed_at
    < least(departures.returned_at, coalesce(next_memberships.valid_from_at, {{ end_of_time() }}))
