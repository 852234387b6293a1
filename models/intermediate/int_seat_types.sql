-- Grain: one row per team, person and first day of a seat type; who has no row holds a standard seat.
-- The seed says what a seat is. Where it is silent, the tier that spend answers show counts from the day they first
-- showed it: never earlier, as yesterday's estimate must not change with tonight's answer.
with

seat_types as (
    select * from {{ ref('stg_seeds__seat_types') }}
),

seat_prices as (
    select * from {{ ref('int_seat_prices') }}
),

reads as (
    select * from {{ ref('stg_cursor_admin__snapshot_reads') }}
    where resource = 'member_spend' and is_accepted
),

member_spend as (
    select * from {{ ref('stg_cursor_admin__member_spend') }}
    where billing_tier is not null and user_email is not null
),

dated_types as (
    {{ dated_rows('seat_types', ['user_email'], ['seat_type']) }}
),

-- in the spelling of the price list; a type is priced from its first day on
priced_types as (
    select
        team,
        lower(seat_type) as billing_tier,
        min(seat_type) as seat_type,
        min(valid_from_date) as priced_from_date
    from seat_prices
    group by team, lower(seat_type)
),

teams_with_prices as (
    select distinct team
    from seat_prices
),

-- of one day the last answer counts; of two ids that share an e-mail, the tier that comes first in the alphabet
tiers_by_day as (
    select
        member_spend.team,
        member_spend.user_email,
        member_spend.billing_tier,
        cast(reads.read_at as date) as seen_date,
        row_number() over (
            partition by member_spend.team, member_spend.user_email, cast(reads.read_at as date)
            order by reads.read_at desc, reads.read_number desc, member_spend.billing_tier asc
        ) as newest_first
    from member_spend
    inner join reads
        on
            member_spend.team = reads.team
            and member_spend.snapshot_id = reads.snapshot_id
),

tier_changes as (
    select
        team,
        user_email,
        billing_tier,
        seen_date,
        lag(billing_tier) over (partition by team, user_email order by seen_date) as previous_tier
    from tiers_by_day
    where newest_first = 1
),

tiers as (
    select
        team,
        user_email,
        billing_tier,
        seen_date as valid_from_date,
        coalesce(
            lead(seen_date) over (partition by team, user_email order by seen_date), {{ end_of_dates() }}
        ) as valid_to_date
    from tier_changes
    where billing_tier is distinct from previous_tier
),

-- a tier without a price is no seat type: an undocumented field must not open a hole in the price list
known_tiers as (
    select
        tiers.team,
        tiers.user_email,
        coalesce(priced_types.seat_type, tiers.billing_tier) as seat_type,
        greatest(
            tiers.valid_from_date, coalesce(priced_types.priced_from_date, tiers.valid_from_date)
        ) as valid_from_date,
        tiers.valid_to_date
    from tiers
    left join priced_types
        on
            tiers.team = priced_types.team
            and tiers.billing_tier = priced_types.billing_tier
    left join teams_with_prices on tiers.team = teams_with_prices.team
    where
        priced_types.seat_type is not null
        or (teams_with_prices.team is null and tiers.billing_tier in ('standard', 'premium'))
),

first_seed_dates as (
    select
        team,
        user_email,
        min(valid_from_date) as valid_from_date
    from dated_types
    group by team, user_email
),

tiers_before_the_seed as (
    select
        known_tiers.team,
        known_tiers.user_email,
        known_tiers.seat_type,
        known_tiers.valid_from_date,
        least(
            known_tiers.valid_to_date, coalesce(first_seed_dates.valid_from_date, {{ end_of_dates() }})
        ) as valid_to_date
    from known_tiers
    left join first_seed_dates
        on
            known_tiers.team = first_seed_dates.team
            and known_tiers.user_email = first_seed_dates.user_email
),

told_types as (
    select
        team,
        user_email,
        seat_type,
        valid_from_date,
        valid_to_date
    from dated_types
    union all
    select
        team,
        user_email,
        seat_type,
        valid_from_date,
        valid_to_date
    from tiers_before_the_seed
    where valid_from_date < valid_to_date
),

untold_days as (
    select
        team,
        user_email,
        {{ beginning_of_dates() }} as valid_from_date,
        min(valid_from_date) as valid_to_date
    from told_types
    group by team, user_email
    union all
    select
        team,
        user_email,
        valid_to_date as valid_from_date,
        coalesce(
            lead(valid_from_date) over (partition by team, user_email order by valid_from_date), {{ end_of_dates() }}
        ) as valid_to_date
    from told_types
)

select
    team,
    user_email,
    seat_type,
    valid_from_date,
    valid_to_date
from told_types
union all
select
    team,
    user_email,
    {{ standard_seat_type() }} as seat_type,
    valid_from_date,
    valid_to_date
from untold_days
where valid_from_date < valid_to_date
