{#- What a test looks at: with a day column only the days of tonight, unless everything is tested. So the work of a
    night goes with what changed, and the weekly full test looks at everything. -#}
{% macro tested_rows(relation, day_column=none) -%}
    {%- if day_column is none or is_fully_tested() -%}
        {{ relation }}
    {%- else -%}
        (
            select rows_of_tonight.*
            from {{ relation }} as rows_of_tonight
            inner join {{ days_to_build_relation() }} as days
                on rows_of_tonight.team = days.team and rows_of_tonight.{{ day_column }} = days.usage_date
        )
    {%- endif -%}
{%- endmacro %}
