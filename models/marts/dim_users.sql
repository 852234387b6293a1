-- Grain: one row per team and person (lower-cased e-mail): everybody in a snapshot, with usage or with a seat.
-- A company address can serve two accounts one after the other; the latest user id stands for the person.
{{ config(materialized='table') }}

with

persons as (
    select * from {{ ref('int_persons') }}
),

daily_charges as (
    select * from {{ ref('fct_daily_charges') }}
),

memberships as (
    select * from {{ ref('dim_group_memberships') }}
),

current_snapshots as (
    select * from {{ ref('int_current_snapshots') }}
),

member_spend as (
    select * from {{ ref('stg_cursor_admin__member_spend') }}
),

user_ids as (
    select * from {{ ref('int_user_ids') }}
),

activity_days as (
    select * from {{ ref('int_person_activity_days') }}
),

directory_groups as (
    select * from {{ ref('int_person_directory_groups') }}
),

published as (
    select {{ published_at() }} as published_at
),

-- an estimated seat is no sighting, unless the audit log is all that ever named the person
persons_in_events as (
    select
        team,
        user_email,
        coalesce(
            min(case when charge_type = 'usage' then charge_date end), min(charge_date)
        ) as first_seen_date,
        coalesce(
            max(case when charge_type = 'usage' then charge_date end), max(charge_date)
        ) as last_seen_date,
        max(case when charge_type = 'usage' then 1 else 0 end) = 1 as has_usage
    from daily_charges
    where user_email is not null
    group by team, user_email
),

everybody as (
    select
        team,
        user_email
    from persons
    union
    select
        team,
        user_email
    from persons_in_events
),

memberships_in_force as (
    select
        memberships.team,
        memberships.user_email,
        memberships.billing_group_id
    from memberships
    inner join published
        on
            memberships.valid_from_at <= published.published_at
            and memberships.valid_to_at > published.published_at
),

-- of several ids that share an e-mail, the one that stands for the person
spend_rows as (
    select
        member_spend.team,
        coalesce(member_spend.user_email, user_ids.user_email) as user_email,
        member_spend.billing_tier,
        member_spend.effective_limit_usd,
        row_number() over (
            partition by member_spend.team, coalesce(member_spend.user_email, user_ids.user_email)
            order by
                case when member_spend.user_id = persons.user_id then 0 else 1 end asc,
                member_spend.user_id desc nulls last,
                member_spend.overall_spend_cents desc nulls last,
                member_spend.billing_tier asc nulls last,
                member_spend.effective_limit_usd asc nulls last
        ) as person_rank
    from member_spend
    inner join current_snapshots
        on
            member_spend.team = current_snapshots.team
            and member_spend.snapshot_id = current_snapshots.snapshot_id
            and current_snapshots.resource = 'member_spend'
    left join user_ids
        on
            member_spend.team = user_ids.team
            and member_spend.user_id = user_ids.user_id
    left join persons
        on
            member_spend.team = persons.team
            and coalesce(member_spend.user_email, user_ids.user_email) = persons.user_email
),

last_active_days as (
    select
        team,
        user_email,
        max(usage_date) as last_active_date
    from activity_days
    group by team, user_email
),

-- not in any directory group is 0; never answered is not known
directory_reads as (
    select team
    from current_snapshots
    where resource = 'directory_groups'
)

select
    everybody.team,
    everybody.user_email,
    persons.user_id,
    persons.name as user_name,
    persons.role,
    persons.is_removed,
    least(
        coalesce(cast(persons.first_seen_at as date), persons_in_events.first_seen_date),
        coalesce(persons_in_events.first_seen_date, cast(persons.first_seen_at as date))
    ) as first_seen_date,
    greatest(
        coalesce(cast(persons.last_seen_at as date), persons_in_events.last_seen_date),
        coalesce(persons_in_events.last_seen_date, cast(persons.last_seen_at as date))
    ) as last_seen_date,
    case
        when persons.user_email is null or persons.is_removed then null
        else coalesce(memberships_in_force.billing_group_id, {{ unassigned_group_id() }})
    end as current_billing_group_id,
    spend_rows.billing_tier,
    cast(spend_rows.effective_limit_usd as decimal(18, 2)) as effective_limit_usd,
    last_active_days.last_active_date,
    case
        when directory_reads.team is not null then cast(coalesce(directory_groups.directory_group_count, 0) as bigint)
    end as directory_group_count,
    directory_groups.directory_group_name
from everybody
left join persons
    on
        everybody.team = persons.team
        and everybody.user_email = persons.user_email
left join persons_in_events
    on
        everybody.team = persons_in_events.team
        and everybody.user_email = persons_in_events.user_email
        and (persons_in_events.has_usage or persons.user_email is null)
left join memberships_in_force
    on
        everybody.team = memberships_in_force.team
        and everybody.user_email = memberships_in_force.user_email
left join spend_rows
    on
        everybody.team = spend_rows.team
        and everybody.user_email = spend_rows.user_email
        and spend_rows.person_rank = 1
left join last_active_days
    on
        everybody.team = last_active_days.team
        and everybody.user_email = last_active_days.user_email
left join directory_reads
    on everybody.team = directory_reads.team
left join directory_groups
    on
        everybody.team = directory_groups.team
        and everybody.user_email = directory_groups.user_email
