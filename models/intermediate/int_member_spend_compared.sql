-- Grain: one row per control of member spend, reading of it (all usage, or on-demand usage), and person; the row
-- without a person is the team. Cursor lists members: events of service accounts are on neither side.
with

controls as (
    select * from {{ ref('int_control_reads') }}
    where resource = 'member_spend'
),

member_spend as (
    select * from {{ ref('stg_cursor_admin__member_spend') }}
),

actors as (
    select * from {{ ref('int_control_actors') }}
    where resource = 'member_spend' and service_account_id is null
),

answers as (
    select
        controls.team,
        controls.cycle_start_at,
        member_spend.user_id,
        member_spend.user_email,
        member_spend.user_name,
        member_spend.spend_cents,
        member_spend.overall_spend_cents,
        -- before mid-2026 there was one field, and it was the total
        max(case when member_spend.overall_spend_cents is not null then 1 else 0 end) over (
            partition by controls.team, controls.cycle_start_at
        ) as has_overall_spend,
        max({{ has_fraction('member_spend.spend_cents') }}) over (
            partition by controls.team, controls.cycle_start_at
        ) as has_fractions
    from controls
    inner join member_spend
        on
            controls.team = member_spend.team
            and controls.snapshot_id = member_spend.snapshot_id
),

readings as (
    select
        controls.team,
        controls.cycle_start_at,
        coalesce(max(answers.has_overall_spend), 1) = 0 as shares_field,
        coalesce(max(answers.has_fractions), 0) as has_fractions
    from controls
    left join answers
        on
            controls.team = answers.team
            and controls.cycle_start_at = answers.cycle_start_at
    group by controls.team, controls.cycle_start_at
),

sides as (
    select
        team,
        cycle_start_at,
        'member_spend_overall' as control,
        -- ids that share an e-mail are one person; who has none is known by the id alone
        coalesce(user_email, user_id) as subject_id,
        user_name as subject_name,
        coalesce(case when has_overall_spend = 1 then overall_spend_cents else spend_cents end, 0) as api_value,
        0 as our_value,
        0 as unpriced_event_count
    from answers
    union all
    select
        team,
        cycle_start_at,
        'member_spend_on_demand' as control,
        coalesce(user_email, user_id) as subject_id,
        user_name as subject_name,
        coalesce(spend_cents, 0) as api_value,
        0 as our_value,
        0 as unpriced_event_count
    from answers
    union all
    select
        team,
        cycle_start_at,
        'member_spend_overall' as control,
        user_email as subject_id,
        null as subject_name,
        0 as api_value,
        overall_cents as our_value,
        unpriced_event_count
    from actors
    union all
    select
        team,
        cycle_start_at,
        'member_spend_on_demand' as control,
        user_email as subject_id,
        null as subject_name,
        0 as api_value,
        on_demand_cents as our_value,
        unpriced_event_count
    from actors
),

people as (
    select
        sides.team,
        sides.cycle_start_at,
        sides.control,
        readings.shares_field,
        readings.has_fractions,
        sides.subject_id,
        max(sides.subject_name) as subject_name,
        {{ cents('sum(sides.api_value)') }} as api_value,
        {{ cents('sum(sides.our_value)') }} as our_value,
        sum(sides.unpriced_event_count) as unpriced_event_count
    from sides
    inner join readings
        on
            sides.team = readings.team
            and sides.cycle_start_at = readings.cycle_start_at
    group by
        sides.team, sides.cycle_start_at, sides.control, readings.shares_field, readings.has_fractions,
        sides.subject_id
)

select
    team,
    cycle_start_at,
    control,
    shares_field,
    subject_id,
    subject_name,
    api_value,
    our_value,
    cast(unpriced_event_count as bigint) as unpriced_event_count,
    true as can_lack_nameless,
    {{ cents('1') }} as tolerance_value
from people
where subject_id is not null
union all
select
    team,
    cycle_start_at,
    control,
    shares_field,
    null as subject_id,
    'All members' as subject_name,
    {{ cents('sum(api_value)') }} as api_value,
    {{ cents('sum(our_value)') }} as our_value,
    cast(sum(unpriced_event_count) as bigint) as unpriced_event_count,
    -- here they are counted
    false as can_lack_nameless,
    {{ summed_tolerance('count(subject_id)', 'has_fractions') }} as tolerance_value
from people
group by team, cycle_start_at, control, shares_field, has_fractions
