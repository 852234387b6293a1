-- Grain: one row per team, month and owner with a budget. Every budget has a row, also one for an owner nobody knows.
{{ config(materialized='table') }}

with

teams as (
    select * from {{ ref('stg_cursor_admin__teams') }}
),

budgets as (
    select * from {{ ref('stg_seeds__budgets') }}
),

forecasts as (
    select * from {{ ref('mart_cost_forecast') }}
),

forecast_dates as (
    select * from {{ ref('int_forecast_dates') }}
),

complete_days as (
    select * from {{ ref('int_complete_days') }}
),

groups as (
    select * from {{ ref('dim_billing_groups') }}
),

service_accounts as (
    select * from {{ ref('dim_service_accounts') }}
),

directory_groups as (
    select * from {{ ref('int_directory_groups_current') }}
),

-- a row of the team itself goes before one for every team; a team that was never loaded keeps its row
budgets_by_team as (
    select
        coalesce(budgets.team, teams.team) as team,
        budgets.charge_month,
        budgets.owner_type,
        budgets.owner_id,
        budgets.budget_usd,
        row_number() over (
            partition by
                coalesce(budgets.team, teams.team), budgets.charge_month, budgets.owner_type, budgets.owner_id
            order by budgets.team nulls last
        ) as budget_rank
    from budgets
    left join teams on budgets.team is null
    where coalesce(budgets.team, teams.team) is not null
),

open_months as (
    select
        team,
        open_month as charge_month,
        has_history
    from forecast_dates
    where not is_back_test
),

spans as (
    select
        complete_days.team,
        {{ month_of('min(complete_days.usage_date)') }} as first_month,
        max(open_months.charge_month) as last_month
    from complete_days
    left join open_months on complete_days.team = open_months.team
    group by complete_days.team
),

known_owners as (
    select
        team,
        'billing_group' as owner_type,
        billing_group_id as owner_id,
        billing_group_name as owner_name,
        directory_group_id
    from groups
    union all
    select
        team,
        'service_account' as owner_type,
        service_account_id as owner_id,
        coalesce(service_account_name, service_account_id) as owner_name,
        cast(null as {{ dbt.type_string() }}) as directory_group_id
    from service_accounts
),

-- an owner without a row cost nothing in a month that is known; of a month before the first covered one, or after the
-- running one, nobody knows what it costs
budgets_with_costs as (
    select
        budgets_by_team.team,
        budgets_by_team.charge_month,
        budgets_by_team.owner_type,
        budgets_by_team.owner_id,
        coalesce(forecasts.owner_name, known_owners.owner_name, budgets_by_team.owner_id) as owner_name,
        known_owners.owner_id is not null as is_known_owner,
        budgets_by_team.budget_usd,
        budgets_by_team.budget_usd * 100 as budget_cents,
        coalesce(
            forecasts.actual_cents, case when budgets_by_team.charge_month >= spans.first_month then 0 end
        ) as actual_cents,
        coalesce(
            forecasts.forecast_cents,
            case
                when
                    forecasts.team is null
                    and budgets_by_team.charge_month between spans.first_month and spans.last_month
                    and coalesce(open_months.has_history, true)
                    then 0
            end
        ) as forecast_cents,
        directory_groups.monthly_limit_usd
    from budgets_by_team
    left join spans on budgets_by_team.team = spans.team
    left join open_months
        on
            budgets_by_team.team = open_months.team
            and budgets_by_team.charge_month = open_months.charge_month
    left join forecasts
        on
            budgets_by_team.team = forecasts.team
            and budgets_by_team.charge_month = forecasts.charge_month
            and budgets_by_team.owner_type = forecasts.owner_type
            and budgets_by_team.owner_id = forecasts.owner_id
    left join known_owners
        on
            budgets_by_team.team = known_owners.team
            and budgets_by_team.owner_type = known_owners.owner_type
            and budgets_by_team.owner_id = known_owners.owner_id
    left join directory_groups
        on
            known_owners.team = directory_groups.team
            and known_owners.directory_group_id = directory_groups.directory_group_id
    where budgets_by_team.budget_rank = 1
)

select
    team,
    charge_month,
    owner_type,
    owner_id,
    owner_name,
    is_known_owner,
    cast(budget_usd as decimal(18, 2)) as budget_usd,
    {{ cents('actual_cents') }} as actual_cents,
    {{ whole_cents_as_usd('actual_cents') }} as actual_usd,
    {{ cents('forecast_cents') }} as forecast_cents,
    {{ whole_cents_as_usd('forecast_cents') }} as forecast_usd,
    case
        when budget_cents > 0
            then cast(cast(actual_cents as double) / cast(budget_cents as double) as decimal(18, 6))
    end as used_share,
    case
        when actual_cents > budget_cents then 'exceeded'
        when forecast_cents > budget_cents then 'at_risk'
        when forecast_cents is not null then 'on_track'
        else 'not_known'
    end as budget_state,
    cast(monthly_limit_usd as decimal(18, 2)) as api_limit_usd
from budgets_with_costs
