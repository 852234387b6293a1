-- Grain: one row per team, person and interval; the intervals of a person never overlap.
-- The stints of all user ids that ever shared the person's e-mail are laid over each other. Where they overlap, which
-- the API says cannot happen, the latest joined_at wins; ties go to the lowest group id.
{{ config(materialized='table') }}

with

users as (
    select * from {{ ref('int_users_observed') }}
),

memberships as (
    select * from {{ ref('int_group_memberships_unioned') }}
),

stints as (
    select
        users.team,
        users.user_email,
        memberships.user_id,
        memberships.billing_group_id,
        coalesce(memberships.joined_at, memberships.valid_from_at) as joined_at,
        memberships.valid_from_at,
        memberships.valid_to_at,
        memberships.interval_method,
        memberships.observed_from_at,
        memberships.observed_to_at
    from memberships
    inner join users on memberships.team = users.team and memberships.user_id = users.user_id
),

instants as (
    select
        team,
        user_email,
        valid_from_at as instant_at
    from stints
    union
    select
        team,
        user_email,
        valid_to_at as instant_at
    from stints
),

-- between two neighbouring instants nothing changes
slices as (
    select
        team,
        user_email,
        instant_at as slice_from_at,
        lead(instant_at) over (partition by team, user_email order by instant_at) as slice_to_at
    from instants
),

candidates as (
    select
        stints.*,
        slices.slice_from_at,
        slices.slice_to_at,
        row_number() over (
            partition by slices.team, slices.user_email, slices.slice_from_at
            order by stints.joined_at desc, stints.billing_group_id asc, stints.user_id desc
        ) as precedence
    from slices
    inner join stints
        on
            slices.team = stints.team
            and slices.user_email = stints.user_email
            and slices.slice_from_at >= stints.valid_from_at
            and slices.slice_to_at <= stints.valid_to_at
),

-- slices of one stint that touch are one interval
chained as (
    select
        candidates.*,
        case
            when lag(candidates.slice_to_at) over (
                partition by
                    candidates.team,
                    candidates.user_email,
                    candidates.user_id,
                    candidates.billing_group_id,
                    candidates.joined_at
                order by candidates.slice_from_at
            ) = candidates.slice_from_at then 0
            else 1
        end as begins_interval
    from candidates
    where candidates.precedence = 1
),

numbered as (
    select
        chained.*,
        sum(chained.begins_interval) over (
            partition by chained.team, chained.user_email, chained.user_id, chained.billing_group_id, chained.joined_at
            order by chained.slice_from_at
            rows between unbounded preceding and current row
        ) as interval_number
    from chained
)

select
    team,
    user_email,
    user_id,
    billing_group_id,
    joined_at,
    min(slice_from_at) as valid_from_at,
    max(slice_to_at) as valid_to_at,
    max(interval_method) as interval_method,
    min(observed_from_at) as observed_from_at,
    max(observed_to_at) as observed_to_at
from numbered
group by team, user_email, user_id, billing_group_id, joined_at, interval_number
