-- Grain: one row per billing cycle, billing group and day that the last details of the group show.
with

controls as (
    select * from {{ ref('int_control_reads') }}
    where resource = 'billing_group_details'
),

daily_spend as (
    select * from {{ ref('stg_cursor_admin__billing_group_daily_spend') }}
    -- the members' days are parts of the group's
    where user_id is null and spend_cents is not null
),

unassigned_groups as (
    select distinct
        team,
        billing_group_id
    from {{ ref('stg_cursor_admin__billing_groups') }}
    where is_unassigned
)

select
    controls.team,
    controls.cycle_start_at,
    -- the reserved group bears one id, whatever the API calls it
    case
        when unassigned_groups.billing_group_id is not null then {{ unassigned_group_id() }}
        else daily_spend.billing_group_id
    end as billing_group_id,
    daily_spend.spend_date,
    daily_spend.spend_cents
from controls
inner join daily_spend
    on
        controls.team = daily_spend.team
        and controls.snapshot_id = daily_spend.snapshot_id
left join unassigned_groups
    on
        daily_spend.team = unassigned_groups.team
        and daily_spend.billing_group_id = unassigned_groups.billing_group_id
