{#- The day after. -#}
{% macro next_day(expression) -%}cast({{ dbt.dateadd('day', 1, expression) }} as date){%- endmacro %}

{#- First day of the month. -#}
{% macro month_of(expression) -%}cast({{ dbt.date_trunc('month', expression) }} as date){%- endmacro %}

{#- Midnight at the beginning of a day. -#}
{% macro start_of_day(expression) -%}cast({{ expression }} as timestamp){%- endmacro %}

{#- Whole days as numbers 0..16383, to be added to a date: covers 44 years. Plain joins, as not every engine can
    generate series. One column: day_number. -#}
{% macro day_numbers() -%}
    {%- set digits = [] -%}
    {%- set sources = [] -%}
    {%- for bit in range(14) -%}
        {%- do digits.append('bit_' ~ bit ~ '.digit * ' ~ 2 ** bit) -%}
        {%- do sources.append('(select 0 as digit union all select 1 as digit) as bit_' ~ bit) -%}
    {%- endfor -%}
    select {{ digits | join(' + ') }} as day_number
    from {{ sources | join(' cross join ') }}
{%- endmacro %}

{#- The last instant of a day that the API can name: times have milliseconds. -#}
{% macro last_instant_of(expression) -%}
    {{ dbt.dateadd('millisecond', -1, start_of_day(next_day(expression))) }}
{%- endmacro %}
