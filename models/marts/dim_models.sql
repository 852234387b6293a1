-- Grain: one row per model.
{{ config(materialized='table') }}

with

daily_charges as (
    select * from {{ ref('fct_daily_charges') }}
)

select
    model,
    min(charge_date) as first_used_date,
    max(charge_date) as last_used_date
from daily_charges
where model is not null
group by model
