-- Each finding shows what its service account cost: this month's and last month's rows of the account, all of them.
with

findings as (
    select * from {{ ref('mart_service_account_findings') }}
),

costs as (
    select
        team,
        service_account_id,
        sum(case when charge_month = {{ this_month() }} then usage_cents else 0 end) as this_month_usage_cents,
        sum(case when charge_month = {{ this_month() }} then billed_cents else 0 end) as this_month_billed_cents,
        sum(case when charge_month = {{ last_month() }} then usage_cents else 0 end) as last_month_usage_cents,
        sum(case when charge_month = {{ last_month() }} then billed_cents else 0 end) as last_month_billed_cents
    from {{ ref('fct_daily_charges') }}
    where service_account_id is not null
    group by team, service_account_id
)

select
    findings.team,
    findings.service_account_id,
    findings.finding
from findings
left join costs
    on
        findings.team = costs.team
        and findings.service_account_id = costs.service_account_id
where
    findings.this_month_usage_cents <> coalesce(costs.this_month_usage_cents, 0)
    or findings.this_month_billed_cents <> coalesce(costs.this_month_billed_cents, 0)
    or findings.last_month_usage_cents <> coalesce(costs.last_month_usage_cents, 0)
    or findings.last_month_billed_cents <> coalesce(costs.last_month_billed_cents, 0)
