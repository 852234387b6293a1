{#- What a seat is when no table says otherwise. -#}
{% macro standard_seat_type() -%}'standard'{%- endmacro %}

{#- Roles of the roster that hold a seat; `free-owner` and roles nobody knows hold none. -#}
{% macro seat_roles() -%}('owner', 'member'){%- endmacro %}

{#- Cents of one seat on one day: day k of a month with n days costs floor(P k / n) - floor(P (k - 1) / n) millionths of
    a cent, so that a whole month is the price P to the last digit. -#}
{% macro seat_day_cents(monthly_price_usd, seat_date, seat_count) -%}
    {%- set price = 'cast(' ~ monthly_price_usd ~ ' * 100000000 as bigint)' -%}
    {%- set day = 'extract(day from ' ~ seat_date ~ ')' -%}
    {%- set days = 'extract(day from ' ~ dbt.last_day(seat_date, 'month') ~ ')' -%}
    {{ cents(
        'cast(' ~ seat_count ~ ' * ('
        ~ whole_quotient(price ~ ' * ' ~ day, days) ~ ' - ' ~ whole_quotient(price ~ ' * (' ~ day ~ ' - 1)', days)
        ~ ') as decimal(18, 0)) * cast(0.000001 as decimal(7, 6))'
    ) }}
{%- endmacro %}

{#- Whole part of a division of whole numbers that are not negative; never a float on the way. -#}
{% macro whole_quotient(dividend, divisor) -%}
    {{ return(adapter.dispatch('whole_quotient', 'chargeback')(dividend, divisor)) }}
{%- endmacro %}

{% macro default__whole_quotient(dividend, divisor) -%}
    {{ return('((' ~ dividend ~ ') // ' ~ divisor ~ ')') }}
{%- endmacro %}

{% macro spark__whole_quotient(dividend, divisor) -%}
    {{ return('((' ~ dividend ~ ') div ' ~ divisor ~ ')') }}
{%- endmacro %}
