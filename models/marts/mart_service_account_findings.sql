-- Grain: one row per team, service account and finding: things its owner, or whoever should be, has to put right.
{{ config(materialized='table') }}

with

service_accounts as (
    select * from {{ ref('dim_service_accounts') }}
),

daily_charges as (
    select * from {{ ref('fct_daily_charges') }}
),

usage_events as (
    select * from {{ ref('fct_usage_events') }}
),

audit_events as (
    select * from {{ ref('stg_cursor_admin__audit_events') }}
),

seed_rows as (
    select * from {{ ref('stg_seeds__service_accounts') }}
),

dated_seed_rows as (
    {{ dated_rows('seed_rows', ['service_account_id'], ['billing_group_id', 'owner']) }}
),

-- since when a row has said what it says now: until then another one named an owner, or a group
seed_history as (
    select
        team,
        service_account_id,
        min(valid_from_date) as first_valid_from_date,
        max(case when owner is not null then valid_to_date end) as owned_to_date,
        max(case when billing_group_id is not null then valid_to_date end) as grouped_to_date
    from dated_seed_rows
    where valid_from_date <= cast({{ published_at() }} as date)
    group by team, service_account_id
),

key_rotations as (
    select
        team,
        service_account_id,
        cast(max(occurred_at) as date) as rotated_date
    from audit_events
    where
        event_type = 'api_key'
        and service_account_action = 'rotate'
    group by team, service_account_id
),

costs as (
    select
        team,
        service_account_id,
        sum(case when charge_month = {{ this_month() }} then usage_cents else 0 end) as this_month_usage_cents,
        sum(case when charge_month = {{ this_month() }} then billed_cents else 0 end) as this_month_billed_cents,
        sum(case when charge_month = {{ last_month() }} then usage_cents else 0 end) as last_month_usage_cents,
        sum(case when charge_month = {{ last_month() }} then billed_cents else 0 end) as last_month_billed_cents
    from daily_charges
    where service_account_id is not null
    group by team, service_account_id
),

-- automation is what runs as a service account and what an automation runs as a person
automation_costs as (
    select
        team,
        sum(usage_cents) as usage_cents
    from daily_charges
    where
        charge_month in ({{ this_month() }}, {{ last_month() }})
        and charge_type = 'usage'
        and (service_account_id is not null or surface = 'automation')
    group by team
),

-- the day of the archiving needs the instant; of every other day its total says enough
uses_after_archive as (
    select
        team,
        service_account_id,
        min(used_date) as first_date
    from (
        select
            service_accounts.team,
            service_accounts.service_account_id,
            usage_events.usage_date as used_date
        from service_accounts
        inner join usage_events
            on
                service_accounts.team = usage_events.team
                and service_accounts.service_account_id = usage_events.service_account_id
                and cast(service_accounts.archived_at as date) = usage_events.usage_date
                and service_accounts.archived_at < usage_events.occurred_at
        union all
        select
            service_accounts.team,
            service_accounts.service_account_id,
            daily_charges.charge_date as used_date
        from service_accounts
        inner join daily_charges
            on
                service_accounts.team = daily_charges.team
                and service_accounts.service_account_id = daily_charges.service_account_id
                and cast(service_accounts.archived_at as date) < daily_charges.charge_date
    ) as uses
    group by team, service_account_id
),

accounts as (
    select
        service_accounts.team,
        service_accounts.service_account_id,
        service_accounts.owner,
        service_accounts.current_billing_group_id,
        service_accounts.archived_at,
        service_accounts.created_at,
        service_accounts.first_used_date,
        service_accounts.key_rotation_days,
        seed_history.owned_to_date,
        seed_history.grouped_to_date,
        seed_history.first_valid_from_date,
        uses_after_archive.first_date as first_date_after_archive,
        -- what counts as the last change of the key: the later of seed and audit log, else the creation
        coalesce(
            greatest(
                coalesce(service_accounts.key_rotated_date, key_rotations.rotated_date),
                coalesce(key_rotations.rotated_date, service_accounts.key_rotated_date)
            ),
            cast(service_accounts.created_at as date)
        ) as rotated_date,
        least(
            coalesce(cast(service_accounts.created_at as date), service_accounts.first_used_date),
            coalesce(service_accounts.first_used_date, cast(service_accounts.created_at as date))
        ) as known_from_date,
        -- an archived account needs nothing any more, unless it costs something still
        service_accounts.archived_at is null as is_in_service,
        service_accounts.archived_at is null
        or coalesce(costs.this_month_usage_cents, 0) <> 0
        or coalesce(costs.last_month_usage_cents, 0) <> 0 as needs_somebody,
        {{ cents('coalesce(costs.this_month_usage_cents, 0)') }} as this_month_usage_cents,
        {{ cents('coalesce(costs.this_month_billed_cents, 0)') }} as this_month_billed_cents,
        {{ cents('coalesce(costs.last_month_usage_cents, 0)') }} as last_month_usage_cents,
        {{ cents('coalesce(costs.last_month_billed_cents, 0)') }} as last_month_billed_cents,
        {{ cents('automation_costs.usage_cents') }} as automation_cents
    from service_accounts
    left join seed_history
        on
            service_accounts.team = seed_history.team
            and service_accounts.service_account_id = seed_history.service_account_id
    left join key_rotations
        on
            service_accounts.team = key_rotations.team
            and service_accounts.service_account_id = key_rotations.service_account_id
    left join costs
        on
            service_accounts.team = costs.team
            and service_accounts.service_account_id = costs.service_account_id
    left join automation_costs
        on service_accounts.team = automation_costs.team
    left join uses_after_archive
        on
            service_accounts.team = uses_after_archive.team
            and service_accounts.service_account_id = uses_after_archive.service_account_id
),

findings as (
    select
        team,
        service_account_id,
        'no_owner' as finding,
        coalesce(owned_to_date, known_from_date) as since_date
    from accounts
    where
        owner is null
        and needs_somebody
    union all
    select
        team,
        service_account_id,
        'no_group' as finding,
        coalesce(grouped_to_date, known_from_date) as since_date
    from accounts
    where
        current_billing_group_id = {{ unassigned_group_id() }}
        and needs_somebody
    union all
    select
        team,
        service_account_id,
        'rotation_overdue' as finding,
        cast({{ dbt.dateadd('day', 'key_rotation_days + 1', 'rotated_date') }} as date) as since_date
    from accounts
    where
        is_in_service
        and cast({{ dbt.dateadd('day', 'key_rotation_days', 'rotated_date') }} as date)
        < cast({{ published_at() }} as date)
    union all
    -- a seed row that is not valid yet announces an account, and a date that was left open is no date
    select
        team,
        service_account_id,
        'never_used' as finding,
        coalesce(
            cast(created_at as date),
            case when first_valid_from_date > {{ beginning_of_dates() }} then first_valid_from_date end
        ) as since_date
    from accounts
    where
        is_in_service
        and first_used_date is null
        and (created_at is not null or first_valid_from_date is not null)
    union all
    select
        team,
        service_account_id,
        'used_after_archive' as finding,
        first_date_after_archive as since_date
    from accounts
    where first_date_after_archive is not null
    union all
    select
        team,
        service_account_id,
        'carries_more_than_half_of_automation_cost' as finding,
        greatest(first_used_date, {{ last_month() }}) as since_date
    from accounts
    where
        automation_cents > 0
        and (this_month_usage_cents + last_month_usage_cents) * 2 > automation_cents
)

select
    findings.team,
    findings.service_account_id,
    findings.finding,
    findings.since_date,
    service_accounts.service_account_name,
    service_accounts.owner,
    service_accounts.purpose,
    service_accounts.current_billing_group_id,
    service_accounts.last_used_date,
    service_accounts.archived_at,
    accounts.this_month_usage_cents,
    accounts.this_month_billed_cents,
    accounts.last_month_usage_cents,
    accounts.last_month_billed_cents,
    case
        when accounts.automation_cents > 0
            then cast(
                (accounts.this_month_usage_cents + accounts.last_month_usage_cents) / accounts.automation_cents
                as decimal(18, 6)
            )
    end as automation_share
from findings
inner join accounts
    on
        findings.team = accounts.team
        and findings.service_account_id = accounts.service_account_id
inner join service_accounts
    on
        findings.team = service_accounts.team
        and findings.service_account_id = service_accounts.service_account_id
