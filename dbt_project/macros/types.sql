{#- Types that several models share. Money is decimal up to the last step. -#}

{% macro type_cents() -%}decimal(18, 6){%- endmacro %}

{% macro cents(expression) -%}cast({{ expression }} as {{ type_cents() }}){%- endmacro %}

{#- Where time begins and ends: open ends are dates, so that range joins need no null logic. -#}
{% macro beginning_of_time() -%}timestamp '1900-01-01 00:00:00'{%- endmacro %}

{% macro end_of_time() -%}timestamp '9999-12-31 00:00:00'{%- endmacro %}

{% macro beginning_of_dates() -%}date '1900-01-01'{%- endmacro %}

{% macro end_of_dates() -%}date '9999-12-31'{%- endmacro %}

{#- Group ids of the two rows that stand for cost without a group; both exist per team in dim_billing_groups. -#}
{% macro unassigned_group_id() -%}'group_unassigned'{%- endmacro %}

{% macro unattributed_group_id() -%}'unattributed'{%- endmacro %}
