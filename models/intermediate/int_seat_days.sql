-- Grain: one row per team and covered day that is over: the days whose seats can be known.
-- A day is over when something was read after its last instant. Its fingerprint covers everything that decides its
-- seats; it is a running sum over what begins and ends, so that it takes no row per person and day.
{{ config(materialized='table') }}

with

usage_days as (
    select * from {{ ref('int_usage_days_covered') }}
),

load_windows as (
    select * from {{ ref('stg_cursor_admin__load_windows') }}
),

snapshot_reads as (
    select * from {{ ref('stg_cursor_admin__snapshot_reads') }}
),

stream_reads as (
    select * from {{ ref('stg_cursor_admin__stream_reads') }}
),

seats_placed as (
    select * from {{ ref('int_seats_placed') }}
),

committed_seats as (
    select * from {{ ref('int_committed_seats') }}
),

reads as (
    select
        team,
        read_at
    from load_windows
    union all
    select
        team,
        read_at
    from snapshot_reads
    union all
    select
        team,
        read_at
    from stream_reads
),

newest_reads as (
    select
        team,
        max(read_at) as read_at
    from reads
    group by team
),

roster_days as (
    select distinct
        team,
        cast(read_at as date) as roster_date
    from snapshot_reads
    where resource = 'members' and is_accepted
),

first_roster_days as (
    select
        team,
        min(roster_date) as first_roster_date
    from roster_days
    group by team
),

seat_terms as (
    select
        team,
        valid_from_date,
        valid_to_date,
        {{ hash_number(row_text([
            "'seat'", 'user_email', 'user_id', 'seat_status', 'seat_type', 'billing_group_id', 'billing_group_name',
            'seat_price_status', 'monthly_price_usd',
        ])) }} as term_hash
    from seats_placed
    union all
    select
        team,
        valid_from_date,
        valid_to_date,
        {{ hash_number(row_text([
            "'committed'", 'seat_type', 'seat_count', 'seat_price_status', 'monthly_price_usd',
        ])) }} as term_hash
    from committed_seats
),

beginnings_and_ends as (
    select
        team,
        valid_from_date as change_date,
        term_hash as hash_change
    from seat_terms
    union all
    select
        team,
        valid_to_date as change_date,
        -term_hash as hash_change
    from seat_terms
),

hash_changes as (
    select
        team,
        change_date,
        sum(hash_change) as hash_change
    from beginnings_and_ends
    group by team, change_date
),

hash_runs as (
    select
        team,
        change_date as valid_from_date,
        coalesce(lead(change_date) over (partition by team order by change_date), {{ end_of_dates() }})
            as valid_to_date,
        sum(hash_change) over (
            partition by team order by change_date rows between unbounded preceding and current row
        ) as terms_hash
    from hash_changes
)

select
    usage_days.team,
    usage_days.usage_date as seat_date,
    case
        when roster_days.roster_date is not null then 'roster_snapshot'
        when first_roster_days.first_roster_date < usage_days.usage_date then 'carried_forward'
        else 'audit_log'
    end as seat_evidence,
    cast(coalesce(hash_runs.terms_hash, 0) as {{ dbt.type_string() }}) as seat_fingerprint
from usage_days
inner join newest_reads
    on
        usage_days.team = newest_reads.team
        and {{ last_instant_of('usage_days.usage_date') }} < newest_reads.read_at
left join roster_days
    on
        usage_days.team = roster_days.team
        and usage_days.usage_date = roster_days.roster_date
left join first_roster_days on usage_days.team = first_roster_days.team
left join hash_runs
    on
        usage_days.team = hash_runs.team
        and usage_days.usage_date >= hash_runs.valid_from_date
        and usage_days.usage_date < hash_runs.valid_to_date
