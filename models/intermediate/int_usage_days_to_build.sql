-- Grain: one row per team and UTC day that tonight's tables must build again: its fingerprint is not the one it was
-- published with, or it was published and is no longer covered. Every day, where nothing was published.
-- Read from the published copy and not by ref, as mart_load_coverage is built again after the tables that use this.
{{ config(materialized='table') }}

{% set coverage = published_relation('mart_load_coverage') %}

with

usage_days as (
    select * from {{ ref('int_usage_days') }}
),

published_days as (
    {% if coverage %}
        select
            team,
            coverage_date as usage_date,
            day_fingerprint
        from {{ coverage }}
        where resource = 'usage_events'
    {% else %}
        select
            team,
            usage_date,
            day_fingerprint
        from usage_days
        where false
    {% endif %}
)

select
    coalesce(usage_days.team, published_days.team) as team,
    coalesce(usage_days.usage_date, published_days.usage_date) as usage_date,
    usage_days.batch_id,
    usage_days.status
from usage_days
full outer join published_days
    on usage_days.team = published_days.team and usage_days.usage_date = published_days.usage_date
where usage_days.day_fingerprint is distinct from published_days.day_fingerprint
