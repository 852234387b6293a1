-- Grain: one row per sighting of a commit: team, hash, repository, user and the time Cursor saw it. Windows overlap, so
-- most sightings were read several times; an amended commit is seen again, with its old hash or a new one.
with

ai_commits as (
    select * from {{ source('cursor_admin', 'ai_commits') }}
),

stream_reads as (
    select * from {{ source('cursor_admin', 'stream_reads') }}
),

-- of a batch that several ledger rows point to, the latest
accepted_batches as (
    select
        team,
        batch_id,
        max(read_number) as read_number
    from stream_reads
    where
        resource = 'ai_commits'
        and outcome in ('landed', 'unchanged')
    group by team, batch_id
),

commits_read as (
    select
        ai_commits.team,
        trim(ai_commits.commit_hash) as commit_hash,
        nullif(trim(ai_commits.user_id), '') as user_id,
        nullif(lower(trim(ai_commits.user_email)), '') as user_email,
        nullif(lower(trim(ai_commits.repository_name)), '') as repository_name,
        ai_commits.branch_name,
        ai_commits.is_primary_branch,
        ai_commits.commit_source,
        ai_commits.total_lines_added,
        ai_commits.total_lines_deleted,
        ai_commits.tab_lines_added,
        ai_commits.tab_lines_deleted,
        ai_commits.composer_lines_added,
        ai_commits.composer_lines_deleted,
        ai_commits.non_ai_lines_added,
        ai_commits.non_ai_lines_deleted,
        ai_commits.committed_at,
        ai_commits.created_at,
        accepted_batches.read_number
    from ai_commits
    inner join accepted_batches
        on
            ai_commits.team = accepted_batches.team
            and ai_commits.batch_id = accepted_batches.batch_id
    -- without a hash or a time there is nothing to tell two sightings apart: the loader reports such a row
    where
        nullif(trim(ai_commits.commit_hash), '') is not null
        and ai_commits.created_at is not null
),

sightings as (
    select
        *,
        row_number() over (
            partition by team, commit_hash, repository_name, user_id, user_email, created_at
            order by
                read_number desc nulls last,
                -- a sighting is one row of a read: the rest only makes sure that the same one is taken every time
                branch_name asc nulls last,
                total_lines_added desc nulls last,
                tab_lines_added desc nulls last,
                composer_lines_added desc nulls last
        ) as recency
    from commits_read
)

select
    team,
    commit_hash,
    user_id,
    user_email,
    repository_name,
    branch_name,
    is_primary_branch,
    commit_source,
    total_lines_added,
    total_lines_deleted,
    tab_lines_added,
    tab_lines_deleted,
    composer_lines_added,
    composer_lines_deleted,
    non_ai_lines_added,
    non_ai_lines_deleted,
    committed_at,
    created_at
from sightings
where recency = 1
