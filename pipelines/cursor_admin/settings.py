"""Constants of the Admin API, each with the documentation page it comes from; and the only reads there are."""

from __future__ import annotations

import re
from typing import NamedTuple

# https://cursor.com/docs/api
BASE_URL = "https://api.cursor.com"
LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})


# Which key a route takes; the two are not interchangeable, and neither is ever sent where the other belongs.
TEAM, ORGANIZATION = "team", "organization"


class Read(NamedTuple):
    """One route this client may use. A segment `{name}` of `path` stands for one id."""

    method: str
    path: str
    requests_per_minute: int
    key: str = TEAM


# Paths and limits per team: https://cursor.com/docs/account/teams/admin-api. The key's scope also allows writes that
# rewrite a company's billing history, so a route that is not listed here cannot be requested at all.
ALLOWED_READS: tuple[Read, ...] = (
    Read("POST", "/teams/filtered-usage-events", 60),
    Read("GET", "/teams/groups", 20),
    Read("GET", "/teams/groups/{group_id}", 20),
    Read("GET", "/teams/members", 20),
    Read("GET", "/teams/audit-logs", 20),
    Read("POST", "/teams/spend", 20),
    Read("POST", "/teams/daily-usage-data", 20),
    Read("GET", "/teams/directory-groups", 20),
    Read("GET", "/teams/directory-groups/{group_id}/members", 20),
    Read("GET", "/settings/repo-blocklists/repos", 20),
    # https://cursor.com/docs/account/teams/ai-code-tracking-api
    Read("GET", "/analytics/ai-code/commits", 20),
    Read("GET", "/analytics/ai-code/commits.csv", 20),
    # https://cursor.com/docs/account/organizations/organization-admin-api
    Read("POST", "/organizations/pooled-usage", 20, ORGANIZATION),
    # Answers any key; its limit is not documented.
    Read("GET", "/v1/me", 20),
)

# https://cursor.com/docs/account/teams/admin-api: 100 unless asked, at most 1000
USAGE_EVENTS_PAGE_SIZE = 1000

# https://cursor.com/docs/account/teams/admin-api: 100 unless asked, at most 500; a window spans at most 30 days
AUDIT_LOGS_PAGE_SIZE = 500
AUDIT_LOGS_WINDOW_DAYS = 29  # a day less than allowed: nobody has to count whether both ends belong to the 30

# https://cursor.com/docs/account/teams/admin-api: neither default nor maximum of /teams/spend is documented, 100 is in
# wide use. A page of daily usage holds every day of so many people; 1000 is the most its sample shows.
SPEND_PAGE_SIZE = 100
DAILY_USAGE_PAGE_SIZE = 250
DAILY_USAGE_WINDOW_DAYS = 29  # at most 30, see above

# In no reference: what other clients send
DIRECTORY_GROUPS_PAGE_SIZE = 100

# https://cursor.com/docs/account/teams/ai-code-tracking-api: 100 unless asked, at most 1000
AI_COMMITS_PAGE_SIZE = 1000
AI_COMMITS_WINDOW_DAYS = 29  # no maximum is stated; clients stay within 30

# https://cursor.com/docs/api: limits "reset every minute"
RATE_LIMIT_WINDOW_SECONDS = 60.0

# Not documented: a page of 1000 events is prepared in seconds, a slow line needs a minute for it.
CONNECT_TIMEOUT_SECONDS = 10.0
READ_TIMEOUT_SECONDS = 60.0  # silence between two pieces of an answer
ANSWER_TIMEOUT_SECONDS = 180.0  # one whole answer, however steadily it drips

# https://cursor.com/docs/api: back off 1, 2, 4, 8, 16 seconds. The cap lets one whole rate window pass.
RETRIED_STATUSES = frozenset({429, 500, 502, 503, 504})
BACKOFF_BASE_SECONDS = 1.0
BACKOFF_CAP_SECONDS = 60.0
RETRY_AFTER_CAP_SECONDS = 120.0
TOTAL_SECONDS_PER_REQUEST = 600.0  # all attempts and the waits between them; waiting for a free slot does not count
MAX_ATTEMPTS = 8
# An address that has never answered is more likely wrong than down: say so after seconds, not after minutes.
MAX_ATTEMPTS_BEFORE_FIRST_ANSWER = 5


# What may stand in the place of an id: nothing that could lead to another route.
ID_PATTERN = "[A-Za-z0-9_-]+"


def find_read(method: str, path: str) -> Read | None:
    """The route that allows `method` and `path`, or None. Parameters are never part of `path`."""
    for read in ALLOWED_READS:
        pattern = re.sub(r"\\\{\w+\\\}", ID_PATTERN, re.escape(read.path))
        if method == read.method and re.fullmatch(pattern, path):
            return read
    return None
