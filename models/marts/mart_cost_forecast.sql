-- Grain: one row per team, month and owner: the team as a whole, each billing group, each service account.
-- A month that is over is what it was; a month that goes on is what it was so far, and what is to come at the pace of
-- the last four weeks (int_months_forecasted). Reads day totals, never events.
{{ config(materialized='table') }}

with

forecast_dates as (
    select * from {{ ref('int_forecast_dates') }}
),

forecasts as (
    select * from {{ ref('int_months_forecasted') }}
),

owner_days as (
    select * from {{ ref('int_owner_days') }}
),

complete_days as (
    select * from {{ ref('int_complete_days') }}
),

group_names as (
    select * from {{ ref('int_billing_group_names') }}
),

service_accounts as (
    select * from {{ ref('dim_service_accounts') }}
),

owner_months as (
    select
        team,
        charge_month,
        owner_type,
        owner_id,
        {{ cents('sum(usage_billed_cents + seat_cents)') }} as month_cents,
        {{ cents('sum(adjustment_cents)') }} as adjustment_cents,
        max(case when adjustment_cents <> 0 then 1 else 0 end) = 1 as has_adjustments
    from owner_days
    group by team, charge_month, owner_type, owner_id
),

open_months as (
    select
        team,
        open_month as charge_month,
        as_of_date,
        has_history,
        remaining_weekday_count + remaining_weekend_count as remaining_day_count,
        history_weekday_count + history_weekend_count as history_day_count
    from forecast_dates
    where not is_back_test
),

first_open_months as (
    select
        team,
        min(charge_month) as first_open_month
    from open_months
    group by team
),

complete_days_by_month as (
    select
        team,
        {{ month_of('usage_date') }} as charge_month,
        count(*) as complete_day_count
    from complete_days
    group by team, {{ month_of('usage_date') }}
),

-- only months in which an owner cost a dollar or more: of next to nothing a forecast is wrong by thousands of per cent
errors as (
    select
        forecasts.team,
        forecasts.open_month,
        forecasts.owner_type,
        forecasts.owner_id,
        count(*) as past_month_count,
        -- rounded before they are added, so that their order does not matter
        sum(cast(
            100.0 * cast(abs(forecasts.forecast_cents - owner_months.month_cents) as double)
            / cast(owner_months.month_cents as double) as decimal(18, 6)
        )) / count(*) as past_error_pct
    from forecasts
    inner join owner_months
        on
            forecasts.team = owner_months.team
            and forecasts.charge_month = owner_months.charge_month
            and forecasts.owner_type = owner_months.owner_type
            and forecasts.owner_id = owner_months.owner_id
    where
        forecasts.charge_month < forecasts.open_month
        and forecasts.forecast_cents is not null
        and owner_months.month_cents >= 100
    group by forecasts.team, forecasts.open_month, forecasts.owner_type, forecasts.owner_id
),

months_going_on as (
    select
        team,
        charge_month,
        owner_type,
        owner_id
    from forecasts
    where charge_month = open_month
    union
    select
        owner_months.team,
        owner_months.charge_month,
        owner_months.owner_type,
        owner_months.owner_id
    from owner_months
    inner join open_months
        on
            owner_months.team = open_months.team
            and owner_months.charge_month = open_months.charge_month
    where owner_months.has_adjustments
),

-- an adjustment is known whole from its first night on
open_rows as (
    select
        months_going_on.team,
        months_going_on.charge_month,
        months_going_on.owner_type,
        months_going_on.owner_id,
        coalesce(forecasts.actual_cents, 0) + coalesce(owner_months.adjustment_cents, 0) as actual_cents,
        case when open_months.has_history then coalesce(forecasts.forecast_cents, 0) end
        + coalesce(owner_months.adjustment_cents, 0) as forecast_cents,
        case when open_months.has_history then coalesce(forecasts.forecast_low_cents, 0) end
        + coalesce(owner_months.adjustment_cents, 0) as forecast_low_cents,
        case when open_months.has_history then coalesce(forecasts.forecast_high_cents, 0) end
        + coalesce(owner_months.adjustment_cents, 0) as forecast_high_cents,
        false as is_month_over,
        open_months.remaining_day_count,
        open_months.history_day_count,
        errors.past_month_count,
        errors.past_error_pct
    from months_going_on
    inner join open_months
        on
            months_going_on.team = open_months.team
            and months_going_on.charge_month = open_months.charge_month
    left join forecasts
        on
            months_going_on.team = forecasts.team
            and months_going_on.charge_month = forecasts.charge_month
            and forecasts.charge_month = forecasts.open_month
            and months_going_on.owner_type = forecasts.owner_type
            and months_going_on.owner_id = forecasts.owner_id
    left join owner_months
        on
            months_going_on.team = owner_months.team
            and months_going_on.charge_month = owner_months.charge_month
            and months_going_on.owner_type = owner_months.owner_type
            and months_going_on.owner_id = owner_months.owner_id
    left join errors
        on
            months_going_on.team = errors.team
            and months_going_on.charge_month = errors.open_month
            and months_going_on.owner_type = errors.owner_type
            and months_going_on.owner_id = errors.owner_id
),

months as (
    select * from open_rows
    union all
    select
        owner_months.team,
        owner_months.charge_month,
        owner_months.owner_type,
        owner_months.owner_id,
        owner_months.month_cents + owner_months.adjustment_cents as actual_cents,
        owner_months.month_cents + owner_months.adjustment_cents as forecast_cents,
        owner_months.month_cents + owner_months.adjustment_cents as forecast_low_cents,
        owner_months.month_cents + owner_months.adjustment_cents as forecast_high_cents,
        true as is_month_over,
        0 as remaining_day_count,
        cast(null as bigint) as history_day_count,
        cast(null as bigint) as past_month_count,
        cast(null as double) as past_error_pct
    from owner_months
    inner join first_open_months
        on
            owner_months.team = first_open_months.team
            and owner_months.charge_month < first_open_months.first_open_month
)

select
    months.team,
    months.charge_month,
    months.owner_type,
    months.owner_id,
    case
        when months.owner_type = 'total' then 'Total'
        when months.owner_type = 'billing_group' then coalesce(group_names.name, months.owner_id)
        else coalesce(service_accounts.service_account_name, months.owner_id)
    end as owner_name,
    {{ cents('months.actual_cents') }} as actual_cents,
    {{ cents('months.forecast_cents') }} as forecast_cents,
    {{ cents('months.forecast_low_cents') }} as forecast_low_cents,
    {{ cents('months.forecast_high_cents') }} as forecast_high_cents,
    months.is_month_over,
    cast(coalesce(complete_days_by_month.complete_day_count, 0) as bigint) as complete_day_count,
    cast(months.remaining_day_count as bigint) as remaining_day_count,
    cast(months.history_day_count as bigint) as history_day_count,
    cast(
        case when not months.is_month_over then coalesce(months.past_month_count, 0) end as bigint
    ) as past_month_count,
    cast(months.past_error_pct as decimal(18, 6)) as past_error_pct
from months
left join complete_days_by_month
    on
        months.team = complete_days_by_month.team
        and months.charge_month = complete_days_by_month.charge_month
left join group_names
    on
        months.team = group_names.team
        and months.owner_type = 'billing_group'
        and months.owner_id = group_names.billing_group_id
        and cast({{ dbt.last_day('months.charge_month', 'month') }} as date) >= group_names.valid_from_date
        and cast({{ dbt.last_day('months.charge_month', 'month') }} as date) < group_names.valid_to_date
left join service_accounts
    on
        months.team = service_accounts.team
        and months.owner_type = 'service_account'
        and months.owner_id = service_accounts.service_account_id
