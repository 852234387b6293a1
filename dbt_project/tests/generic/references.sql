{% test references(model, columns, to, to_columns=none, day_column=none) %}
    {#- Fails with every key that the other table lacks. A key with a null in it is not tested. -#}
    {%- set theirs = to_columns or columns -%}
select
    {% for name in columns %}tested.{{ name }},{% endfor %}
    count(*) as row_count
from {{ tested_rows(model, day_column) }} as tested
left join {{ to }} as other
    on {% for name in columns %}tested.{{ name }} = other.{{ theirs[loop.index0] }}{{ ' and ' if not loop.last }}{% endfor %}

where other.{{ theirs[0] }} is null
    {% for name in columns %}and tested.{{ name }} is not null {% endfor %}
group by {% for name in columns %}tested.{{ name }}{{ ', ' if not loop.last }}{% endfor %}
{% endtest %}
