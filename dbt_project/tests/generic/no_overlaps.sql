{% test no_overlaps(model, by, valid_from, valid_to) %}
{#- Fails with every half-open interval [valid_from, valid_to) that is empty, turned round, or begins before the
    previous one of the same key ends. -#}
with

ordered as (
    select
        {{ by | join(', ') }},
        {{ valid_from }},
        {{ valid_to }},
        max({{ valid_to }}) over (
            partition by {{ by | join(', ') }}
            order by {{ valid_from }}, {{ valid_to }}
            rows between unbounded preceding and 1 preceding
        ) as previous_valid_to
    from {{ model }}
)

select *
from ordered
where {{ valid_from }} >= {{ valid_to }} or {{ valid_from }} < previous_valid_to
{% endtest %}
