-- Grain: one row per team and person with usage or a seat in no billing group, this month or last month.
{{ config(materialized='table') }}

with

daily_charges as (
    select * from {{ ref('fct_daily_charges') }}
),

memberships as (
    select * from {{ ref('dim_group_memberships') }}
),

users as (
    select * from {{ ref('dim_users') }}
),

billing_groups as (
    select * from {{ ref('dim_billing_groups') }}
),

unassigned_charges as (
    select *
    from daily_charges
    where
        billing_group_id = {{ unassigned_group_id() }}
        and actor_type = 'member'
        and user_email is not null
),

-- the first day is looked for in all of history, the amounts are those of the two months
unassigned_people as (
    select
        team,
        user_email,
        min(charge_date) as first_unassigned_date,
        max(charge_date) as last_unassigned_date,
        sum(case when charge_month = {{ this_month() }} then usage_cents else 0 end) as this_month_usage_cents,
        sum(
            case when charge_month = {{ this_month() }} and charge_type = 'seat' then billed_cents else 0 end
        ) as this_month_seat_cents,
        sum(case when charge_month = {{ this_month() }} then billed_cents else 0 end) as this_month_billed_cents,
        sum(case when charge_month = {{ last_month() }} then usage_cents else 0 end) as last_month_usage_cents,
        sum(
            case when charge_month = {{ last_month() }} and charge_type = 'seat' then billed_cents else 0 end
        ) as last_month_seat_cents,
        sum(case when charge_month = {{ last_month() }} then billed_cents else 0 end) as last_month_billed_cents
    from unassigned_charges
    group by team, user_email
    having max(case when charge_month in ({{ this_month() }}, {{ last_month() }}) then 1 else 0 end) = 1
),

-- the group before: the last one that ended by the end of the last day without one
memberships_before as (
    select
        unassigned_people.team,
        unassigned_people.user_email,
        memberships.billing_group_id,
        cast(memberships.valid_to_at as date) as left_date,
        row_number() over (
            partition by unassigned_people.team, unassigned_people.user_email
            order by memberships.valid_to_at desc
        ) as newest_first
    from unassigned_people
    inner join memberships
        on
            unassigned_people.team = memberships.team
            and unassigned_people.user_email = memberships.user_email
            and memberships.valid_to_at < {{ start_of_day(next_day('unassigned_people.last_unassigned_date')) }}
)

select
    unassigned_people.team,
    unassigned_people.user_email,
    users.user_id,
    users.user_name,
    users.is_removed,
    users.current_billing_group_id,
    coalesce(memberships_before.left_date, unassigned_people.first_unassigned_date) as unassigned_since_date,
    unassigned_people.last_unassigned_date,
    memberships_before.billing_group_id as last_billing_group_id,
    billing_groups.billing_group_name as last_billing_group_name,
    users.directory_group_count,
    users.directory_group_name,
    {{ cents('unassigned_people.this_month_usage_cents') }} as this_month_usage_cents,
    {{ cents('unassigned_people.this_month_seat_cents') }} as this_month_seat_cents,
    {{ cents('unassigned_people.this_month_billed_cents') }} as this_month_billed_cents,
    {{ cents('unassigned_people.last_month_usage_cents') }} as last_month_usage_cents,
    {{ cents('unassigned_people.last_month_seat_cents') }} as last_month_seat_cents,
    {{ cents('unassigned_people.last_month_billed_cents') }} as last_month_billed_cents
from unassigned_people
left join memberships_before
    on
        unassigned_people.team = memberships_before.team
        and unassigned_people.user_email = memberships_before.user_email
        and memberships_before.newest_first = 1
left join users
    on
        unassigned_people.team = users.team
        and unassigned_people.user_email = users.user_email
left join billing_groups
    on
        memberships_before.team = billing_groups.team
        and memberships_before.billing_group_id = billing_groups.billing_group_id
