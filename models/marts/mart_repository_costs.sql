-- Grain: one row per team, UTC day, kind of actor, person and repository.
-- A person's whole day (usage and seat) is split by the lines AI wrote for them that day; whatever no line can place
-- stays on `(no repository)`. Written anew every night from day totals: a commit can be seen, and so move cost between
-- repositories, long after its day was last built.
{{ config(materialized='table') }}

with

daily_charges as (
    select * from {{ ref('fct_daily_charges') }}
),

ai_lines as (
    select * from {{ ref('int_ai_lines_by_day') }}
),

stream_days as (
    select * from {{ ref('int_stream_days_read') }}
),

current_snapshots as (
    select * from {{ ref('int_current_snapshots') }}
),

blocklist_entries as (
    select * from {{ ref('stg_cursor_admin__repository_blocklists') }}
),

blocklist_reads as (
    select
        team,
        snapshot_id
    from current_snapshots
    where resource = 'repository_blocklists'
),

blocked_repositories as (
    select distinct
        blocklist_entries.team,
        blocklist_entries.repository_name
    from blocklist_entries
    inner join blocklist_reads
        on
            blocklist_entries.team = blocklist_reads.team
            and blocklist_entries.snapshot_id = blocklist_reads.snapshot_id
    where
        blocklist_entries.is_blocked
        and blocklist_entries.repository_name is not null
),

charges_by_person as (
    select
        team,
        charge_date,
        charge_month,
        actor_type,
        user_email,
        {{ cents('sum(usage_cents)') }} as usage_cents,
        {{ cents("sum(case when charge_type = 'usage' then billed_cents else 0 end)") }} as billed_usage_cents,
        {{ cents("sum(case when charge_type = 'seat' then billed_cents else 0 end)") }} as seat_cents,
        {{ cents("sum(case when charge_type = 'adjustment' then billed_cents else 0 end)") }} as adjustment_cents
    from daily_charges
    group by team, charge_date, charge_month, actor_type, user_email
),

-- a day without lines has one line of weight 1: all of it
charges_by_repository as (
    select
        charges_by_person.*,
        coalesce(ai_lines.repository_name, {{ no_repository() }}) as repository_name,
        coalesce(ai_lines.commit_count, 0) as commit_count,
        coalesce(ai_lines.ai_lines_added, 0) as ai_lines_added,
        coalesce(ai_lines.ai_lines_added, 1) as weight
    from charges_by_person
    left join ai_lines
        on
            charges_by_person.team = ai_lines.team
            and charges_by_person.charge_date = ai_lines.commit_date
            and charges_by_person.user_email = ai_lines.user_email
),

weighed as (
    select
        charges_by_repository.*,
        cast(sum(charges_by_repository.weight) over (
            partition by
                charges_by_repository.team, charges_by_repository.charge_date,
                charges_by_repository.actor_type, charges_by_repository.user_email
        ) as bigint) as total_weight,
        row_number() over (
            partition by
                charges_by_repository.team, charges_by_repository.charge_date,
                charges_by_repository.actor_type, charges_by_repository.user_email
            order by charges_by_repository.weight desc, charges_by_repository.repository_name asc
        ) as largest_first
    from charges_by_repository
),

parts as (
    select
        weighed.*,
        {{ part_of_cents('weighed.usage_cents', 'weighed.weight', 'weighed.total_weight') }} as usage_part_cents,
        {{ part_of_cents('weighed.billed_usage_cents', 'weighed.weight', 'weighed.total_weight') }}
            as billed_usage_part_cents,
        {{ part_of_cents('weighed.seat_cents', 'weighed.weight', 'weighed.total_weight') }} as seat_part_cents
    from weighed
),

left_over as (
    select
        team,
        charge_date,
        actor_type,
        user_email,
        sum(usage_part_cents) as usage_part_cents,
        sum(billed_usage_part_cents) as billed_usage_part_cents,
        sum(seat_part_cents) as seat_part_cents
    from parts
    group by team, charge_date, actor_type, user_email
),

-- what the floors leave over goes to the largest line, ties to the first by name; adjustments name no person and no
-- day of work, so they are never split
shares as (
    select
        parts.team,
        parts.charge_date,
        parts.charge_month,
        parts.actor_type,
        parts.user_email,
        parts.repository_name,
        parts.commit_count,
        parts.ai_lines_added,
        parts.total_weight,
        parts.adjustment_cents,
        {{ cents(
            'parts.usage_part_cents
            + case when parts.largest_first = 1 then parts.usage_cents - left_over.usage_part_cents else 0 end'
        ) }} as usage_cents,
        {{ cents(
            'parts.billed_usage_part_cents + case
                when parts.largest_first = 1 then parts.billed_usage_cents - left_over.billed_usage_part_cents
                else 0
            end'
        ) }} as billed_usage_cents,
        {{ cents(
            'parts.seat_part_cents
            + case when parts.largest_first = 1 then parts.seat_cents - left_over.seat_part_cents else 0 end'
        ) }} as seat_cents
    from parts
    inner join left_over
        on
            parts.team = left_over.team
            and parts.charge_date = left_over.charge_date
            and parts.actor_type = left_over.actor_type
            and coalesce(parts.user_email, '') = coalesce(left_over.user_email, '')
),

shares_with_bill as (
    select
        shares.*,
        {{ cents('shares.billed_usage_cents + shares.seat_cents + shares.adjustment_cents') }} as billed_cents
    from shares
),

months as (
    select
        team,
        charge_month,
        sum(billed_cents) as month_cents,
        sum(case when repository_name <> {{ no_repository() }} then billed_cents else 0 end) as repository_cents
    from shares_with_bill
    group by team, charge_month
)

select
    shares_with_bill.team,
    shares_with_bill.charge_date,
    shares_with_bill.charge_month,
    shares_with_bill.actor_type,
    shares_with_bill.user_email,
    shares_with_bill.repository_name,
    case when blocklist_reads.team is not null then blocked_repositories.team is not null end as is_blocked,
    stream_days.usage_date is not null as has_commit_data,
    cast(shares_with_bill.commit_count as bigint) as commit_count,
    cast(shares_with_bill.ai_lines_added as bigint) as ai_lines_added,
    case
        when shares_with_bill.ai_lines_added > 0
            then cast(shares_with_bill.ai_lines_added / shares_with_bill.total_weight as decimal(18, 6))
    end as ai_lines_share,
    shares_with_bill.usage_cents,
    shares_with_bill.billed_usage_cents,
    shares_with_bill.seat_cents,
    shares_with_bill.billed_cents,
    case
        when months.month_cents > 0
            then cast(months.repository_cents / months.month_cents as decimal(18, 6))
    end as month_repository_share
from shares_with_bill
inner join months
    on
        shares_with_bill.team = months.team
        and shares_with_bill.charge_month = months.charge_month
left join stream_days
    on
        shares_with_bill.team = stream_days.team
        and shares_with_bill.charge_date = stream_days.usage_date
        and stream_days.resource = 'ai_commits'
left join blocklist_reads
    on shares_with_bill.team = blocklist_reads.team
left join blocked_repositories
    on
        shares_with_bill.team = blocked_repositories.team
        and shares_with_bill.repository_name = blocked_repositories.repository_name
