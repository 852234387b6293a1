-- Grain: one row per team and UTC day, with a fingerprint of everything that decides the day's published rows.
-- A day whose fingerprint is the one it was published with need not be built again: that is what makes the work of a
-- night go with what changed. What a day does not contain cannot change it, so only what touches the people, service
-- accounts and instants of the day goes in, cut to the day.
{{ config(materialized='table') }}

with

usage_days as (
    select * from {{ ref('int_usage_days_covered') }}
),

actors as (
    select * from {{ ref('int_usage_day_actors') }}
),

recalled_events as (
    select * from {{ ref('int_nameless_events_recalled') }}
),

persons as (
    select * from {{ ref('int_persons') }}
),

memberships as (
    select * from {{ ref('int_group_memberships_resolved') }}
),

departures as (
    select * from {{ ref('int_person_departures') }}
),

mappings as (
    select * from {{ ref('int_service_account_mappings') }}
),

group_names as (
    select * from {{ ref('int_billing_group_names') }}
),

plans as (
    select * from {{ ref('int_plans') }}
),

billing_cycles as (
    select * from {{ ref('int_billing_cycles') }}
),

seat_days as (
    select * from {{ ref('int_seat_days') }}
),

closed_months as (
    select * from {{ ref('stg_close_ledger__closed_months') }}
),

day_bounds as (
    select
        team,
        usage_date,
        batch_id,
        status,
        {{ start_of_day('usage_date') }} as day_start_at,
        {{ start_of_day(next_day('usage_date')) }} as day_end_at
    from usage_days
),

day_actors as (
    select
        day_bounds.team,
        day_bounds.usage_date,
        day_bounds.day_start_at,
        day_bounds.day_end_at,
        actors.user_email,
        actors.service_account_id
    from day_bounds
    -- of every version of the day: mart_restatements places the events of earlier ones too
    inner join actors on day_bounds.team = actors.team and day_bounds.usage_date = actors.usage_date
    union
    select
        day_bounds.team,
        day_bounds.usage_date,
        day_bounds.day_start_at,
        day_bounds.day_end_at,
        recalled_events.user_email,
        null as service_account_id
    from day_bounds
    inner join recalled_events
        on day_bounds.team = recalled_events.team and day_bounds.batch_id = recalled_events.batch_id
),

day_memberships as (
    select
        day_actors.team,
        day_actors.usage_date,
        day_actors.user_email as actor,
        memberships.billing_group_id,
        memberships.interval_method as method,
        greatest(memberships.valid_from_at, day_actors.day_start_at) as valid_from_at,
        least(memberships.valid_to_at, day_actors.day_end_at) as valid_to_at
    from day_actors
    inner join memberships
        on
            day_actors.team = memberships.team
            and day_actors.user_email = memberships.user_email
            and day_actors.day_start_at < memberships.valid_to_at
            and day_actors.day_end_at > memberships.valid_from_at
),

day_departures as (
    select
        day_actors.team,
        day_actors.usage_date,
        day_actors.user_email as actor,
        departures.billing_group_id,
        'departure' as method,
        greatest(departures.departed_at, day_actors.day_start_at) as valid_from_at,
        least(departures.returned_at, day_actors.day_end_at) as valid_to_at
    from day_actors
    inner join departures
        on
            day_actors.team = departures.team
            and day_actors.user_email = departures.user_email
            and day_actors.day_start_at < departures.returned_at
            and day_actors.day_end_at > departures.departed_at
    where departures.billing_group_id is not null
),

day_mappings as (
    select
        day_actors.team,
        day_actors.usage_date,
        day_actors.service_account_id as actor,
        mappings.billing_group_id,
        'service_account' as method,
        greatest(mappings.valid_from_at, day_actors.day_start_at) as valid_from_at,
        least(mappings.valid_to_at, day_actors.day_end_at) as valid_to_at
    from day_actors
    inner join mappings
        on
            day_actors.team = mappings.team
            and day_actors.service_account_id = mappings.service_account_id
            and day_actors.day_start_at < mappings.valid_to_at
            and day_actors.day_end_at > mappings.valid_from_at
    where mappings.billing_group_id is not null
),

placements as (
    select * from day_memberships
    union all
    select * from day_departures
    union all
    select * from day_mappings
),

parts as (
    select
        team,
        usage_date,
        {{ row_text(["'version'", 'batch_id', 'status']) }} as part
    from day_bounds
    union all
    select
        day_actors.team,
        day_actors.usage_date,
        {{ row_text(["'person'", 'persons.user_email', 'persons.user_id']) }} as part
    from day_actors
    inner join persons on day_actors.team = persons.team and day_actors.user_email = persons.user_email
    union all
    select
        placements.team,
        placements.usage_date,
        {{ row_text([
            "'placement'", 'placements.actor', 'placements.billing_group_id', 'group_names.name', 'placements.method',
            'placements.valid_from_at', 'placements.valid_to_at',
        ]) }} as part
    from placements
    left join group_names
        on
            placements.team = group_names.team
            and placements.billing_group_id = group_names.billing_group_id
            and placements.usage_date >= group_names.valid_from_date
            and placements.usage_date < group_names.valid_to_date
    union all
    select
        team,
        usage_date,
        {{ row_text(["'recalled'", 'usage_event_hash', 'nameless_event_number', 'user_email']) }} as part
    from recalled_events
    union all
    select
        day_bounds.team,
        day_bounds.usage_date,
        {{ row_text(["'plan'", 'plans.plan', 'plans.usage_rate']) }} as part
    from day_bounds
    inner join plans
        on
            day_bounds.team = plans.team
            and day_bounds.usage_date >= plans.valid_from_date
            and day_bounds.usage_date < plans.valid_to_date
    union all
    select
        day_bounds.team,
        day_bounds.usage_date,
        {{ row_text([
            "'cycle'", 'billing_cycles.cycle_start_at',
            'least(billing_cycles.cycle_end_at, day_bounds.day_end_at)',
        ]) }} as part
    from day_bounds
    inner join billing_cycles
        on
            day_bounds.team = billing_cycles.team
            and day_bounds.day_start_at < billing_cycles.cycle_end_at
            and day_bounds.day_end_at > billing_cycles.cycle_start_at
    union all
    -- a day that is not over has none yet
    select
        team,
        seat_date as usage_date,
        {{ row_text(["'seats'", 'seat_evidence', 'seat_fingerprint']) }} as part
    from seat_days
    union all
    select
        day_bounds.team,
        day_bounds.usage_date,
        {{ row_text(["'closed'", 'closed_months.close_id']) }} as part
    from day_bounds
    inner join closed_months
        on
            day_bounds.team = closed_months.team
            and {{ month_of('day_bounds.usage_date') }} = closed_months.charge_month
),

fingerprints as (
    select
        team,
        usage_date,
        md5({{ sum_of_hashes('part') }}) as day_fingerprint
    from parts
    group by team, usage_date
)

select
    usage_days.team,
    usage_days.usage_date,
    usage_days.status,
    usage_days.batch_id,
    usage_days.row_count,
    usage_days.charged_cents,
    usage_days.last_complete_read_at,
    usage_days.read_count,
    usage_days.suspect_read_count,
    fingerprints.day_fingerprint
from usage_days
inner join fingerprints
    on usage_days.team = fingerprints.team and usage_days.usage_date = fingerprints.usage_date
