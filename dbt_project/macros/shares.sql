{#- Where cost goes that no repository can be found for. -#}
{% macro no_repository() -%}'(no repository)'{%- endmacro %}

{#- The part of an amount that falls to one of several lines: floor(amount * weight / total weight) in whole millionths
    of a cent, towards zero for negative amounts. The parts never exceed the amount; what is left over the caller gives
    to the largest line. Whole part and remainder of amount / total weight are multiplied one by one, so that no product
    is larger than the amount or than a square of the total weight: nothing overflows. -#}
{% macro part_of_cents(amount, weight, total_weight) -%}
    {%- set millionths = 'cast(abs(' ~ amount ~ ') * 1000000 as bigint)' -%}
    {%- set quotient = whole_quotient(millionths, total_weight) -%}
    {{ cents(
        'case when ' ~ amount ~ ' < 0 then -1 else 1 end * cast('
        ~ quotient ~ ' * ' ~ weight ~ ' + '
        ~ whole_quotient('(' ~ millionths ~ ' - ' ~ quotient ~ ' * ' ~ total_weight ~ ') * ' ~ weight, total_weight)
        ~ ' as decimal(18, 0)) * cast(0.000001 as decimal(7, 6))'
    ) }}
{%- endmacro %}
