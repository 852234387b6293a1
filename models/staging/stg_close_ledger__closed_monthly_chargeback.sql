-- Grain: one row per line of a closed month's statement, as it was published.
-- Lines whose header was never written are those of a close that did not finish: they do not exist.
with

lines as (
    select * from {{ source('close_ledger', 'closed_monthly_chargeback') }}
),

closed_months as (
    select * from {{ ref('stg_close_ledger__closed_months') }}
)

select
    lines.close_id,
    lines.team,
    lines.charge_month,
    lines.billing_group_id,
    lines.billing_group_name,
    lines.charge_type,
    lines.adjusts_month,
    lines.adjusts_charge_type,
    lines.usage_cents,
    lines.billed_cents,
    lines.billed_usd,
    lines.billed_share,
    lines.event_count,
    lines.seat_days,
    lines.is_estimate,
    lines.is_provisional
from lines
inner join closed_months
    on
        lines.close_id = closed_months.close_id
        and lines.team = closed_months.team
        and lines.charge_month = closed_months.charge_month
