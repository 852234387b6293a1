-- Grain: one row per team, period and charge type: what Cursor asks for it, with credit notes about the same period.
-- A line without a team is the only team's; where a warehouse holds several, nobody can say whose it is.
with

teams as (
    select
        team,
        count(*) over () as team_count
    from {{ ref('stg_cursor_admin__teams') }}
),

invoices as (
    select * from {{ ref('stg_seeds__invoices') }}
),

usage_days as (
    select * from {{ ref('int_usage_days_covered') }}
    where status <> 'missing'
),

invoices_by_team as (
    select
        teams.team,
        invoices.invoice_number,
        invoices.period_from_date,
        {{ next_day('invoices.period_through_date') }} as period_end_date,
        invoices.charge_type,
        invoices.amount_cents
    from invoices
    inner join teams
        on
            invoices.team = teams.team
            or (invoices.team is null and teams.team_count = 1)
),

periods as (
    select
        team,
        period_from_date,
        period_end_date,
        charge_type,
        min(invoice_number) as first_invoice_number,
        {{ dbt.listagg('invoice_number', "', '", 'order by invoice_number') }} as invoice_numbers,
        {{ cents('sum(amount_cents)') }} as amount_cents,
        count(*) as line_count
    from invoices_by_team
    group by team, period_from_date, period_end_date, charge_type
),

periods_with_days as (
    select
        periods.team,
        periods.period_from_date,
        periods.period_end_date,
        periods.charge_type,
        periods.first_invoice_number,
        periods.invoice_numbers,
        periods.amount_cents,
        periods.line_count,
        count(usage_days.usage_date) as covered_day_count
    from periods
    left join usage_days
        on
            periods.team = usage_days.team
            and periods.period_from_date <= usage_days.usage_date
            and periods.period_end_date > usage_days.usage_date
    group by
        periods.team,
        periods.period_from_date,
        periods.period_end_date,
        periods.charge_type,
        periods.first_invoice_number,
        periods.invoice_numbers,
        periods.amount_cents,
        periods.line_count
)

select
    team,
    first_invoice_number || '/' || coalesce(charge_type, 'all') as subject_id,
    invoice_numbers as subject_name,
    charge_type,
    period_from_date as cycle_start_date,
    period_end_date as cycle_end_date,
    {{ start_of_day('period_end_date') }} > {{ published_at() }} as is_open_period,
    {{ dbt.datediff('period_from_date', 'period_end_date', 'day') }} - covered_day_count as missing_day_count,
    amount_cents,
    -- every line is rounded to a cent
    {{ cents('line_count') }} as tolerance_value
from periods_with_days
