{#- 1 where an amount has a part of a cent, else 0. -#}
{% macro has_fraction(expression) -%}
    case when {{ expression }} <> cast(round({{ expression }}, 0) as decimal(18, 0)) then 1 else 0 end
{%- endmacro %}

{#- Cents by which a sum of `number` amounts can be off: half a cent each where Cursor rounds every one of them, never
    less than one cent. `has_fractions`: 1 where it sends parts of a cent, and so rounds nothing. -#}
{% macro summed_tolerance(number, has_fractions) -%}
    case
        when {{ has_fractions }} = 1 then {{ cents('1') }}
        else greatest({{ cents('1') }}, {{ cents('cast(' ~ number ~ ' as decimal(12, 0)) * cast(0.5 as decimal(2, 1))') }})
    end
{%- endmacro %}
