-- Grain: one row per control of seats: the paid roles of a members answer, and the seats we count at its instant.
-- Seats are counted at the end of the day: what changed on it after the answer is taken back.
with

controls as (
    select
        *,
        cast(control_read_at as date) as control_date
    from {{ ref('int_control_reads') }}
    where resource = 'members'
),

members as (
    select * from {{ ref('stg_cursor_admin__members') }}
    where role in {{ seat_roles() }} and not coalesce(is_removed, false)
),

service_accounts as (
    select * from {{ ref('stg_seeds__service_accounts') }}
),

seats_held as (
    select * from {{ ref('int_seats_held') }}
    where seat_status = 'taken'
),

roster_states as (
    select * from {{ ref('int_roster_states') }}
    where is_on_roster and role in {{ seat_roles() }}
),

-- an address of a service account holds no seat, whatever its role
paid_members as (
    select
        controls.team,
        controls.cycle_start_at,
        count(*) as seat_count
    from controls
    inner join members
        on
            controls.team = members.team
            and controls.snapshot_id = members.snapshot_id
    where
        not exists (
            select 1 from service_accounts
            where
                members.team = coalesce(service_accounts.team, members.team)
                and members.user_email = service_accounts.user_email
        )
    group by controls.team, controls.cycle_start_at
),

seats_at_day_end as (
    select
        controls.team,
        controls.cycle_start_at,
        count(*) as seat_count
    from controls
    inner join seats_held
        on
            controls.team = seats_held.team
            and controls.control_date >= seats_held.valid_from_date
            and controls.control_date < seats_held.valid_to_date
    group by controls.team, controls.cycle_start_at
),

-- who joined after the answer and is there at the day's end, less who was there and is not
changes_after as (
    select
        controls.team,
        controls.cycle_start_at,
        sum(
            case when {{ last_instant_of('controls.control_date') }} < roster_states.valid_to_at then 1 else 0 end
            * case when {{ last_instant_of('controls.control_date') }} >= roster_states.valid_from_at then 1 else 0 end
            - case when controls.control_read_at < roster_states.valid_to_at then 1 else 0 end
            * case when controls.control_read_at >= roster_states.valid_from_at then 1 else 0 end
        ) as seat_count
    from controls
    inner join roster_states
        on
            controls.team = roster_states.team
            and roster_states.valid_from_at <= {{ last_instant_of('controls.control_date') }}
            and controls.control_read_at < roster_states.valid_to_at
    where
        not exists (
            select 1 from service_accounts
            where
                roster_states.team = coalesce(service_accounts.team, roster_states.team)
                and roster_states.user_email = service_accounts.user_email
        )
    group by controls.team, controls.cycle_start_at
)

select
    controls.team,
    controls.cycle_start_at,
    'seats' as control,
    {{ cents('coalesce(paid_members.seat_count, 0)') }} as api_value,
    {{ cents('coalesce(seats_at_day_end.seat_count, 0) - coalesce(changes_after.seat_count, 0)') }} as our_value
from controls
left join paid_members
    on
        controls.team = paid_members.team
        and controls.cycle_start_at = paid_members.cycle_start_at
left join seats_at_day_end
    on
        controls.team = seats_at_day_end.team
        and controls.cycle_start_at = seats_at_day_end.cycle_start_at
left join changes_after
    on
        controls.team = changes_after.team
        and controls.cycle_start_at = changes_after.cycle_start_at
