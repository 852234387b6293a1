-- Grain: one row per entry of the blocklist and snapshot.
-- Commits name a repository `owner/name`; the blocklist names it by address. Cut off are, in this order: a query or
-- fragment; scheme, user, host and port (`https://host/`), user and host (`git@host:`), or a first part that is a host
-- because it has a dot; `.git` and slashes at the end. What is left must have an owner and a name.
with

entries as (
    select
        team,
        snapshot_id,
        repository_id,
        url,
        patterns_json,
        regexp_replace(lower(trim(url)), '[?#].*$', '') as address
    from {{ source('cursor_admin', 'repository_blocklists') }}
),

entries_with_path as (
    select
        *,
        case
            when address like '%://%' then regexp_replace(address, '^[^/]*://[^/]*/*', '')
            when address like '%@%:%' then regexp_replace(address, '^[^/]*@[^/:]*:/*', '')
            else regexp_replace(address, '^[^/]*[.][^/:]*[/:]+', '')
        end as path
    from entries
),

entries_with_name as (
    select
        *,
        regexp_replace(regexp_replace(path, '/+$', ''), '[.]git$', '') as repository_name
    from entries_with_path
)

select
    team,
    snapshot_id,
    repository_id,
    url,
    case
        when
            repository_name like '%_/_%'
            and repository_name not like '/%'
            and repository_name not like '% %'
            and repository_name not like '%*%'
            then repository_name
    end as repository_name,
    patterns_json,
    coalesce(replace(patterns_json, ' ', '') like '%"*"%', false) as is_blocked
from entries_with_name
