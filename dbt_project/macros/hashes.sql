{#- One text of several columns: nulls and separators cannot make two different rows look alike. -#}
{% macro row_text(expressions) -%}
    {%- for expression in expressions -%}
        coalesce('=' || replace(cast({{ expression }} as {{ dbt.type_string() }}), '|', '||'), '-')
        {%- if not loop.last %} || '|.' || {% endif -%}
    {%- endfor -%}
{%- endmacro %}

{#- md5 over several columns. -#}
{% macro row_hash(expressions) -%}md5({{ row_text(expressions) }}){%- endmacro %}

{#- Aggregate: a fingerprint of a set of rows. Free of order, and twins do not cancel; null for no rows. -#}
{% macro sum_of_hashes(expression) -%}
    {{ adapter.dispatch('sum_of_hashes', 'chargeback')(expression) }}
{%- endmacro %}

{% macro default__sum_of_hashes(expression) -%}
    cast(sum(md5_number_lower({{ expression }})) as varchar)
{%- endmacro %}

{% macro spark__sum_of_hashes(expression) -%}
    cast(sum(cast(conv(substr(md5({{ expression }}), 1, 15), 16, 10) as decimal(38, 0))) as string)
{%- endmacro %}

{#- A hash as a whole number that can be added and taken away again. -#}
{% macro hash_number(expression) -%}
    {{ adapter.dispatch('hash_number', 'chargeback')(expression) }}
{%- endmacro %}

{% macro default__hash_number(expression) -%}
    cast(md5_number_lower({{ expression }}) as decimal(38, 0))
{%- endmacro %}

{% macro spark__hash_number(expression) -%}
    cast(conv(substr(md5({{ expression }}), 1, 15), 16, 10) as decimal(38, 0))
{%- endmacro %}

{#- What makes two usage events the same event: everything that stays fixed when a price is restated or an e-mail is
    lost. Columns of stg_cursor_admin__usage_events. -#}
{% macro usage_event_hash(relation) -%}
    {%- set columns = [
        'team', 'occurred_at', 'service_account_id', 'conversation_id', 'cloud_agent_id', 'automation_id', 'model',
        'is_max_mode', 'input_tokens', 'output_tokens', 'cache_write_tokens', 'cache_read_tokens',
    ] -%}
    {%- set expressions = [] -%}
    {%- for column in columns -%}{%- do expressions.append(relation ~ '.' ~ column) -%}{%- endfor -%}
    {{ row_hash(expressions) }}
{%- endmacro %}

{#- Tells nameless events apart that are the same event by their hash. What remains equal is equal in every column that
    counts, so it does not matter which is which. `also_by`: further columns where a batch stands in `relation` in
    several parts; equal events share an instant, so that a part numbers them as the whole batch does. -#}
{% macro nameless_event_number(relation, also_by=[]) -%}
    {%- set keys = [] -%}
    {%- for column in ['team', 'usage_date', 'batch_id', 'usage_event_hash'] + also_by -%}
        {%- do keys.append(relation ~ '.' ~ column) -%}
    {%- endfor -%}
    row_number() over (
        partition by {{ keys | join(', ') }}
        order by
            {{ relation }}.charged_cents nulls last, {{ relation }}.kind nulls last,
            {{ relation }}.model_cents nulls last, {{ relation }}.token_fee_cents nulls last,
            {{ relation }}.is_headless nulls last
    )
{%- endmacro %}
