-- Grain: one row per team and service account: behind a usage event, named in the seed `service_accounts`, or created
-- or archived by the audit log, which alone knows of accounts that nobody ever used.
{{ config(materialized='table') }}

with

daily_charges as (
    select * from {{ ref('fct_daily_charges') }}
),

usage_events as (
    select * from {{ ref('fct_usage_events') }}
),

seed_rows as (
    select * from {{ ref('stg_seeds__service_accounts') }}
),

audit_events as (
    select * from {{ ref('stg_cursor_admin__audit_events') }}
    where
        event_type = 'service_account'
        and service_account_id is not null
),

dated_seed_rows as (
    {{ dated_rows(
        'seed_rows',
        ['service_account_id'],
        ['billing_group_id', 'service_account_name', 'owner', 'purpose', 'key_rotated_on', 'rotation_days']
    ) }}
),

seed_rows_in_force as (
    select *
    from dated_seed_rows
    where
        valid_from_date <= cast({{ published_at() }} as date)
        and valid_to_date > cast({{ published_at() }} as date)
),

accounts_in_events as (
    select
        team,
        service_account_id,
        min(charge_date) as first_used_date,
        max(charge_date) as last_used_date
    from daily_charges
    where service_account_id is not null
    group by team, service_account_id
),

-- the API sends the name with the events: the one of the last day of use
names_in_events as (
    select
        usage_events.team,
        usage_events.service_account_id,
        max(usage_events.service_account_name) as service_account_name
    from usage_events
    inner join accounts_in_events
        on
            usage_events.team = accounts_in_events.team
            and usage_events.service_account_id = accounts_in_events.service_account_id
            and usage_events.usage_date = accounts_in_events.last_used_date
    group by usage_events.team, usage_events.service_account_id
),

accounts_in_audit_log as (
    select
        team,
        service_account_id,
        min(case when service_account_action = 'create' then occurred_at end) as created_at,
        max(case when service_account_action = 'create' then occurred_at end) as last_created_at,
        max(case when service_account_action = 'archive' then occurred_at end) as last_archived_at,
        max(occurred_at) as last_changed_at
    from audit_events
    group by team, service_account_id
),

names_in_audit_log as (
    select
        audit_events.team,
        audit_events.service_account_id,
        max(audit_events.service_account_name) as service_account_name
    from audit_events
    inner join accounts_in_audit_log
        on
            audit_events.team = accounts_in_audit_log.team
            and audit_events.service_account_id = accounts_in_audit_log.service_account_id
            and audit_events.occurred_at = accounts_in_audit_log.last_changed_at
    group by audit_events.team, audit_events.service_account_id
),

accounts as (
    select
        team,
        service_account_id
    from accounts_in_events
    union
    select
        team,
        service_account_id
    from dated_seed_rows
    union
    select
        team,
        service_account_id
    from accounts_in_audit_log
)

select
    accounts.team,
    accounts.service_account_id,
    coalesce(
        seed_rows_in_force.service_account_name,
        names_in_events.service_account_name,
        names_in_audit_log.service_account_name
    ) as service_account_name,
    seed_rows_in_force.owner,
    seed_rows_in_force.purpose,
    coalesce(seed_rows_in_force.billing_group_id, {{ unassigned_group_id() }}) as current_billing_group_id,
    accounts_in_events.first_used_date,
    accounts_in_events.last_used_date,
    seed_rows_in_force.key_rotated_on as key_rotated_date,
    cast(seed_rows_in_force.rotation_days as bigint) as key_rotation_days,
    accounts_in_audit_log.created_at,
    case
        when
            accounts_in_audit_log.last_archived_at
            >= coalesce(accounts_in_audit_log.last_created_at, accounts_in_audit_log.last_archived_at)
            then accounts_in_audit_log.last_archived_at
    end as archived_at
from accounts
left join seed_rows_in_force
    on
        accounts.team = seed_rows_in_force.team
        and accounts.service_account_id = seed_rows_in_force.service_account_id
left join accounts_in_events
    on
        accounts.team = accounts_in_events.team
        and accounts.service_account_id = accounts_in_events.service_account_id
left join names_in_events
    on
        accounts.team = names_in_events.team
        and accounts.service_account_id = names_in_events.service_account_id
left join accounts_in_audit_log
    on
        accounts.team = accounts_in_audit_log.team
        and accounts.service_account_id = accounts_in_audit_log.service_account_id
left join names_in_audit_log
    on
        accounts.team = names_in_audit_log.team
        and accounts.service_account_id = names_in_audit_log.service_account_id
