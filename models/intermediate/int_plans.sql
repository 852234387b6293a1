-- Grain: one row per team and first day of a plan.
-- The variable `plan` stands for one row for every team, from the beginning; a row of the seed goes before it.
with

seed_plans as (
    select * from {{ ref('stg_seeds__plans') }}
),

plans as (
    select
        team,
        plan,
        usage_rate,
        valid_from_date
    from seed_plans
    {% if var('plan') %}
        union all
        select
            null as team,
            '{{ var("plan") }}' as plan,
            cast(1 as decimal(18, 6)) as usage_rate,
            {{ beginning_of_dates() }} as valid_from_date
        where not exists (
            select 1 from seed_plans
            where team is null and valid_from_date = {{ beginning_of_dates() }}
        )
    {% endif %}
),

dated_plans as (
    {{ dated_rows('plans', [], ['plan', 'usage_rate']) }}
)

select
    team,
    plan,
    usage_rate,
    valid_from_date,
    valid_to_date
from dated_plans
