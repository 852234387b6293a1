-- Grain: exactly one row: what this file is.
{{ config(materialized='table') }}

{%- set is_fully_tested = is_fully_tested() %}
{%- set published_before = published_relation('mart_publication') %}

with

usage_days as (
    select * from {{ ref('int_usage_days') }}
),

-- a day counts as read when it was over at its last complete read: the open day is not
days_by_team as (
    select
        team,
        min(case when status <> 'before_history' then usage_date end) as data_from_date,
        max(case when cast(last_complete_read_at as date) > usage_date then usage_date end) as data_through_date
    from usage_days
    group by team
),

extent as (
    select
        min(data_from_date) as data_from_date,
        min(data_through_date) as data_through_date
    from days_by_team
),

last_full_tests as (
    {%- if is_fully_tested or published_before is none %}
        select {{ published_at() if is_fully_tested else 'cast(null as timestamp)' }} as full_tests_at
    {%- else %}
        select max(full_tests_at) as full_tests_at
        from {{ published_before }}
    {%- endif %}
)

select
    {{ published_at() }} as published_at,
    cast({{ run_id() }} as {{ dbt.type_string() }}) as run_id,
    cast({{ dbt.string_literal(var('version')) }} as {{ dbt.type_string() }}) as version,
    cast({{ dbt.string_literal(var('model_fingerprint')) }} as {{ dbt.type_string() }}) as model_fingerprint,
    extent.data_from_date,
    extent.data_through_date,
    last_full_tests.full_tests_at
from extent
cross join last_full_tests
