{#- The clock of the run: what "now" means in every model. -#}
{% macro published_at() -%}cast('{{ var("published_at") }}' as timestamp){%- endmacro %}
