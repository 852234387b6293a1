-- Grain: one row per team, UTC day, person and repository with lines that AI wrote.
-- A commit counts once, as it was seen last, on the day it was made: amending it later moves no cost to another day.
{{ config(materialized='table') }}

with

commits as (
    select * from {{ ref('stg_cursor_admin__ai_commits') }}
),

persons as (
    select * from {{ ref('int_persons') }}
),

user_ids as (
    select * from {{ ref('int_user_ids') }}
),

-- an e-mail that no snapshot knows may be one the person no longer has: then the id says who it is now
commits_with_person as (
    select
        commits.team,
        case
            when persons.user_email is not null then commits.user_email
            else coalesce(user_ids.user_email, commits.user_email)
        end as user_email,
        commits.commit_hash,
        commits.repository_name,
        commits.tab_lines_added,
        commits.composer_lines_added,
        commits.committed_at,
        commits.created_at
    from commits
    left join persons
        on
            commits.team = persons.team
            and commits.user_email = persons.user_email
    left join user_ids
        on
            commits.team = user_ids.team
            and commits.user_id = user_ids.user_id
),

latest_sightings as (
    select
        *,
        -- by person and not by user id: somebody invited again has a new one
        min(created_at) over (
            partition by team, commit_hash, repository_name, user_email
        ) as first_seen_at,
        row_number() over (
            partition by team, commit_hash, repository_name, user_email
            order by
                created_at desc, tab_lines_added desc nulls last, composer_lines_added desc nulls last,
                committed_at desc nulls last
        ) as newest_first
    from commits_with_person
    where user_email is not null
),

commits_counted as (
    select
        team,
        -- the clock of somebody's machine may run ahead: no commit is made after it was seen
        cast(least(coalesce(committed_at, first_seen_at), first_seen_at) as date) as commit_date,
        user_email,
        repository_name,
        greatest(coalesce(tab_lines_added, 0), 0) + greatest(coalesce(composer_lines_added, 0), 0) as ai_lines_added
    from latest_sightings
    where newest_first = 1
)

select
    team,
    commit_date,
    user_email,
    coalesce(repository_name, {{ no_repository() }}) as repository_name,
    count(*) as commit_count,
    cast(sum(ai_lines_added) as bigint) as ai_lines_added
from commits_counted
where ai_lines_added > 0
group by team, commit_date, user_email, coalesce(repository_name, {{ no_repository() }})
