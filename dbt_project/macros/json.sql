{#- Text of one key of a JSON object that a column holds as text; null where the key is missing or null. -#}
{% macro json_text(column, key) -%}
    {{ adapter.dispatch('json_text', 'chargeback')(column, dbt.string_literal('$.' ~ key)) }}
{%- endmacro %}

{% macro default__json_text(column, path) -%}
    json_extract_string({{ column }}, {{ path }})
{%- endmacro %}

{% macro spark__json_text(column, path) -%}
    get_json_object({{ column }}, {{ path }})
{%- endmacro %}
