{#- A role in the words of the roster: the audit log writes `FREE_OWNER`, sometimes in lower case, for `free-owner`. -#}
{% macro roster_role(expression) -%}
    nullif(replace(lower(trim({{ expression }})), '_', '-'), '')
{%- endmacro %}
