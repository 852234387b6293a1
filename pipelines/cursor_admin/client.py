"""The reads of the Cursor API, one method each: pages with the keys they must have. Knows no tables."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

from pipelines.cursor_admin import settings
from pipelines.cursor_admin.answers import Answer, AuditLogPage, EventPage, ListPage, TextAnswer, objects, typed
from pipelines.cursor_admin.transport import ClientStats, ReadOnlyTransport

__all__ = ["ClientStats", "CursorAdminClient"]


class CursorAdminClient(ReadOnlyTransport):
    """Reads the Cursor API for one team: see `ReadOnlyTransport` for its arguments.

    Every method raises ApiError (see `request`), and ApiShapeError where a key that must be there is missing or has
    another type. Pages count from 1. Where rows may have any shape (the routes that chargeback can do without), the
    methods check the container alone.
    """

    def usage_event_page(
        self, start_ms: int, end_ms: int, page: int, page_size: int = settings.USAGE_EVENTS_PAGE_SIZE
    ) -> EventPage:
        """One page of the events with `start_ms` <= time <= `end_ms`: both are inclusive, epoch milliseconds, UTC.

        Source: POST /teams/filtered-usage-events (https://cursor.com/docs/account/teams/admin-api).
        """
        path = "/teams/filtered-usage-events"
        body = {"startDate": start_ms, "endDate": end_ms, "page": page, "pageSize": page_size}
        answer = self.request("POST", path, body=body)
        payload = answer.payload
        rows = objects(payload, "usageEvents", path)
        pagination = typed(payload, "pagination", dict, path)
        return EventPage(
            rows=rows,
            total_count=typed(payload, "totalUsageEventsCount", int, path),
            page_count=typed(pagination, "numPages", int, path, "pagination."),
            page=typed(pagination, "currentPage", int, path, "pagination.") if "currentPage" in pagination else page,
            has_next_page=typed(pagination, "hasNextPage", bool, path, "pagination."),
            date=answer.date,
        )

    def billing_groups(self, billing_cycle: date | None = None) -> Answer:
        """All billing groups with their members, for the cycle that holds that day (None: the current cycle).

        Source: GET /teams/groups (https://cursor.com/docs/account/teams/admin-api). `groups` is a list of objects and
        `unassignedGroup` an object beside it.

        Raises:
            ApiError: see `request`; ApiShapeError: one of the two is missing or has another type.
        """
        path = "/teams/groups"
        query = {"billingCycle": billing_cycle.isoformat()} if billing_cycle else None
        answer = self.request("GET", path, query=query)
        objects(answer.payload, "groups", path)
        typed(answer.payload, "unassignedGroup", dict, path)
        return answer

    def members(self) -> Answer:
        """The roster: `teamMembers` is a list of objects.

        Source: GET /teams/members (https://cursor.com/docs/account/teams/admin-api).

        Raises:
            ApiError: see `request`; ApiShapeError: the list is missing or has another type.
        """
        answer = self.request("GET", "/teams/members")
        objects(answer.payload, "teamMembers", "/teams/members")
        return answer

    def audit_log_page(
        self, start: datetime, end: datetime, page: int, page_size: int = settings.AUDIT_LOGS_PAGE_SIZE
    ) -> AuditLogPage:
        """One page of the audit log from `start` to `end`, of at most 30 days; every type of event.

        Source: GET /teams/audit-logs (https://cursor.com/docs/account/teams/admin-api). Pages count from 1. Whether the
        end belongs to the window is not documented: events of that very millisecond may come or not.

        Raises:
            ApiError: see `request`; ApiShapeError: a key of the page is missing or has another type.
        """
        path = "/teams/audit-logs"
        query = {
            "startTime": _milliseconds_iso(start),
            "endTime": _milliseconds_iso(end),
            "page": str(page),
            "pageSize": str(page_size),
        }
        answer = self.request("GET", path, query=query)
        pagination = typed(answer.payload, "pagination", dict, path)
        return AuditLogPage(
            rows=objects(answer.payload, "events", path),
            total_count=typed(pagination, "totalCount", int, path, "pagination."),
            page=typed(pagination, "page", int, path, "pagination.") if "page" in pagination else page,
            has_next_page=typed(pagination, "hasNextPage", bool, path, "pagination."),
            date=answer.date,
        )

    def billing_group(self, group_id: str, billing_cycle: date | None = None) -> Answer:
        """One billing group, its members with what they spent on the last days: `group` is an object.

        Source: GET /teams/groups/:groupId (https://cursor.com/docs/account/teams/admin-api).
        """
        query = {"billingCycle": billing_cycle.isoformat()} if billing_cycle else None
        answer = self.request("GET", f"/teams/groups/{group_id}", query=query)
        typed(answer.payload, "group", dict, "/teams/groups/{group_id}")
        return answer

    def spend_page(self, page: int, page_size: int = settings.SPEND_PAGE_SIZE) -> ListPage:
        """One page of what each member spent in the current cycle, by user: an order that spending does not change.

        Source: POST /teams/spend (https://cursor.com/docs/account/teams/admin-api). The page does not say which it is.
        """
        path = "/teams/spend"
        body = {"sortBy": "user", "sortDirection": "asc", "page": page, "pageSize": page_size}
        answer = self.request("POST", path, body=body)
        return ListPage(
            rows=typed(answer.payload, "teamMemberSpend", list, path),
            total_count=typed(answer.payload, "totalMembers", int, path),
            page=page,
            has_next_page=page < typed(answer.payload, "totalPages", int, path),
            payload=answer.payload,
            date=answer.date,
        )

    def daily_usage_page(
        self, start_ms: int, end_ms: int, page: int, page_size: int = settings.DAILY_USAGE_PAGE_SIZE
    ) -> ListPage:
        """Activity of one page of people on each day from `start_ms` to `end_ms` (epoch milliseconds, at most 30 days).

        Source: POST /teams/daily-usage-data (https://cursor.com/docs/account/teams/admin-api). Both paging fields are
        always sent: without them inactive people are left out.
        """
        path = "/teams/daily-usage-data"
        body = {"startDate": start_ms, "endDate": end_ms, "page": page, "pageSize": page_size}
        answer = self.request("POST", path, body=body)
        rows = typed(answer.payload, "data", list, path)
        return _paginated(answer, rows, path, "totalUsers", page)

    def directory_group_page(self, page: int, page_size: int = settings.DIRECTORY_GROUPS_PAGE_SIZE) -> ListPage:
        """One page of the groups of the identity provider, with their limits; they are not billing groups.

        Source: GET /teams/directory-groups: named in the release notes (https://cursor.com/docs/release-notes/web),
        its shape seen in other clients alone.
        """
        return self._query_page("/teams/directory-groups", "groups", page, page_size)

    def directory_group_member_page(
        self, group_id: str, page: int, page_size: int = settings.DIRECTORY_GROUPS_PAGE_SIZE
    ) -> ListPage:
        """One page of who is in a directory group now; see `directory_group_page`."""
        return self._query_page(f"/teams/directory-groups/{group_id}/members", "members", page, page_size)

    def repository_blocklists(self) -> Answer:
        """Repositories with patterns that Cursor must not read: `repos` is a list.

        Source: GET /settings/repo-blocklists/repos (https://cursor.com/docs/account/teams/admin-api).
        """
        answer = self.request("GET", "/settings/repo-blocklists/repos")
        typed(answer.payload, "repos", list, "/settings/repo-blocklists/repos")
        return answer

    def ai_commit_page(
        self, start: datetime, end: datetime, page: int, page_size: int = settings.AI_COMMITS_PAGE_SIZE
    ) -> ListPage:
        """One page of commits with the share that AI wrote, of everybody, from `start` to `end` (UTC).

        Source: GET /analytics/ai-code/commits (https://cursor.com/docs/account/teams/ai-code-tracking-api), an alpha.
        """
        path = "/analytics/ai-code/commits"
        paging = {"page": str(page), "pageSize": str(page_size)}
        answer = self.request("GET", path, query=_window(start, end) | paging)
        count = typed(answer.payload, "totalCount", int, path)
        answered = typed(answer.payload, "page", int, path) if "page" in answer.payload else page
        # A server that gives fewer than it was asked for says so; there is no `hasNextPage`.
        size = typed(answer.payload, "pageSize", int, path) if "pageSize" in answer.payload else page_size
        return ListPage(
            rows=typed(answer.payload, "items", list, path),
            total_count=count,
            page=answered,
            has_next_page=page * size < count,
            payload=answer.payload,
            date=answer.date,
        )

    def ai_commits_csv(self, start: datetime, end: datetime) -> TextAnswer:
        """The same commits in one piece, as CSV with a line of headings, in an order not to be relied on.

        Source: GET /analytics/ai-code/commits.csv (https://cursor.com/docs/account/teams/ai-code-tracking-api).
        """
        return self.request_csv("/analytics/ai-code/commits.csv", query=_window(start, end))

    def pooled_usage(self, organization_id: str) -> Answer:
        """The pre-paid pool of the contract and what each team used of it: `pool` is an object, `teams` a list.

        Source: POST /organizations/pooled-usage
        (https://cursor.com/docs/account/organizations/organization-admin-api), with the organization's key.
        """
        path = "/organizations/pooled-usage"
        answer = self.request("POST", path, body={"organizationId": organization_id})
        typed(answer.payload, "pool", dict, path)
        typed(answer.payload, "teams", list, path)
        return answer

    def me(self) -> Answer:
        """What the key of the team is called: proves that it exists, not that it may read anything else.

        Source: GET /v1/me (https://cursor.com/docs/api).
        """
        return self.request("GET", "/v1/me")

    def _query_page(self, path: str, rows_key: str, page: int, page_size: int) -> ListPage:
        answer = self.request("GET", path, query={"page": str(page), "pageSize": str(page_size)})
        rows = typed(answer.payload, rows_key, list, path)
        if "pagination" not in answer.payload and len(rows) < page_size:  # its shape is not documented: all there is
            return ListPage(rows, len(rows), page, False, answer.payload, answer.date)
        return _paginated(answer, rows, path, "totalCount", page)


def _paginated(answer: Answer, rows: list[Any], path: str, count_key: str, page: int) -> ListPage:
    pagination: Mapping[str, Any] = typed(answer.payload, "pagination", dict, path)
    return ListPage(
        rows=rows,
        total_count=typed(pagination, count_key, int, path, "pagination."),
        page=typed(pagination, "page", int, path, "pagination.") if "page" in pagination else page,
        has_next_page=typed(pagination, "hasNextPage", bool, path, "pagination."),
        payload=answer.payload,
        date=answer.date,
    )


def _window(start: datetime, end: datetime) -> dict[str, str]:
    return {"startDate": _milliseconds_iso(start), "endDate": _milliseconds_iso(end)}


def _milliseconds_iso(moment: datetime) -> str:
    """As the API writes its own times; without a zone, UTC is meant."""
    zoned = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return zoned.isoformat(timespec="milliseconds").replace("+00:00", "Z")
