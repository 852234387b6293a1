-- Grain: one row per team, billing group and first day of a name. Days before the first known name bear that name.
-- A day bears the name of the last snapshot at or before its end, so that renaming a group never renames the past.
with

reads as (
    select * from {{ ref('stg_cursor_admin__snapshot_reads') }}
),

billing_groups as (
    select * from {{ ref('stg_cursor_admin__billing_groups') }}
),

sightings as (
    select
        billing_groups.team,
        billing_groups.billing_group_id,
        billing_groups.billing_group_name,
        cast(reads.read_at as date) as seen_date,
        row_number() over (
            partition by billing_groups.team, billing_groups.billing_group_id, cast(reads.read_at as date)
            -- an answer about an earlier cycle is read on the same night, and may show an earlier name
            order by coalesce(reads.is_current_cycle, true) desc, reads.read_at desc, reads.read_number desc
        ) as newest_first
    from billing_groups
    inner join reads
        on
            billing_groups.team = reads.team
            and billing_groups.snapshot_id = reads.snapshot_id
            and reads.resource = 'billing_groups'
            and reads.is_accepted
    where not billing_groups.is_unassigned
),

days as (
    select
        team,
        billing_group_id,
        billing_group_name,
        seen_date,
        lag(billing_group_name) over (
            partition by team, billing_group_id order by seen_date
        ) as previous_name,
        row_number() over (partition by team, billing_group_id order by seen_date) as day_number
    from sightings
    where newest_first = 1
),

changes as (
    select
        team,
        billing_group_id,
        billing_group_name,
        case when day_number = 1 then {{ beginning_of_dates() }} else seen_date end as valid_from_date
    from days
    where day_number = 1 or billing_group_name is distinct from previous_name
),

-- the two rows that stand for cost without a group always bear the same name
names as (
    select * from changes
    union all
    select
        team,
        {{ unassigned_group_id() }} as billing_group_id,
        'Unassigned' as billing_group_name,
        {{ beginning_of_dates() }} as valid_from_date
    from {{ ref('stg_cursor_admin__teams') }}
    union all
    select
        team,
        {{ unattributed_group_id() }} as billing_group_id,
        'Unattributed' as billing_group_name,
        {{ beginning_of_dates() }} as valid_from_date
    from {{ ref('stg_cursor_admin__teams') }}
)

select
    team,
    billing_group_id,
    billing_group_name as name,
    valid_from_date,
    coalesce(
        lead(valid_from_date) over (partition by team, billing_group_id order by valid_from_date),
        {{ end_of_dates() }}
    ) as valid_to_date
from names
