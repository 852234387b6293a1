-- Grain: one row per team, UTC day, user id and e-mail, as the newest complete read of the day has it.
-- Windows overlap by days, and a day counts as a whole: who is missing in its newest read did not exist that day.
with

daily_usage as (
    select * from {{ source('cursor_admin', 'daily_usage') }}
),

stream_reads as (
    select * from {{ source('cursor_admin', 'stream_reads') }}
),

-- a batch without its ledger row was not read completely
accepted_reads as (
    select
        team,
        read_number,
        batch_id,
        window_start_at,
        window_end_at
    from stream_reads
    where
        resource = 'daily_usage'
        and outcome in ('landed', 'unchanged')
),

usage_days as (
    select distinct
        team,
        usage_date
    from daily_usage
    where usage_date is not null
),

reads_of_days as (
    select
        usage_days.team,
        usage_days.usage_date,
        accepted_reads.batch_id,
        row_number() over (
            partition by usage_days.team, usage_days.usage_date
            order by accepted_reads.read_number desc
        ) as recency
    from usage_days
    inner join accepted_reads
        on
            usage_days.team = accepted_reads.team
            and accepted_reads.window_start_at <= {{ start_of_day('usage_days.usage_date') }}
            and accepted_reads.window_end_at > {{ start_of_day('usage_days.usage_date') }}
),

current_rows as (
    select
        daily_usage.*,
        row_number() over (
            partition by daily_usage.team, daily_usage.usage_date, daily_usage.user_id, daily_usage.user_email
            -- one user is one row: the rest only makes sure that the same one is taken every time
            order by
                daily_usage.is_active desc nulls last,
                daily_usage.total_lines_added desc nulls last,
                daily_usage.agent_request_count desc nulls last,
                daily_usage.most_used_model asc nulls last
        ) as duplicate_number
    from daily_usage
    inner join reads_of_days
        on
            daily_usage.team = reads_of_days.team
            and daily_usage.usage_date = reads_of_days.usage_date
            and daily_usage.batch_id = reads_of_days.batch_id
            and reads_of_days.recency = 1
)

select
    team,
    usage_date,
    nullif(trim(user_id), '') as user_id,
    nullif(lower(trim(user_email)), '') as user_email,
    -- Cursor calls some days idle on which it counted something; lines somebody typed by hand prove no use
    coalesce(is_active, false)
    or coalesce(accepted_lines_added, 0) + coalesce(accepted_lines_deleted, 0) + coalesce(apply_count, 0)
    + coalesce(accept_count, 0) + coalesce(reject_count, 0) + coalesce(tabs_shown_count, 0)
    + coalesce(tabs_accepted_count, 0) + coalesce(composer_request_count, 0) + coalesce(chat_request_count, 0)
    + coalesce(agent_request_count, 0) + coalesce(cmdk_usage_count, 0) + coalesce(included_request_count, 0)
    + coalesce(own_key_request_count, 0) + coalesce(usage_based_request_count, 0)
    + coalesce(bugbot_usage_count, 0) > 0 as has_activity,
    total_lines_added,
    total_lines_deleted,
    accepted_lines_added,
    accepted_lines_deleted,
    apply_count,
    accept_count,
    reject_count,
    tabs_shown_count,
    tabs_accepted_count,
    composer_request_count,
    chat_request_count,
    agent_request_count,
    cmdk_usage_count,
    included_request_count,
    own_key_request_count,
    usage_based_request_count,
    bugbot_usage_count,
    nullif(trim(most_used_model), '') as most_used_model,
    apply_most_used_extension,
    tab_most_used_extension,
    client_version
from current_rows
where duplicate_number = 1
