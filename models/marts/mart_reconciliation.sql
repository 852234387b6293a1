-- Grain: one row per team, cycle, control and subject: Cursor's figure, ours, and what becomes of the difference.
-- Sums of spend come from versions of days that are added up once (int_control_usage), invoices from day totals: the
-- work of a night hardly grows with events, however long the history. Every cycle that had a control keeps its rows.
{{ config(materialized='table') }}

with

member_spend as (
    select * from {{ ref('int_member_spend_compared') }}
),

group_spend as (
    select * from {{ ref('int_group_spend_compared') }}
),

seats as (
    select * from {{ ref('int_seats_compared') }}
),

pool_drawdown as (
    select * from {{ ref('int_pool_drawdown_compared') }}
),

invoices as (
    select * from {{ ref('int_invoices_by_period') }}
),

group_daily_spend as (
    select * from {{ ref('int_group_daily_spend') }}
),

group_names as (
    select * from {{ ref('int_billing_group_names') }}
    where valid_to_date = {{ end_of_dates() }}
),

evidence as (
    select * from {{ ref('int_control_evidence') }}
),

daily_charges as (
    select * from {{ ref('fct_daily_charges') }}
),

-- adjustments stand in a month that is open and pay for one that is closed: an invoice is held against what its own
-- days were charged
charges_by_invoice as (
    select
        invoices.team,
        invoices.subject_id,
        invoices.cycle_start_date,
        {{ cents('sum(daily_charges.billed_cents)') }} as our_value,
        {{ cents('sum(case when daily_charges.is_provisional then daily_charges.billed_cents else 0 end)') }}
            as unsettled_cents
    from invoices
    inner join daily_charges
        on
            invoices.team = daily_charges.team
            and invoices.cycle_start_date <= daily_charges.charge_date
            and invoices.cycle_end_date > daily_charges.charge_date
            and daily_charges.charge_type in ('usage', 'seat')
            and daily_charges.charge_type = coalesce(invoices.charge_type, daily_charges.charge_type)
    group by invoices.team, invoices.subject_id, invoices.cycle_start_date
),

charges_by_group_day as (
    select
        daily_charges.team,
        daily_charges.billing_group_id,
        daily_charges.charge_date,
        {{ cents('sum(daily_charges.usage_cents)') }} as usage_cents
    from daily_charges
    where
        daily_charges.charge_type = 'usage'
        and daily_charges.charge_date in (select group_daily_spend.spend_date from group_daily_spend)
    group by daily_charges.team, daily_charges.billing_group_id, daily_charges.charge_date
),

recent_spend as (
    select
        group_daily_spend.team,
        group_daily_spend.cycle_start_at,
        group_daily_spend.billing_group_id,
        {{ cents('sum(group_daily_spend.spend_cents)') }} as api_value,
        {{ cents('coalesce(sum(charges_by_group_day.usage_cents), 0)') }} as our_value
    from group_daily_spend
    left join charges_by_group_day
        on
            group_daily_spend.team = charges_by_group_day.team
            and group_daily_spend.billing_group_id = charges_by_group_day.billing_group_id
            and group_daily_spend.spend_date = charges_by_group_day.charge_date
    group by group_daily_spend.team, group_daily_spend.cycle_start_at, group_daily_spend.billing_group_id
),

spend_and_seats as (
    select
        team,
        'member_spend' as resource,
        cycle_start_at,
        control,
        subject_id,
        subject_name,
        'cents' as unit,
        shares_field,
        api_value,
        our_value,
        tolerance_value,
        can_lack_nameless,
        {{ cents('0') }} as deleted_group_cents,
        unpriced_event_count
    from member_spend
    union all
    select
        team,
        'billing_groups' as resource,
        cycle_start_at,
        control,
        subject_id,
        subject_name,
        'cents' as unit,
        true as shares_field,
        api_value,
        our_value,
        tolerance_value,
        can_lack_nameless,
        deleted_group_cents,
        unpriced_event_count
    from group_spend
    union all
    select
        team,
        'members' as resource,
        cycle_start_at,
        control,
        null as subject_id,
        'Seats taken' as subject_name,
        'seats' as unit,
        false as shares_field,
        api_value,
        our_value,
        {{ cents('0') }} as tolerance_value,
        false as can_lack_nameless,
        {{ cents('0') }} as deleted_group_cents,
        0 as unpriced_event_count
    from seats
    union all
    select
        team,
        'pooled_usage' as resource,
        cycle_start_at,
        control,
        null as subject_id,
        'Pool' as subject_name,
        'cents' as unit,
        false as shares_field,
        api_value,
        our_value,
        tolerance_value,
        false as can_lack_nameless,
        {{ cents('0') }} as deleted_group_cents,
        0 as unpriced_event_count
    from pool_drawdown
    union all
    select
        recent_spend.team,
        'billing_group_details' as resource,
        recent_spend.cycle_start_at,
        'group_daily_spend' as control,
        recent_spend.billing_group_id as subject_id,
        coalesce(group_names.name, recent_spend.billing_group_id) as subject_name,
        'cents' as unit,
        false as shares_field,
        recent_spend.api_value,
        recent_spend.our_value,
        {{ cents('1') }} as tolerance_value,
        false as can_lack_nameless,
        {{ cents('0') }} as deleted_group_cents,
        0 as unpriced_event_count
    from recent_spend
    left join group_names
        on
            recent_spend.team = group_names.team
            and recent_spend.billing_group_id = group_names.billing_group_id
),

compared as (
    select
        spend_and_seats.team,
        cast(spend_and_seats.cycle_start_at as date) as cycle_start_date,
        cast(evidence.cycle_end_at as date) as cycle_end_date,
        spend_and_seats.resource,
        spend_and_seats.control,
        spend_and_seats.subject_id,
        spend_and_seats.subject_name,
        spend_and_seats.unit,
        spend_and_seats.shares_field,
        spend_and_seats.api_value,
        spend_and_seats.our_value,
        spend_and_seats.tolerance_value,
        evidence.is_open_cycle,
        evidence.is_before_cycle_end,
        evidence.unsettled_cents,
        evidence.missing_day_count,
        spend_and_seats.deleted_group_cents,
        case when spend_and_seats.can_lack_nameless then evidence.nameless_cents else 0 end as nameless_cents,
        spend_and_seats.unpriced_event_count,
        evidence.control_read_at
    from spend_and_seats
    inner join evidence
        on
            spend_and_seats.team = evidence.team
            and spend_and_seats.resource = evidence.resource
            and spend_and_seats.cycle_start_at is not distinct from evidence.cycle_start_at
    union all
    select
        invoices.team,
        invoices.cycle_start_date,
        invoices.cycle_end_date,
        'invoices' as resource,
        'invoice' as control,
        invoices.subject_id,
        invoices.subject_name,
        'cents' as unit,
        false as shares_field,
        invoices.amount_cents as api_value,
        {{ cents('coalesce(charges_by_invoice.our_value, 0)') }} as our_value,
        invoices.tolerance_value,
        invoices.is_open_period as is_open_cycle,
        false as is_before_cycle_end,
        {{ cents('coalesce(charges_by_invoice.unsettled_cents, 0)') }} as unsettled_cents,
        invoices.missing_day_count,
        0 as deleted_group_cents,
        0 as nameless_cents,
        0 as unpriced_event_count,
        null as control_read_at
    from invoices
    left join charges_by_invoice
        on
            invoices.team = charges_by_invoice.team
            and invoices.subject_id = charges_by_invoice.subject_id
            and invoices.cycle_start_date = charges_by_invoice.cycle_start_date
),

differences as (
    select
        compared.*,
        {{ cents('compared.our_value - compared.api_value') }} as difference_value,
        {{ cents('abs(compared.our_value - compared.api_value)') }} as distance
    from compared
),

readings as (
    select
        team,
        cycle_start_date,
        resource,
        control,
        sum(distance) as total_distance
    from differences
    where shares_field
    group by team, cycle_start_date, resource, control
),

nearest_readings as (
    select
        team,
        cycle_start_date,
        resource,
        min(total_distance) as total_distance
    from readings
    group by team, cycle_start_date, resource
),

judged as (
    select
        differences.*,
        differences.distance <= differences.tolerance_value as is_within_tolerance,
        -- of late Cursor shows a group's last two days only, and those low: worth a look, and nothing to judge by
        differences.control = 'group_daily_spend'
        or coalesce(readings.total_distance > nearest_readings.total_distance, false) as is_informational,
        -- first reason that holds for the period and can account for the amount: what is not final can be off by what
        -- it holds, what we lack can only make us lower
        case
            when differences.distance <= differences.unsettled_cents and differences.is_open_cycle
                then 'open_cycle'
            -- an invoice for days to come
            when differences.control = 'invoice' and differences.is_open_cycle and differences.difference_value < 0
                then 'open_cycle'
            when differences.distance <= differences.unsettled_cents and differences.is_before_cycle_end
                then 'control_taken_before_cycle_end'
            when differences.distance <= differences.unsettled_cents then 'provisional_days'
            when differences.difference_value < 0 and differences.missing_day_count > 0 then 'missing_days'
            -- people without a name may have been in a deleted group too
            when
                differences.deleted_group_cents > 0
                and differences.distance <= differences.deleted_group_cents + differences.nameless_cents
                then 'deleted_group'
            when differences.difference_value < 0 and differences.distance <= differences.nameless_cents
                then 'nameless_events'
            when differences.difference_value < 0 and differences.unpriced_event_count > 0 then 'unpriced_events'
        end as found_reason
    from differences
    left join readings
        on
            differences.team = readings.team
            and differences.cycle_start_date = readings.cycle_start_date
            and differences.control = readings.control
            and differences.shares_field
    left join nearest_readings
        on
            readings.team = nearest_readings.team
            and readings.cycle_start_date = nearest_readings.cycle_start_date
            and readings.resource = nearest_readings.resource
)

select
    team,
    cycle_start_date,
    cycle_end_date,
    control,
    subject_id,
    subject_name,
    unit,
    api_value,
    our_value,
    difference_value,
    -- of an amount below one cent or seat a percentage says nothing
    case
        when abs(api_value) >= 1 then cast(difference_value * 100 / api_value as decimal(18, 6))
    end as difference_pct,
    tolerance_value,
    case
        when is_within_tolerance then 'matched'
        when is_informational then 'informational'
        when found_reason is not null then 'explained'
        else 'unexplained'
    end as status,
    case
        when is_within_tolerance and difference_value = 0 then null
        when is_within_tolerance then 'rounding'
        when is_informational then null
        else coalesce(found_reason, 'unexplained')
    end as reason,
    control_read_at
from judged
