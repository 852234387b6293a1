-- Grain: one row per team and billing cycle.
{{ config(materialized='table') }}

with

billing_cycles as (
    select * from {{ ref('int_billing_cycles') }}
)

select
    team,
    cycle_start_at,
    cycle_end_at,
    cast(cycle_start_at as date) as cycle_start_date,
    source
from billing_cycles
