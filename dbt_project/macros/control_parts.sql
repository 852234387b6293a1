{#- Condition for int_control_usage: only parts of batches that it does not hold yet. All of them where nothing was
    published, as in and_new_batch: that is a full refresh. -#}
{% macro and_new_part(relation) -%}
    {%- if is_incremental() and published_relation('mart_load_coverage') -%}
        and not exists (
            select 1
            from {{ this }} as known
            where known.team = {{ relation }}.team
                and known.batch_id = {{ relation }}.batch_id
                and known.usage_from_at = {{ relation }}.usage_from_at
                and known.usage_before_at = {{ relation }}.usage_before_at
        )
    {%- endif -%}
{%- endmacro %}
