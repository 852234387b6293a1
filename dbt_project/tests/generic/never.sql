{% test never(model, condition, day_column=none) %}
    {#- Fails with every row that meets the condition. -#}
select *
from {{ tested_rows(model, day_column) }} as tested
where {{ condition }}
{% endtest %}
