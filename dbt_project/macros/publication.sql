{#- What differs from night to night comes from the environment: a new value of a --vars variable would make dbt parse
    the whole project again. The variables of the same name are for tests. -#}

{#- The clock of the run: what "now" means in every model. -#}
{% macro published_at() -%}
    cast('{{ env_var("CHARGEBACK_PUBLISHED_AT", var("published_at")) }}' as timestamp)
{%- endmacro %}

{#- The run that builds, as in runs.jsonl. -#}
{% macro run_id() -%}{{ dbt.string_literal(env_var('CHARGEBACK_RUN_ID', var('run_id'))) }}{%- endmacro %}

{#- The calendar month of the run's clock, and the one before: what people look at when they clean up. -#}
{% macro this_month() -%}{{ month_of(published_at()) }}{%- endmacro %}

{% macro last_month() -%}cast({{ dbt.dateadd('month', -1, this_month()) }} as date){%- endmacro %}

{#- The UTC day that lies so many days before the one of the run's clock. -#}
{% macro days_before_publication(day_count) -%}
    cast({{ dbt.dateadd('day', -day_count, 'cast(' ~ published_at() ~ ' as date)') }} as date)
{%- endmacro %}

{#- Whether every row is tested tonight, not only those of changed days. -#}
{% macro is_fully_tested() -%}
    {{ return((env_var('CHARGEBACK_FULL_TESTS', var('full_tests') | string) | lower) == 'true') }}
{%- endmacro %}
