{#- Arithmetic of forecasts and anomalies: money in whole millionths of a cent, and medians that are amounts. -#}

{#- 'weekend' on Saturday and Sunday, else 'weekday'; counted from Monday, as in dim_dates. Holidays are not known. -#}
{% macro day_type(expression) -%}
    case
        when {{ dbt.datediff(dbt.date_trunc('week', expression), expression, 'day') }} >= 5 then 'weekend' else 'weekday'
    end
{%- endmacro %}

{#- Cents as a whole number of millionths, for divisions without a float. -#}
{% macro millionths(expression) -%}
    {{ return('cast(' ~ cents(expression) ~ ' * 1000000 as bigint)') }}
{%- endmacro %}

{#- The way back. -#}
{% macro cents_of_millionths(expression) -%}
    {{ cents('cast(' ~ expression ~ ' as decimal(18, 0)) * cast(0.000001 as decimal(7, 6))') }}
{%- endmacro %}

{#- Days in the month of a date. -#}
{% macro days_in_month(expression) -%}
    {{ return('extract(day from ' ~ dbt.last_day(expression, 'month') ~ ')') }}
{%- endmacro %}

{#- Aggregate: the median of amounts, of an even number the lower of the two in the middle: an amount that occurred, so
    exact. Nulls do not count. -#}
{% macro median_cents(expression) -%}
    {{ return(adapter.dispatch('median_cents', 'chargeback')(expression)) }}
{%- endmacro %}

{% macro default__median_cents(expression) -%}
    {{ return(cents('quantile_disc(' ~ expression ~ ', 0.5)')) }}
{%- endmacro %}

{% macro spark__median_cents(expression) -%}
    {{ return(cents('percentile_disc(0.5) within group (order by ' ~ expression ~ ')')) }}
{%- endmacro %}

{#- Dollars of an amount in cents, rounded half away from zero to whole cents. -#}
{% macro whole_cents_as_usd(expression) -%}
    cast(cast(round({{ expression }}, 0) as decimal(18, 0)) * cast(0.01 as decimal(3, 2)) as decimal(18, 2))
{%- endmacro %}
