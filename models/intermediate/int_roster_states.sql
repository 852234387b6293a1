-- Grain: one row per team, person and step: on the roster with a role, or not on it, in [valid_from_at, valid_to_at).
-- Each piece of evidence is good until the next one. Before the first there is no row: nobody can say.
{{ config(materialized='table') }}

with

observations as (
    select * from {{ ref('int_roster_observations') }}
),

stream_reads as (
    select * from {{ ref('stg_cursor_admin__stream_reads') }}
),

-- of one instant an answer counts last: it knows of the event
ordered as (
    select
        observations.*,
        row_number() over (
            partition by observations.team, observations.user_email
            order by
                observations.observed_at,
                case when observations.evidence = 'audit_log' then 0 else 1 end,
                observations.is_on_roster,
                observations.event_id nulls first
        ) as observation_number
    from observations
),

with_hindsight as (
    select
        ordered.*,
        min(case when ordered.told_role is not null then ordered.observation_number end) over (
            partition by ordered.team, ordered.user_email
            order by ordered.observation_number rows between 1 following and unbounded following
        ) as next_telling_number,
        sum(case when ordered.is_on_roster or ordered.evidence = 'audit_log' then 1 else 0 end) over (
            partition by ordered.team, ordered.user_email
            order by ordered.observation_number rows between unbounded preceding and current row
        ) as told_count
    from ordered
),

audit_coverage as (
    select
        team,
        {{ start_of_day('cast(min(window_start_at) as date)') }} as covered_from_at
    from stream_reads
    where resource = 'audit_logs' and is_accepted
    group by team
),

evidence as (
    select
        with_hindsight.team,
        with_hindsight.user_email,
        with_hindsight.observed_at,
        with_hindsight.observation_number,
        with_hindsight.is_on_roster,
        case
            when not with_hindsight.is_on_roster then null
            -- the words of spring 2026 do not say as what somebody was added
            else coalesce(with_hindsight.role, next_telling.told_role, 'member')
        end as role,
        with_hindsight.is_renamed
    from with_hindsight
    left join ordered as next_telling
        on
            with_hindsight.team = next_telling.team
            and with_hindsight.user_email = next_telling.user_email
            and with_hindsight.next_telling_number = next_telling.observation_number
    union all
    -- whoever is removed was there before, as far back as the audit log would show them coming
    select
        with_hindsight.team,
        with_hindsight.user_email,
        audit_coverage.covered_from_at as observed_at,
        0 as observation_number,
        true as is_on_roster,
        'member' as role,
        false as is_renamed
    from with_hindsight
    inner join audit_coverage on with_hindsight.team = audit_coverage.team
    where
        with_hindsight.told_count = 1
        and with_hindsight.evidence = 'audit_log'
        and not with_hindsight.is_on_roster
        and audit_coverage.covered_from_at < with_hindsight.observed_at
),

-- of one instant the last piece of evidence stands
evidence_in_order as (
    select
        evidence.*,
        lead(evidence.observed_at) over (
            partition by evidence.team, evidence.user_email order by evidence.observed_at, evidence.observation_number
        ) as next_observed_at
    from evidence
),

settled as (
    select
        team,
        user_email,
        observed_at,
        is_on_roster,
        role,
        is_renamed,
        row_number() over (partition by team, user_email order by observed_at) as step_number,
        lag(is_on_roster) over (partition by team, user_email order by observed_at) as was_on_roster,
        lag(role) over (partition by team, user_email order by observed_at) as previous_role
    from evidence_in_order
    where next_observed_at is null or next_observed_at > observed_at
)

select
    team,
    user_email,
    observed_at as valid_from_at,
    coalesce(
        lead(observed_at) over (partition by team, user_email order by observed_at), {{ end_of_time() }}
    ) as valid_to_at,
    is_on_roster,
    role,
    is_renamed,
    previous_role
from settled
where
    step_number = 1
    or is_on_roster <> was_on_roster
    or role is distinct from previous_role
