-- Grain: one row per team, day, billing group, actor, model, surface, charge type, usage category and adjusted month.
-- Days are replaced whole: a day whose events, seats or attribution changed is deleted and written again. Days of a
-- closed month are its frozen copy. Adjustments are few, can stand on a day that no read covers, and change whenever
-- something changes in a closed month: all of them are written again every night.
{{ config(materialized='incremental', incremental_strategy='replace_days', on_schema_change='fail',
          meta={'day_column': 'charge_date', 'always_replaced': "charge_type = 'adjustment'"}) }}

with

days_to_build as (
    select * from {{ ref('int_usage_days_to_build') }}
),

usage_events as (
    select * from {{ ref('fct_usage_events') }}
),

seat_costs as (
    select * from {{ ref('fct_daily_seat_costs') }}
),

adjustments as (
    select * from {{ ref('int_closed_months_adjusted') }}
),

closed_months as (
    select * from {{ ref('stg_close_ledger__closed_months') }}
),

frozen_charges as (
    select * from {{ ref('stg_close_ledger__closed_daily_charges') }}
),

billing_cycles as (
    select * from {{ ref('int_billing_cycles') }}
),

group_names as (
    select * from {{ ref('int_billing_group_names') }}
),

-- a day belongs to one cycle, the one at its end, so that a cycle that starts at noon does not split the day's rows
open_days as (
    select
        days_to_build.team,
        days_to_build.usage_date,
        coalesce(days_to_build.status, 'missing') in ('provisional', 'missing') as is_provisional,
        cast(billing_cycles.cycle_start_at as date) as cycle_start_date
    from days_to_build
    left join closed_months
        on
            days_to_build.team = closed_months.team
            and {{ month_of('days_to_build.usage_date') }} = closed_months.charge_month
    left join billing_cycles
        on
            days_to_build.team = billing_cycles.team
            and billing_cycles.cycle_start_at < {{ start_of_day(next_day('days_to_build.usage_date')) }}
            and billing_cycles.cycle_end_at >= {{ start_of_day(next_day('days_to_build.usage_date')) }}
    where closed_months.close_id is null
),

usage_by_day as (
    select
        usage_events.team,
        usage_events.usage_date,
        usage_events.usage_month,
        open_days.cycle_start_date,
        usage_events.billing_group_id,
        usage_events.billing_group_name,
        usage_events.actor_type,
        usage_events.user_email,
        usage_events.service_account_id,
        usage_events.model,
        usage_events.surface,
        usage_events.usage_category,
        count(*) as event_count,
        sum(
            coalesce(usage_events.input_tokens, 0)
            + coalesce(usage_events.output_tokens, 0)
            + coalesce(usage_events.cache_write_tokens, 0)
            + coalesce(usage_events.cache_read_tokens, 0)
        ) as total_tokens,
        sum(usage_events.usage_cents) as usage_cents,
        sum(usage_events.billed_cents) as billed_cents,
        max(case when usage_events.is_provisional then 1 else 0 end) = 1 as is_provisional
    from usage_events
    inner join open_days
        on
            usage_events.team = open_days.team
            and usage_events.usage_date = open_days.usage_date
    group by
        usage_events.team,
        usage_events.usage_date,
        usage_events.usage_month,
        open_days.cycle_start_date,
        usage_events.billing_group_id,
        usage_events.billing_group_name,
        usage_events.actor_type,
        usage_events.user_email,
        usage_events.service_account_id,
        usage_events.model,
        usage_events.surface,
        usage_events.usage_category
),

-- seats without a price count as nothing here; fct_daily_seat_costs says that they are not priced
seats_by_day as (
    select
        seat_costs.team,
        seat_costs.seat_date,
        seat_costs.cycle_start_date,
        seat_costs.billing_group_id,
        seat_costs.billing_group_name,
        case when seat_costs.seat_status = 'committed_unused' then 'unattributed' else 'member' end as actor_type,
        seat_costs.user_email,
        open_days.is_provisional,
        {{ cents('coalesce(sum(seat_costs.seat_cents), 0)') }} as billed_cents
    from seat_costs
    inner join open_days
        on
            seat_costs.team = open_days.team
            and seat_costs.seat_date = open_days.usage_date
    group by
        seat_costs.team,
        seat_costs.seat_date,
        seat_costs.cycle_start_date,
        seat_costs.billing_group_id,
        seat_costs.billing_group_name,
        case when seat_costs.seat_status = 'committed_unused' then 'unattributed' else 'member' end,
        seat_costs.user_email,
        open_days.is_provisional
),

frozen_rows as (
    select frozen_charges.*
    from frozen_charges
    left join days_to_build
        on
            frozen_charges.team = days_to_build.team
            and frozen_charges.charge_date = days_to_build.usage_date
    where days_to_build.usage_date is not null or frozen_charges.charge_type = 'adjustment'
)

select
    team,
    usage_date as charge_date,
    usage_month as charge_month,
    cycle_start_date,
    billing_group_id,
    billing_group_name,
    actor_type,
    user_email,
    service_account_id,
    model,
    surface,
    'usage' as charge_type,
    usage_category,
    cast(null as date) as adjusts_month,
    cast(null as {{ dbt.type_string() }}) as adjusts_charge_type,
    event_count,
    cast(total_tokens as bigint) as total_tokens,
    {{ cents('usage_cents') }} as usage_cents,
    {{ cents('billed_cents') }} as billed_cents,
    false as is_estimate,
    is_provisional,
    false as is_closed
from usage_by_day
union all
select
    team,
    seat_date as charge_date,
    {{ month_of('seat_date') }} as charge_month,
    cycle_start_date,
    billing_group_id,
    billing_group_name,
    actor_type,
    user_email,
    null as service_account_id,
    null as model,
    null as surface,
    'seat' as charge_type,
    null as usage_category,
    null as adjusts_month,
    null as adjusts_charge_type,
    0 as event_count,
    0 as total_tokens,
    {{ cents('0') }} as usage_cents,
    billed_cents,
    true as is_estimate,
    is_provisional,
    false as is_closed
from seats_by_day
union all
select
    adjustments.team,
    adjustments.charge_month as charge_date,
    adjustments.charge_month,
    null as cycle_start_date,
    adjustments.billing_group_id,
    coalesce(group_names.name, adjustments.billing_group_id) as billing_group_name,
    'unattributed' as actor_type,
    null as user_email,
    null as service_account_id,
    null as model,
    null as surface,
    'adjustment' as charge_type,
    null as usage_category,
    adjustments.adjusts_month,
    adjustments.adjusts_charge_type,
    0 as event_count,
    0 as total_tokens,
    adjustments.usage_cents,
    adjustments.billed_cents,
    adjustments.adjusts_charge_type = 'seat' as is_estimate,
    false as is_provisional,
    false as is_closed
from adjustments
left join group_names
    on
        adjustments.team = group_names.team
        and adjustments.billing_group_id = group_names.billing_group_id
        and adjustments.charge_month >= group_names.valid_from_date
        and adjustments.charge_month < group_names.valid_to_date
union all
select
    team,
    charge_date,
    charge_month,
    cycle_start_date,
    billing_group_id,
    billing_group_name,
    actor_type,
    user_email,
    service_account_id,
    model,
    surface,
    charge_type,
    usage_category,
    adjusts_month,
    adjusts_charge_type,
    event_count,
    total_tokens,
    usage_cents,
    billed_cents,
    is_estimate,
    is_provisional,
    true as is_closed
from frozen_rows
