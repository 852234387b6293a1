{#- Incremental strategy: the days to build are deleted and written again, whole. A day that became empty loses its
    rows, which a delete by the keys of the new rows would leave behind. The model's day column is in meta.day_column;
    rows that meet the condition in meta.always_replaced are deleted whatever their day. -#}
{% macro get_incremental_replace_days_sql(arguments) -%}
    {%- set columns = get_quoted_csv(arguments['dest_columns'] | map(attribute='name')) -%}
    {%- set day_column = model.config.meta['day_column'] -%}
    {%- set always_replaced = model.config.meta.get('always_replaced') -%}
    delete from {{ arguments['target_relation'] }} as target
    where exists (
        select 1
        from {{ days_to_build_relation() }} as days
        where days.team = target.team
            and days.usage_date = target.{{ day_column }}
    )
    {%- if always_replaced %} or {{ always_replaced }}{% endif %};

    insert into {{ arguments['target_relation'] }} ({{ columns }})
    select {{ columns }}
    from {{ arguments['temp_relation'] }}
{%- endmacro %}

{#- Where int_usage_days_to_build lies. Models that use the strategy refer to it, so it is always built before them. -#}
{% macro days_to_build_relation() -%}
    {{ api.Relation.create(database='warehouse', schema='intermediate', identifier='int_usage_days_to_build') }}
{%- endmacro %}

{#- A table of the build file as the last published night left it, or none on a full refresh. Not a ref: it is built
    again later in the same run. -#}
{% macro published_relation(identifier) -%}
    {%- if execute -%}
        {{ return(adapter.get_relation(database=target.database, schema='marts', identifier=identifier)) }}
    {%- endif -%}
    {{ return(none) }}
{%- endmacro %}

{#- Condition for models that keep what they once derived from a batch, as a batch never changes: only batches they do
    not hold yet. Nothing, and so every batch, where nothing was published: that is a full refresh. -#}
{% macro and_new_batch(relation) -%}
    {%- if is_incremental() and published_relation('mart_load_coverage') -%}
        and not exists (select 1 from {{ this }} as known where known.batch_id = {{ relation }}.batch_id)
    {%- endif -%}
{%- endmacro %}
