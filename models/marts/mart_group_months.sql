-- Grain: one row per team, month and billing group.
-- A group has a row in every month with members or charges, and in the month after a charge: a fall to zero shows.
{{ config(materialized='table') }}

with

daily_charges as (
    select * from {{ ref('fct_daily_charges') }}
),

monthly_chargeback as (
    select * from {{ ref('fct_monthly_chargeback') }}
),

memberships as (
    select * from {{ ref('dim_group_memberships') }}
),

users as (
    select * from {{ ref('dim_users') }}
),

usage_days as (
    select * from {{ ref('int_usage_days') }}
),

seat_days as (
    select * from {{ ref('int_seat_days') }}
),

seat_prices as (
    select * from {{ ref('int_seat_prices') }}
),

group_names as (
    select * from {{ ref('int_billing_group_names') }}
),

covered_months as (
    select
        team,
        charge_month,
        cast({{ dbt.dateadd('month', 1, 'charge_month') }} as date) as next_month
    from (
        select distinct
            team,
            {{ month_of('usage_date') }} as charge_month
        from usage_days
    ) as months_of_days
),

-- a person with two e-mails is one person: the latest user id says so
members_by_month as (
    select
        covered_months.team,
        covered_months.charge_month,
        memberships.billing_group_id,
        count(distinct coalesce(users.user_id, memberships.user_email)) as member_count
    from covered_months
    inner join memberships
        on
            covered_months.team = memberships.team
            and memberships.valid_from_at < {{ start_of_day('covered_months.next_month') }}
            and memberships.valid_to_at > {{ start_of_day('covered_months.charge_month') }}
    left join users
        on
            memberships.team = users.team
            and memberships.user_email = users.user_email
    group by covered_months.team, covered_months.charge_month, memberships.billing_group_id
),

usage_by_month as (
    select
        daily_charges.team,
        daily_charges.charge_month,
        daily_charges.billing_group_id,
        count(distinct case
            when daily_charges.actor_type = 'member' and daily_charges.event_count > 0
                then coalesce(users.user_id, daily_charges.user_email)
        end) as active_member_count,
        sum(daily_charges.usage_cents) as usage_cents,
        sum(
            case when daily_charges.usage_category = 'included' then daily_charges.usage_cents else 0 end
        ) as included_cents,
        sum(
            case when daily_charges.usage_category = 'on_demand' then daily_charges.usage_cents else 0 end
        ) as on_demand_cents,
        sum(
            case when daily_charges.surface = 'automation' then daily_charges.usage_cents else 0 end
        ) as automation_cents
    from daily_charges
    left join users
        on
            daily_charges.team = users.team
            and daily_charges.user_email = users.user_email
    where daily_charges.charge_type = 'usage'
    group by daily_charges.team, daily_charges.charge_month, daily_charges.billing_group_id
),

teams_with_prices as (
    select distinct team
    from seat_prices
),

known_seat_days as (
    select
        team,
        {{ month_of('seat_date') }} as charge_month,
        count(*) as day_count
    from seat_days
    group by team, {{ month_of('seat_date') }}
),

billed_by_month as (
    select
        team,
        charge_month,
        billing_group_id,
        sum(seat_days) as seat_days,
        sum(case when charge_type = 'seat' then billed_cents else 0 end) as seat_cents,
        cast(sum(billed_usd) as decimal(18, 2)) as billed_usd
    from monthly_chargeback
    group by team, charge_month, billing_group_id
),

group_months as (
    select
        team,
        charge_month,
        billing_group_id
    from members_by_month
    union
    select
        team,
        charge_month,
        billing_group_id
    from usage_by_month
    union
    select
        team,
        charge_month,
        billing_group_id
    from billed_by_month
    union
    select
        billed_by_month.team,
        covered_months.next_month as charge_month,
        billed_by_month.billing_group_id
    from billed_by_month
    inner join covered_months
        on
            billed_by_month.team = covered_months.team
            and billed_by_month.charge_month = covered_months.charge_month
    inner join covered_months as months_after
        on
            covered_months.team = months_after.team
            and covered_months.next_month = months_after.charge_month
)

select
    group_months.team,
    group_months.charge_month,
    group_months.billing_group_id,
    coalesce(group_names.name, group_months.billing_group_id) as billing_group_name,
    case
        when group_months.billing_group_id not in ({{ unassigned_group_id() }}, {{ unattributed_group_id() }})
            then cast(coalesce(members_by_month.member_count, 0) as bigint)
    end as member_count,
    cast(coalesce(usage_by_month.active_member_count, 0) as bigint) as active_member_count,
    cast(
        coalesce(billed_by_month.seat_days, 0) * cast(1 as decimal(7, 6)) / known_seat_days.day_count as decimal(18, 6)
    ) as average_seats,
    {{ cents('coalesce(usage_by_month.usage_cents, 0)') }} as usage_cents,
    {{ cents('coalesce(usage_by_month.included_cents, 0)') }} as included_cents,
    {{ cents('coalesce(usage_by_month.on_demand_cents, 0)') }} as on_demand_cents,
    {{ cents('coalesce(usage_by_month.automation_cents, 0)') }} as automation_cents,
    case
        when teams_with_prices.team is not null or billed_by_month.seat_cents <> 0
            then {{ cents('coalesce(billed_by_month.seat_cents, 0)') }}
    end as seat_cents,
    cast(coalesce(billed_by_month.billed_usd, 0) as decimal(18, 2)) as billed_usd,
    case
        when months_before.charge_month is not null
            then cast(coalesce(billed_month_before.billed_usd, 0) as decimal(18, 2))
    end as billed_usd_previous_month
from group_months
left join members_by_month
    on
        group_months.team = members_by_month.team
        and group_months.charge_month = members_by_month.charge_month
        and group_months.billing_group_id = members_by_month.billing_group_id
left join usage_by_month
    on
        group_months.team = usage_by_month.team
        and group_months.charge_month = usage_by_month.charge_month
        and group_months.billing_group_id = usage_by_month.billing_group_id
left join billed_by_month
    on
        group_months.team = billed_by_month.team
        and group_months.charge_month = billed_by_month.charge_month
        and group_months.billing_group_id = billed_by_month.billing_group_id
left join known_seat_days
    on
        group_months.team = known_seat_days.team
        and group_months.charge_month = known_seat_days.charge_month
left join teams_with_prices
    on group_months.team = teams_with_prices.team
left join covered_months as months_before
    on
        group_months.team = months_before.team
        and group_months.charge_month = months_before.next_month
left join billed_by_month as billed_month_before
    on
        months_before.team = billed_month_before.team
        and months_before.charge_month = billed_month_before.charge_month
        and group_months.billing_group_id = billed_month_before.billing_group_id
left join group_names
    on
        group_months.team = group_names.team
        and group_months.billing_group_id = group_names.billing_group_id
        and cast({{ dbt.last_day('group_months.charge_month', 'month') }} as date) >= group_names.valid_from_date
        and cast({{ dbt.last_day('group_months.charge_month', 'month') }} as date) < group_names.valid_to_date
