{% test conserves(model, column, source_model, by, source_column=none, source_by=none, only=none, source_only=none,
                  day_column=none, source_day_column=none) %}
{#- Fails with every key whose sums differ, to the last stored digit, or that one side lacks while the other holds an
    amount. `column` may be `1` to count rows. -#}
    {%- set theirs = source_by or by -%}
    {%- set source_sum = source_column or column -%}
with

model_sums as (
    select
        {{ by | join(', ') }},
        coalesce(sum({{ column }}), 0) as amount
    from {{ tested_rows(model, day_column) }} as tested
    {% if only %}where {{ only }}{% endif %}
    group by {{ by | join(', ') }}
),

source_sums as (
    select
        {% for name in theirs %}{{ name }} as {{ by[loop.index0] }},{% endfor %}
        coalesce(sum({{ source_sum }}), 0) as amount
    from {{ tested_rows(source_model, source_day_column or day_column) }} as source
    {% if source_only %}where {{ source_only }}{% endif %}
    group by {{ theirs | join(', ') }}
)

select
    {% for name in by %}coalesce(model_sums.{{ name }}, source_sums.{{ name }}) as {{ name }},{% endfor %}
    coalesce(model_sums.amount, 0) as amount,
    coalesce(source_sums.amount, 0) as source_amount
from model_sums
full outer join source_sums
    on {% for name in by %}model_sums.{{ name }} is not distinct from source_sums.{{ name }}{{ ' and ' if not loop.last }}{% endfor %}

where coalesce(model_sums.amount, 0) <> coalesce(source_sums.amount, 0)
{% endtest %}
