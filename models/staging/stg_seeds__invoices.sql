-- Grain: one row per team (null: the only one), invoice, first day and charge type.
select
    nullif(trim(team), '') as team,
    trim(invoice_number) as invoice_number,
    period_from_date,
    period_through_date,
    nullif(trim(charge_type), '') as charge_type,
    {{ cents('amount_usd * 100') }} as amount_cents
from {{ ref('invoices') }}
