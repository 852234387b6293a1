-- A tier that Cursor shows and nobody has priced counts as a standard seat. The field is undocumented, so that is a
-- warning and no error, since 2026-11; an entry in the seed `seat_types` for these people, or a price, settles it.
{{ config(severity='warn') }}

with

newest_reads as (
    select
        team,
        snapshot_id,
        row_number() over (partition by team order by read_at desc, read_number desc) as newest_first
    from {{ ref('stg_cursor_admin__snapshot_reads') }}
    where resource = 'member_spend' and is_accepted
),

shown_tiers as (
    select
        member_spend.team,
        member_spend.user_email,
        member_spend.billing_tier
    from {{ ref('stg_cursor_admin__member_spend') }} as member_spend
    inner join newest_reads
        on
            member_spend.team = newest_reads.team
            and member_spend.snapshot_id = newest_reads.snapshot_id
            and newest_reads.newest_first = 1
    where member_spend.billing_tier is not null
),

-- whom the seed settles today needs nobody
settled_people as (
    select
        teams.team,
        seat_types.user_email
    from {{ ref('stg_cursor_admin__teams') }} as teams
    inner join {{ ref('stg_seeds__seat_types') }} as seat_types
        on teams.team = coalesce(seat_types.team, teams.team)
    where seat_types.valid_from_date <= cast({{ published_at() }} as date)
),

priced_tiers as (
    select
        team,
        lower(seat_type) as billing_tier
    from {{ ref('int_seat_prices') }}
)

select
    shown_tiers.team,
    shown_tiers.billing_tier,
    count(*) as person_count
from shown_tiers
where
    not exists (
        select 1 from settled_people
        where
            shown_tiers.team = settled_people.team
            and shown_tiers.user_email = settled_people.user_email
    )
    and not exists (
        select 1 from priced_tiers
        where
            shown_tiers.team = priced_tiers.team
            and shown_tiers.billing_tier = priced_tiers.billing_tier
    )
    -- what nobody knows counts as standard, so that is never wrong; without any price the other tier is known by name
    and shown_tiers.billing_tier <> 'standard'
    and (
        shown_tiers.billing_tier <> 'premium'
        or exists (
            select 1 from priced_tiers
            where shown_tiers.team = priced_tiers.team
        )
    )
group by shown_tiers.team, shown_tiers.billing_tier
