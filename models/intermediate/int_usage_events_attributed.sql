-- Grain: one row per event of a day to build, with the billing group that pays for it, and why.
-- Every event lands on exactly one group: a service account's by its seed row, a person's by the interval that holds
-- the instant, after a departure by the group then in force. What has no owner is a row with a name.
with

usage_events as (
    select * from {{ ref('int_usage_events_keyed') }}
),

persons as (
    select * from {{ ref('int_persons') }}
),

memberships as (
    select * from {{ ref('int_group_memberships_resolved') }}
),

departures as (
    select * from {{ ref('int_person_departures') }}
),

mappings as (
    select * from {{ ref('int_service_account_mappings') }}
),

group_names as (
    select * from {{ ref('int_billing_group_names') }}
),

events_with_evidence as (
    select
        usage_events.*,
        persons.user_id,
        persons.user_email is not null as is_known_person,
        memberships.billing_group_id as membership_group_id,
        memberships.interval_method,
        departures.billing_group_id as departure_group_id,
        mappings.billing_group_id as mapped_group_id
    from usage_events
    left join persons
        on usage_events.team = persons.team and usage_events.user_email = persons.user_email
    left join memberships
        on
            usage_events.team = memberships.team
            and usage_events.user_email = memberships.user_email
            -- half-open: the instant of a move belongs to the new group
            and usage_events.occurred_at >= memberships.valid_from_at
            and usage_events.occurred_at < memberships.valid_to_at
    left join departures
        on
            usage_events.team = departures.team
            and usage_events.user_email = departures.user_email
            and usage_events.occurred_at >= departures.departed_at
            and usage_events.occurred_at < departures.returned_at
    left join mappings
        on
            usage_events.team = mappings.team
            and usage_events.service_account_id = mappings.service_account_id
            and usage_events.occurred_at >= mappings.valid_from_at
            and usage_events.occurred_at < mappings.valid_to_at
),

placed_events as (
    select
        events_with_evidence.*,
        case
            when events_with_evidence.service_account_id is not null then 'service_account'
            when events_with_evidence.user_email is not null then 'member'
            else 'unattributed'
        end as actor_type,
        case
            when
                events_with_evidence.service_account_id is not null
                then coalesce(events_with_evidence.mapped_group_id, {{ unassigned_group_id() }})
            when events_with_evidence.user_email is null then {{ unattributed_group_id() }}
            else
                coalesce(
                    events_with_evidence.membership_group_id,
                    events_with_evidence.departure_group_id,
                    {{ unassigned_group_id() }}
                )
        end as billing_group_id,
        case
            when
                events_with_evidence.service_account_id is not null and events_with_evidence.mapped_group_id is not null
                then 'service_account_map'
            when events_with_evidence.service_account_id is not null then 'service_account_unmapped'
            when events_with_evidence.user_email is null then 'unattributed'
            when
                events_with_evidence.membership_group_id is not null
                and events_with_evidence.interval_method = 'reported'
                then 'reported_interval'
            when events_with_evidence.membership_group_id is not null then 'inferred_interval'
            when events_with_evidence.departure_group_id is not null then 'last_known_group'
            when events_with_evidence.is_known_person then 'unassigned_gap'
            else 'unknown_user'
        end as attribution_method
    from events_with_evidence
)

select
    placed_events.team,
    placed_events.usage_event_id,
    placed_events.occurred_at,
    placed_events.usage_date,
    placed_events.status,
    placed_events.actor_type,
    placed_events.user_email,
    placed_events.user_id,
    placed_events.service_account_id,
    placed_events.service_account_name,
    placed_events.billing_group_id,
    -- a group that only a seed names has no name but its id
    coalesce(group_names.name, placed_events.billing_group_id) as billing_group_name,
    placed_events.attribution_method,
    placed_events.model,
    placed_events.kind,
    placed_events.is_max_mode,
    placed_events.is_headless,
    placed_events.conversation_id,
    placed_events.cloud_agent_id,
    placed_events.automation_id,
    placed_events.input_tokens,
    placed_events.output_tokens,
    placed_events.cache_write_tokens,
    placed_events.cache_read_tokens,
    placed_events.model_cents,
    placed_events.token_fee_cents,
    placed_events.charged_cents
from placed_events
left join group_names
    on
        placed_events.team = group_names.team
        and placed_events.billing_group_id = group_names.billing_group_id
        and placed_events.usage_date >= group_names.valid_from_date
        and placed_events.usage_date < group_names.valid_to_date
