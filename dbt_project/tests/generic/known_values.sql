{% test known_values(model, column_name, values, day_column=none) %}
    {#- Fails with every value that is not listed; null is not tested. Like accepted_values, of the days to build. -#}
select
    {{ column_name }},
    count(*) as row_count
from {{ tested_rows(model, day_column) }} as tested
where {{ column_name }} not in ({% for value in values %}'{{ value }}'{{ ', ' if not loop.last }}{% endfor %})
group by {{ column_name }}
{% endtest %}
