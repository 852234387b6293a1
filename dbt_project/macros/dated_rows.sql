{#- Rows of a table people edit, settled per team: [valid_from_date, valid_to_date) for every team and key. A row that
    names the team goes before one for every team, from its first day on; among either kind the next row ends the
    previous. `relation` has team (null: every team), valid_from_date and the key and value columns. -#}
{% macro dated_rows(relation, keys, values) -%}
    {%- set columns = (keys + values) | join(', ') -%}
    {%- set dated_columns = [] -%}
    {%- for name in keys + values -%}{%- do dated_columns.append('dated.' ~ name) -%}{%- endfor -%}
    {%- set key_columns = ['teams.team'] -%}
    {%- for name in keys -%}{%- do key_columns.append('dated.' ~ name) -%}{%- endfor -%}
    {%- set value_columns = [] -%}
    {%- for name in values -%}{%- do value_columns.append('dated.' ~ name ~ ' nulls last') -%}{%- endfor -%}
    select
        team,
        {{ columns }},
        valid_from_date,
        coalesce(
            lead(valid_from_date) over (partition by {{ (['team'] + keys) | join(', ') }} order by valid_from_date),
            {{ end_of_dates() }}
        ) as valid_to_date
    from (
        select
            teams.team,
            {{ dated_columns | join(', ') }},
            dated.valid_from_date,
            dated.team is null as is_for_every_team,
            min(case when dated.team is not null then dated.valid_from_date end) over (
                partition by {{ key_columns | join(', ') }}
            ) as first_own_date,
            row_number() over (
                partition by {{ key_columns | join(', ') }}, dated.team is null, dated.valid_from_date
                order by {{ value_columns | join(', ') }}
            ) as duplicate_number
        from {{ ref('stg_cursor_admin__teams') }} as teams
        inner join {{ relation }} as dated on teams.team = coalesce(dated.team, teams.team)
    ) as ranked
    where
        duplicate_number = 1
        and (not is_for_every_team or valid_from_date < coalesce(first_own_date, {{ end_of_dates() }}))
{%- endmacro %}
