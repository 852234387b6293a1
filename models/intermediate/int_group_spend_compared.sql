-- Grain: one row per control of group spend, reading of it (all usage, or on-demand usage), and billing group; the row
-- without a group is the team.
-- Our side is placed as Cursor places it: by the interval that holds the instant, else Unassigned. Service accounts are
-- Unassigned whatever our seed says, and so is what came after a departure: Cursor knows of neither rule.
with

controls as (
    select * from {{ ref('int_control_reads') }}
    where resource = 'billing_groups'
),

billing_groups as (
    select * from {{ ref('stg_cursor_admin__billing_groups') }}
),

actors as (
    select * from {{ ref('int_control_actors') }}
    where resource = 'billing_groups'
),

memberships as (
    select * from {{ ref('int_group_memberships_resolved') }}
),

usage_events as (
    select * from {{ ref('stg_cursor_admin__usage_events') }}
),

group_names as (
    select * from {{ ref('int_billing_group_names') }}
    where valid_to_date = {{ end_of_dates() }}
),

answers as (
    select
        controls.team,
        controls.cycle_start_at,
        case
            when billing_groups.is_unassigned then {{ unassigned_group_id() }}
            else billing_groups.billing_group_id
        end as billing_group_id,
        billing_groups.billing_group_name,
        billing_groups.spend_cents
    from controls
    inner join billing_groups
        on
            controls.team = billing_groups.team
            and controls.snapshot_id = billing_groups.snapshot_id
    where billing_groups.spend_cents is not null
),

answered_controls as (
    select
        team,
        cycle_start_at,
        max({{ has_fraction('spend_cents') }}) as has_fractions
    from answers
    group by team, cycle_start_at
),

people as (
    select * from actors
    where service_account_id is null and not is_nameless
),

-- the group of a person's day; none where an interval begins or ends between its first and last event
people_with_group as (
    select
        people.team,
        people.cycle_start_at,
        people.batch_id,
        people.usage_date,
        people.usage_from_at,
        people.usage_before_at,
        people.user_email,
        people.kind,
        people.is_on_demand,
        people.usage_event_hash,
        people.nameless_event_number,
        people.unpriced_event_count,
        people.overall_cents,
        people.on_demand_cents,
        max(
            case
                when
                    people.first_occurred_at >= memberships.valid_from_at
                    and people.last_occurred_at < memberships.valid_to_at
                    then memberships.billing_group_id
            end
        ) as billing_group_id,
        count(memberships.billing_group_id) as membership_count
    from people
    left join memberships
        on
            people.team = memberships.team
            and people.user_email = memberships.user_email
            and people.first_occurred_at < memberships.valid_to_at
            and people.last_occurred_at >= memberships.valid_from_at
    group by
        people.team,
        people.cycle_start_at,
        people.batch_id,
        people.usage_date,
        people.usage_from_at,
        people.usage_before_at,
        people.user_email,
        people.kind,
        people.is_on_demand,
        people.usage_event_hash,
        people.nameless_event_number,
        people.unpriced_event_count,
        people.overall_cents,
        people.on_demand_cents
),

moving_people as (
    select * from people_with_group
    where billing_group_id is null and membership_count > 0
),

-- only of those who moved that day, event by event
moving_events as (
    select
        moving_people.team,
        moving_people.cycle_start_at,
        moving_people.user_email,
        usage_events.occurred_at,
        case when usage_events.charged_cents is null then 1 else 0 end as unpriced_event_count,
        coalesce(usage_events.charged_cents, 0) as overall_cents,
        case
            when moving_people.is_on_demand then coalesce(usage_events.charged_cents, 0)
            else 0
        end as on_demand_cents
    from moving_people
    inner join usage_events
        on
            moving_people.team = usage_events.team
            and moving_people.usage_date = usage_events.usage_date
            and moving_people.batch_id = usage_events.batch_id
            and moving_people.user_email = usage_events.user_email
            and moving_people.usage_from_at <= usage_events.occurred_at
            and moving_people.usage_before_at > usage_events.occurred_at
            and usage_events.service_account_id is null
            and moving_people.kind is not distinct from usage_events.kind
),

placed as (
    select
        team,
        cycle_start_at,
        user_email,
        coalesce(billing_group_id, {{ unassigned_group_id() }}) as billing_group_id,
        unpriced_event_count,
        overall_cents,
        on_demand_cents
    from people_with_group
    where billing_group_id is not null or membership_count = 0
    union all
    select
        moving_events.team,
        moving_events.cycle_start_at,
        moving_events.user_email,
        coalesce(memberships.billing_group_id, {{ unassigned_group_id() }}) as billing_group_id,
        moving_events.unpriced_event_count,
        moving_events.overall_cents,
        moving_events.on_demand_cents
    from moving_events
    left join memberships
        on
            moving_events.team = memberships.team
            and moving_events.user_email = memberships.user_email
            and moving_events.occurred_at >= memberships.valid_from_at
            and moving_events.occurred_at < memberships.valid_to_at
    union all
    select
        team,
        cycle_start_at,
        service_account_id as user_email,
        {{ unassigned_group_id() }} as billing_group_id,
        unpriced_event_count,
        overall_cents,
        on_demand_cents
    from actors
    where service_account_id is not null
    union all
    -- in no group that Cursor could show, but in its total
    select
        team,
        cycle_start_at,
        null as user_email,
        null as billing_group_id,
        unpriced_event_count,
        overall_cents,
        on_demand_cents
    from actors
    where is_nameless
),

sides as (
    select
        team,
        cycle_start_at,
        billing_group_id,
        billing_group_name,
        1 as answer_count,
        spend_cents as api_value,
        0 as overall_cents,
        0 as on_demand_cents,
        0 as unpriced_event_count,
        cast(null as {{ dbt.type_string() }}) as actor
    from answers
    union all
    select
        placed.team,
        placed.cycle_start_at,
        placed.billing_group_id,
        null as billing_group_name,
        0 as answer_count,
        0 as api_value,
        placed.overall_cents,
        placed.on_demand_cents,
        placed.unpriced_event_count,
        placed.user_email as actor
    from placed
    inner join answered_controls
        on
            placed.team = answered_controls.team
            and placed.cycle_start_at = answered_controls.cycle_start_at
),

group_sums as (
    select
        team,
        cycle_start_at,
        billing_group_id,
        max(billing_group_name) as billing_group_name,
        -- Cursor forgets a deleted group, also in past cycles, and shows its spend as Unassigned
        billing_group_id <> {{ unassigned_group_id() }} and max(answer_count) = 0 as is_deleted_group,
        {{ cents('sum(api_value)') }} as api_value,
        {{ cents('sum(overall_cents)') }} as overall_cents,
        {{ cents('sum(on_demand_cents)') }} as on_demand_cents,
        sum(unpriced_event_count) as unpriced_event_count,
        count(distinct actor) as actor_count
    from sides
    group by team, cycle_start_at, billing_group_id
),

deleted_groups as (
    select
        team,
        cycle_start_at,
        {{ cents('sum(case when is_deleted_group then overall_cents else 0 end)') }} as overall_cents,
        {{ cents('sum(case when is_deleted_group then on_demand_cents else 0 end)') }} as on_demand_cents
    from group_sums
    group by team, cycle_start_at
),

readings as (
    select
        group_sums.team,
        group_sums.cycle_start_at,
        'group_spend_overall' as control,
        group_sums.billing_group_id,
        group_sums.billing_group_name,
        group_sums.is_deleted_group,
        group_sums.api_value,
        group_sums.overall_cents as our_value,
        group_sums.unpriced_event_count,
        group_sums.actor_count,
        deleted_groups.overall_cents as deleted_group_cents,
        answered_controls.has_fractions
    from group_sums
    inner join deleted_groups
        on
            group_sums.team = deleted_groups.team
            and group_sums.cycle_start_at = deleted_groups.cycle_start_at
    inner join answered_controls
        on
            group_sums.team = answered_controls.team
            and group_sums.cycle_start_at = answered_controls.cycle_start_at
    union all
    select
        group_sums.team,
        group_sums.cycle_start_at,
        'group_spend_on_demand' as control,
        group_sums.billing_group_id,
        group_sums.billing_group_name,
        group_sums.is_deleted_group,
        group_sums.api_value,
        group_sums.on_demand_cents as our_value,
        group_sums.unpriced_event_count,
        group_sums.actor_count,
        deleted_groups.on_demand_cents as deleted_group_cents,
        answered_controls.has_fractions
    from group_sums
    inner join deleted_groups
        on
            group_sums.team = deleted_groups.team
            and group_sums.cycle_start_at = deleted_groups.cycle_start_at
    inner join answered_controls
        on
            group_sums.team = answered_controls.team
            and group_sums.cycle_start_at = answered_controls.cycle_start_at
)

select
    readings.team,
    readings.cycle_start_at,
    readings.control,
    readings.billing_group_id as subject_id,
    -- the reserved group bears one name, whatever the API calls it
    coalesce(
        case when readings.billing_group_id = {{ unassigned_group_id() }} then 'Unassigned' end,
        readings.billing_group_name, group_names.name, readings.billing_group_id
    ) as subject_name,
    readings.is_deleted_group,
    readings.api_value,
    readings.our_value,
    cast(readings.unpriced_event_count as bigint) as unpriced_event_count,
    case
        when readings.is_deleted_group then readings.our_value
        when readings.billing_group_id = {{ unassigned_group_id() }} then readings.deleted_group_cents
        else {{ cents('0') }}
    end as deleted_group_cents,
    true as can_lack_nameless,
    {{ summed_tolerance('readings.actor_count', 'readings.has_fractions') }} as tolerance_value
from readings
left join group_names
    on
        readings.team = group_names.team
        and readings.billing_group_id = group_names.billing_group_id
where readings.billing_group_id is not null
union all
select
    team,
    cycle_start_at,
    control,
    null as subject_id,
    'All groups' as subject_name,
    false as is_deleted_group,
    {{ cents('sum(api_value)') }} as api_value,
    {{ cents('sum(our_value)') }} as our_value,
    cast(sum(unpriced_event_count) as bigint) as unpriced_event_count,
    {{ cents('0') }} as deleted_group_cents,
    false as can_lack_nameless,
    {{ summed_tolerance('sum(actor_count)', 'max(has_fractions)') }} as tolerance_value
from readings
group by team, cycle_start_at, control
