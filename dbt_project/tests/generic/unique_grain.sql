{% test unique_grain(model, columns, day_column=none) %}
    {#- Fails with every key that several rows share. Nulls are values here: two rows without a month are two rows. -#}
select
    {{ columns | join(', ') }},
    count(*) as row_count
from {{ tested_rows(model, day_column) }} as tested
group by {{ columns | join(', ') }}
having count(*) > 1
{% endtest %}
