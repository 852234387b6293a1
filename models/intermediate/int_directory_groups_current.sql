-- Grain: one row per team and directory group of the newest accepted answer. Nothing where the route cannot be read.
with

directory_groups as (
    select * from {{ ref('stg_cursor_admin__directory_groups') }}
),

reads as (
    select
        team,
        snapshot_id,
        row_number() over (partition by team order by read_at desc, read_number desc) as newest_first
    from {{ ref('stg_cursor_admin__snapshot_reads') }}
    where
        resource = 'directory_groups'
        and is_accepted
)

select
    directory_groups.team,
    directory_groups.directory_group_id,
    directory_groups.monthly_limit_usd
from directory_groups
inner join reads
    on
        directory_groups.team = reads.team
        and directory_groups.snapshot_id = reads.snapshot_id
        and reads.newest_first = 1
