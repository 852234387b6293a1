"""The routes of the API: which key, how many requests a minute, and who answers."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from pipelines.simulator import activity_api, ai_code_api, analytics_api, audit_api, events_api, groups_api
from pipelines.simulator.answers import Answer, Ask, RefusalError, json_answer
from pipelines.simulator.instants import iso, to_ms
from pipelines.simulator.prices import MICRO

TEAM, ORGANIZATION, ANY = "team", "organization", "any"


@dataclass(frozen=True)
class Route:
    """`rows_key` is the JSON key that holds the rows: what the fault `missing_key` removes unless told otherwise."""

    method: str
    path: str  # `:id` stands for one segment
    per_minute: int
    answer: Callable[[Ask], Answer]
    rows_key: str = "data"
    keys: str = TEAM
    cached: bool = False  # ETag and max-age=900

    def match(self, method: str, path: str) -> tuple[str, ...] | None:
        if method != self.method:
            return None
        if ":" not in self.path:
            return () if path == self.path else None
        found = re.fullmatch(re.sub(r":\w+", "([^/]+)", re.escape(self.path)), path)
        return found.groups() if found else None


def me(ask: Ask) -> Answer:
    """GET /v1/me: proves that the key exists, not that it may read the Admin API."""
    created = iso(to_ms(ask.organisation.start) - 30 * 86_400_000)
    return json_answer({"apiKeyName": "finops-elt", "createdAt": created})


def repo_blocklists(ask: Ask) -> Answer:  # noqa: ARG001
    """GET /settings/repo-blocklists/repos."""
    return json_answer({"repos": [{"id": "repo_9", "url": "https://github.com/acme/vault", "patterns": ["*.env"]}]})


def pooled_usage(ask: Ask) -> Answer:
    """POST /organizations/pooled-usage: the pre-paid pool of the contract, a year from the first covered day."""
    organisation = ask.organisation
    if ask.body.get("organizationId") != organisation.organization_id:
        raise RefusalError(403, "Not authorized")
    start_ms = to_ms(organisation.start)
    totals = organisation.period_totals(start_ms, ask.clock.now_ms + 1, ask.clock)
    used = round(sum(activity.overall for activity in totals.values()) / MICRO)
    limit = 6_000_000
    siblings = organisation.behaviour.pool_siblings
    pool_used = used + sum(cents for _, cents, _ in siblings)
    pool = {
        "limitCents": limit,
        "usedCents": pool_used,
        "remainingCents": max(0, limit - pool_used),
        "contractStartDate": iso(start_ms),
        "contractEndDate": iso(start_ms + 365 * 86_400_000 - 1),
    }
    teams = []
    for team_id, cents, budget in ((organisation.team_id, used, organisation.behaviour.pool_budget_cents), *siblings):
        teams.append({"teamId": team_id, "usedCents": cents} | ({} if budget is None else {"budgetLimitCents": budget}))
    return json_answer({"pool": pool, "teams": teams})


ROUTES = (
    Route("POST", "/teams/filtered-usage-events", 60, events_api.usage_events, "usageEvents"),
    Route("GET", "/teams/groups", 20, groups_api.billing_groups, "groups"),
    Route("GET", "/teams/groups/:id", 20, groups_api.billing_group, "group"),
    Route("GET", "/teams/members", 20, groups_api.members, "teamMembers"),
    Route("POST", "/teams/spend", 20, groups_api.spend, "teamMemberSpend"),
    Route("POST", "/teams/daily-usage-data", 20, activity_api.daily_usage, "data"),
    Route("GET", "/teams/audit-logs", 20, audit_api.audit_logs, "events"),
    Route("GET", "/teams/directory-groups", 20, groups_api.directory_groups, "groups"),
    Route("GET", "/teams/directory-groups/:id", 20, groups_api.directory_group, "group"),
    Route("GET", "/teams/directory-groups/:id/members", 20, groups_api.directory_group_members, "members"),
    Route("GET", "/settings/repo-blocklists/repos", 20, repo_blocklists, "repos"),
    Route("GET", "/analytics/ai-code/commits", 20, ai_code_api.commits, "items", cached=True),
    Route("GET", "/analytics/ai-code/commits.csv", 20, ai_code_api.commits_csv, "items", cached=True),
    Route("GET", "/analytics/ai-code/commits/:hashes", 20, ai_code_api.commit_details, "commits", cached=True),
    Route("GET", "/analytics/ai-code/changes", 20, ai_code_api.changes, "items", cached=True),
    Route("GET", "/analytics/ai-code/changes.csv", 20, ai_code_api.changes_csv, "items", cached=True),
    Route("GET", "/analytics/team/conversation-insights", 20, analytics_api.team_metric, cached=True),
    Route("GET", "/analytics/team/:metric", 100, analytics_api.team_metric, cached=True),
    Route("GET", "/analytics/by-user/:metric", 50, analytics_api.user_metric, cached=True),
    Route("GET", "/v1/me", 60, me, "apiKeyName", keys=ANY),
    Route("POST", "/organizations/pooled-usage", 20, pooled_usage, "pool", keys=ORGANIZATION),
)


def find_route(method: str, path: str) -> tuple[Route, tuple[str, ...]]:
    """The route of a request and its path values.

    Raises:
        RefusalError: 404, there is no such route, or not for this method.
    """
    for route in ROUTES:
        values = route.match(method, path)
        if values is not None:
            return route, values
    raise RefusalError(404, "Resource not found")
