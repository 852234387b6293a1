-- A reader who asks what the file is gets one answer.
select count(*) as publication_count
from {{ ref('mart_publication') }}
having count(*) <> 1
