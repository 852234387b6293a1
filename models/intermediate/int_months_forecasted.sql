-- Grain: one row per team, open month, month to forecast and owner.
-- Usage to come = mean of the owner's weekdays times the weekdays to come, and the same for weekend days, over the
-- complete days among the last 28. The days are the team's, also those without usage of the owner: so the sum of the
-- groups is the team. Seats to come = those of the last complete day. Whole millionths of a cent, never a float.
with

forecast_dates as (
    select * from {{ ref('int_forecast_dates') }}
),

complete_days as (
    select * from {{ ref('int_complete_days') }}
),

owner_days as (
    select * from {{ ref('int_owner_days') }}
),

-- week 0 is the last seven days
history_days as (
    select
        forecast_dates.team,
        forecast_dates.open_month,
        forecast_dates.charge_month,
        complete_days.usage_date,
        complete_days.day_type,
        {{ whole_quotient(dbt.datediff('complete_days.usage_date', 'forecast_dates.as_of_date', 'day'), 7) }}
            as week_number,
        case
            when complete_days.day_type = 'weekday' then forecast_dates.remaining_weekday_count
            else forecast_dates.remaining_weekend_count
        end as remaining_day_count
    from forecast_dates
    inner join complete_days
        on
            forecast_dates.team = complete_days.team
            and forecast_dates.as_of_date >= complete_days.usage_date
            and {{ dbt.dateadd('day', -28, 'forecast_dates.as_of_date') }} < complete_days.usage_date
    where forecast_dates.has_history
),

history_weeks as (
    select
        team,
        open_month,
        charge_month,
        day_type,
        week_number,
        remaining_day_count,
        count(*) as day_count
    from history_days
    group by team, open_month, charge_month, day_type, week_number, remaining_day_count
),

owners as (
    select
        forecast_dates.team,
        forecast_dates.open_month,
        forecast_dates.charge_month,
        owner_days.owner_type,
        owner_days.owner_id,
        {{ cents(
            'sum(case when owner_days.charge_month = forecast_dates.charge_month'
            ~ ' then owner_days.usage_billed_cents + owner_days.seat_cents else 0 end)'
        ) }} as actual_cents,
        {{ millionths(
            'sum(case when owner_days.charge_date = forecast_dates.as_of_date then owner_days.seat_cents else 0 end)'
        ) }} as last_day_seat_millionths
    from forecast_dates
    inner join owner_days
        on
            forecast_dates.team = owner_days.team
            and forecast_dates.as_of_date >= owner_days.charge_date
            and (
                {{ dbt.dateadd('day', -28, 'forecast_dates.as_of_date') }} < owner_days.charge_date
                or forecast_dates.charge_month = owner_days.charge_month
            )
    group by
        forecast_dates.team,
        forecast_dates.open_month,
        forecast_dates.charge_month,
        owner_days.owner_type,
        owner_days.owner_id
),

usage_by_week as (
    select
        history_days.team,
        history_days.open_month,
        history_days.charge_month,
        owner_days.owner_type,
        owner_days.owner_id,
        history_days.day_type,
        history_days.week_number,
        {{ millionths('sum(owner_days.usage_billed_cents)') }} as usage_millionths
    from history_days
    inner join owner_days
        on history_days.team = owner_days.team and history_days.usage_date = owner_days.charge_date
    group by
        history_days.team,
        history_days.open_month,
        history_days.charge_month,
        owner_days.owner_type,
        owner_days.owner_id,
        history_days.day_type,
        history_days.week_number
),

-- a week without usage of the owner is a week of nothing, and counts
owner_weeks as (
    select
        owners.team,
        owners.open_month,
        owners.charge_month,
        owners.owner_type,
        owners.owner_id,
        history_weeks.day_type,
        history_weeks.remaining_day_count,
        history_weeks.day_count,
        coalesce(usage_by_week.usage_millionths, 0) as usage_millionths
    from owners
    inner join history_weeks
        on
            owners.team = history_weeks.team
            and owners.open_month = history_weeks.open_month
            and owners.charge_month = history_weeks.charge_month
    left join usage_by_week
        on
            owners.team = usage_by_week.team
            and owners.open_month = usage_by_week.open_month
            and owners.charge_month = usage_by_week.charge_month
            and owners.owner_type = usage_by_week.owner_type
            and owners.owner_id = usage_by_week.owner_id
            and history_weeks.day_type = usage_by_week.day_type
            and history_weeks.week_number = usage_by_week.week_number
),

-- at the pace of the quietest and of the busiest of the four weeks: sums of what happened, no distribution assumed
usage_by_day_type as (
    select
        team,
        open_month,
        charge_month,
        owner_type,
        owner_id,
        {{ whole_quotient(
            'cast(sum(usage_millionths) as bigint) * remaining_day_count', 'cast(sum(day_count) as bigint)'
        ) }} as usage_to_come,
        min({{ whole_quotient('usage_millionths * remaining_day_count', 'day_count') }}) as lowest_to_come,
        max({{ whole_quotient('usage_millionths * remaining_day_count', 'day_count') }}) as highest_to_come
    from owner_weeks
    group by team, open_month, charge_month, owner_type, owner_id, day_type, remaining_day_count
),

usage_to_come as (
    select
        team,
        open_month,
        charge_month,
        owner_type,
        owner_id,
        sum(usage_to_come) as usage_to_come,
        sum(lowest_to_come) as lowest_to_come,
        sum(highest_to_come) as highest_to_come
    from usage_by_day_type
    group by team, open_month, charge_month, owner_type, owner_id
),

-- a seat costs its month's price spread over the month's days: a day of another month counts by its length
seats_to_come as (
    select
        owners.team,
        owners.open_month,
        owners.charge_month,
        owners.owner_type,
        owners.owner_id,
        owners.actual_cents,
        {{ whole_quotient(
            'owners.last_day_seat_millionths * ' ~ days_in_month('forecast_dates.as_of_date')
            ~ ' * (forecast_dates.remaining_weekday_count + forecast_dates.remaining_weekend_count)',
            days_in_month('forecast_dates.charge_month')
        ) }} as seats_to_come
    from owners
    inner join forecast_dates
        on
            owners.team = forecast_dates.team
            and owners.open_month = forecast_dates.open_month
            and owners.charge_month = forecast_dates.charge_month
),

-- what is lost below a millionth of a cent is lost in every group: the team is what its groups are, not a division anew
settled as (
    select
        seats_to_come.team,
        seats_to_come.open_month,
        seats_to_come.charge_month,
        seats_to_come.owner_type,
        seats_to_come.owner_id,
        seats_to_come.actual_cents,
        case
            when seats_to_come.owner_type <> 'total' then usage_to_come.usage_to_come + seats_to_come.seats_to_come
            else
                sum(
                    case
                        when seats_to_come.owner_type = 'billing_group'
                            then usage_to_come.usage_to_come + seats_to_come.seats_to_come
                    end
                ) over (partition by seats_to_come.team, seats_to_come.open_month, seats_to_come.charge_month)
        end as to_come,
        usage_to_come.lowest_to_come + seats_to_come.seats_to_come as lowest_to_come,
        usage_to_come.highest_to_come + seats_to_come.seats_to_come as highest_to_come
    from seats_to_come
    left join usage_to_come
        on
            seats_to_come.team = usage_to_come.team
            and seats_to_come.open_month = usage_to_come.open_month
            and seats_to_come.charge_month = usage_to_come.charge_month
            and seats_to_come.owner_type = usage_to_come.owner_type
            and seats_to_come.owner_id = usage_to_come.owner_id
)

select
    team,
    open_month,
    charge_month,
    owner_type,
    owner_id,
    actual_cents,
    {{ cents('actual_cents + ' ~ cents_of_millionths('to_come')) }} as forecast_cents,
    {{ cents('actual_cents + ' ~ cents_of_millionths('least(to_come, lowest_to_come)')) }} as forecast_low_cents,
    {{ cents('actual_cents + ' ~ cents_of_millionths('greatest(to_come, highest_to_come)')) }} as forecast_high_cents
from settled
