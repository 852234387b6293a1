"""A Cursor API whose every answer a test writes by hand, over real HTTP, and a loader pointed at it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import duckdb
import pendulum
from http_script import KEY, Reply, ScriptedServer, Seen

from pipelines.config import Settings, TeamSettings
from pipelines.load import LoadResult, load
from pipelines.paths import data_paths
from pipelines.runs import Clock, Progress, new_run_id


def ms(moment: datetime) -> int:
    return int(moment.replace(tzinfo=UTC).timestamp() * 1000)


def usage_event(at: datetime, email: str | None = "ada@example.com", cents: float | None = 10.0, **more: Any) -> dict:
    """One event as the API sends it; `at` is UTC without zone. Absent fields are absent."""
    row = {
        "timestamp": str(ms(at)),
        "userEmail": email,
        "model": "claude-4.5-sonnet",
        "kind": "Usage-based",
        "maxMode": False,
        "requestsCosts": 1,
        "isTokenBasedCall": True,
        "isChargeable": True,
        "isHeadless": False,
        "tokenUsage": {
            "inputTokens": 10,
            "outputTokens": 20,
            "cacheWriteTokens": 0,
            "cacheReadTokens": 0,
            "totalCents": 8,
        },
        "chargedCents": cents,
    } | more
    return {key: value for key, value in row.items() if value is not None}


def stint(user: str, joined: str, left: str | None = None) -> dict[str, Any]:
    return {
        "userId": f"user_{user}",
        "name": user.title(),
        "email": f"{user}@example.com",
        "joinedAt": joined,
        "leftAt": left,
        "spendCents": 0,
    }


def billing_group(
    name: str, current: list[dict[str, Any]], former: list[dict[str, Any]] | None = None
) -> dict[str, Any]:
    return {
        "id": f"group_{name}",
        "name": name.title(),
        "type": "BILLING",
        "directoryGroupId": None,
        "memberCount": len(current),
        "createdAt": "2026-01-01T00:00:00.000Z",
        "updatedAt": "2026-01-01T00:00:00.000Z",
        "spendCents": 0,
        "currentMembers": current,
        "formerMembers": former or [],
        "dailySpend": [],
    }


def audit_event(at: datetime, event_type: str = "add_user", number: int = 0, **data: Any) -> dict[str, Any]:
    """One event of the audit log as the API sends it; `at` is UTC without zone."""
    return {
        "event_id": f"{event_type}-{at:%d%H%M%S}-{number}",
        "timestamp": at.isoformat(timespec="milliseconds") + "Z",
        "ip_address": "198.51.100.7",
        "user_email": "SCIM",
        "event_type": event_type,
        "application_type": "cursor",
        "event_data": {"user_email": "ada@example.com"} | data,
    }


def moment(text: str) -> datetime:
    """A time as the API writes it, as UTC without zone."""
    return datetime.fromisoformat(text).astimezone(UTC).replace(tzinfo=None)


def roster(*users: str, removed: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    return [
        {"id": f"user_{u}", "name": u.title(), "email": f"{u}@example.com", "role": "member", "isRemoved": u in removed}
        for u in (*users, *removed)
    ]


COMMITS_CSV = "/analytics/ai-code/commits.csv"
COMMIT_HEADINGS = "commit_hash,user_id,user_email,repo_name,message,commit_ts,created_at,tab_lines_added"
_NO_PAGES = {"page": 1, "pageSize": 100, "totalCount": 0, "totalUsers": 0, "totalPages": 0, "hasNextPage": False}
# What the routes answer that no bill rests on, until a test says otherwise.
NOTHING: dict[str, Any] = {
    "/teams/spend": {
        "teamMemberSpend": [],
        "subscriptionCycleStart": ms(datetime(2026, 11, 1)),
        "totalMembers": 0,
        "totalPages": 0,
    },
    "/teams/daily-usage-data": {"data": [], "pagination": _NO_PAGES},
    "/teams/directory-groups": {"groups": [], "pagination": _NO_PAGES},
    "/settings/repo-blocklists/repos": {"repos": []},
    "/analytics/ai-code/commits": {"items": [], "totalCount": 0},
    COMMITS_CSV: f"{COMMIT_HEADINGS}\n".encode(),
    "/organizations/pooled-usage": {"pool": {}, "teams": []},
}


@dataclass
class HandMadeApi:
    """What the API answers now; tests change it between nights. `statuses` overrides a path with an error status.

    `optional`: what the routes answer that no bill rests on, by path; a function is given the request.
    """

    now: datetime = datetime(2026, 11, 16, 2)
    events: list[dict[str, Any]] = field(default_factory=list)
    groups: list[dict[str, Any]] = field(default_factory=list)
    members: list[dict[str, Any]] = field(default_factory=lambda: roster("ada"))
    statuses: dict[str, int] = field(default_factory=dict)
    page_size: int = 1000
    sends_cycle: bool = True
    audit_log: list[dict[str, Any]] = field(default_factory=list)
    audit_page_size: int = 500
    asked_windows: list[tuple[datetime, datetime]] = field(default_factory=list)
    drifting: int = 0  # so many answers announce one event too many
    asked_days: list[date] = field(default_factory=list)
    optional: dict[str, Any] = field(default_factory=lambda: dict(NOTHING))

    def __enter__(self) -> Self:
        self.server = ScriptedServer(decide=self._decide).__enter__()
        return self

    def __exit__(self, *arguments: object) -> None:
        self.server.__exit__(*arguments)

    def _decide(self, seen: Seen) -> Reply:
        parts = urlsplit(seen.target)
        headers = {"Date": format_datetime(self.now.replace(tzinfo=UTC), usegmt=True)}
        if parts.path in self.statuses:
            error = {"error": "Forbidden", "message": "Enterprise access required"}
            return Reply(error, self.statuses[parts.path], headers)
        if parts.path == "/teams/members":
            return Reply({"teamMembers": self.members}, headers=headers)
        if parts.path == "/teams/groups":
            return Reply(self._groups(parse_qs(parts.query)), headers=headers)
        if parts.path in self.optional:
            answer = self.optional[parts.path]
            if parts.path == COMMITS_CSV:
                headers["Content-Type"] = "text/csv; charset=utf-8"
            return Reply(answer(seen) if callable(answer) else answer, headers=headers)
        if parts.path.startswith("/teams/groups/"):
            return Reply({"group": billing_group(parts.path.removeprefix("/teams/groups/group_"), [])}, headers=headers)
        if parts.path == "/teams/audit-logs":
            return Reply(
                self._audit_log({key: values[0] for key, values in parse_qs(parts.query).items()}), headers=headers
            )
        return Reply(self._events(json.loads(seen.body)), headers=headers)

    def _groups(self, query: dict[str, list[str]]) -> dict[str, Any]:
        asked = date.fromisoformat(query["billingCycle"][0]) if "billingCycle" in query else self.now.date()
        start = asked.replace(day=1)
        end = (start + timedelta(days=32)).replace(day=1)
        answer: dict[str, Any] = {"groups": self.groups, "unassignedGroup": billing_group("unassigned", [])}
        if self.sends_cycle:
            answer["billingCycle"] = {"cycleStart": f"{start}T00:00:00.000Z", "cycleEnd": f"{end}T00:00:00.000Z"}
        return answer

    def _audit_log(self, query: dict[str, str]) -> dict[str, Any]:
        """Newest first, as one client saw it; both ends belong to the window."""
        first, last, page = query["startTime"], query["endTime"], int(query["page"])
        if page == 1:
            self.asked_windows.append((moment(first), moment(last)))
        rows = [row for row in self.audit_log if first <= row["timestamp"] <= last]
        rows.sort(key=lambda row: row["timestamp"], reverse=True)
        return {
            "events": rows[(page - 1) * self.audit_page_size : page * self.audit_page_size],
            "pagination": {
                "page": page,
                "pageSize": self.audit_page_size,
                "totalCount": len(rows),
                "totalPages": -(-len(rows) // self.audit_page_size),
                "hasNextPage": page * self.audit_page_size < len(rows),
                "hasPreviousPage": page > 1,
            },
            "params": {"teamId": 1},
        }

    def _events(self, body: dict[str, Any]) -> dict[str, Any]:
        first, last, page = body["startDate"], body["endDate"], body["page"]
        self.asked_days.append(datetime.fromtimestamp(first / 1000, UTC).date())
        rows = [row for row in self.events if first <= int(row["timestamp"]) <= last]
        rows.sort(key=lambda row: -int(row["timestamp"]))
        pages = -(-len(rows) // self.page_size)
        extra = 1 if self.drifting > 0 else 0
        self.drifting -= extra
        return {
            "totalUsageEventsCount": len(rows) + extra,
            "pagination": {
                "numPages": pages,
                "currentPage": page,
                "pageSize": self.page_size,
                "hasNextPage": page < pages,
                "hasPreviousPage": page > 1,
            },
            "usageEvents": rows[(page - 1) * self.page_size : page * self.page_size],
            "period": {"startDate": first, "endDate": last},
        }


class Night:
    """A data folder and the loader; `run` loads it at the API's clock."""

    def __init__(
        self, api: HandMadeApi, folder: Path, start: date = date(2026, 11, 10), lookback_days: int = 3
    ) -> None:
        self.api, self.start, self.lookback_days = api, start, lookback_days
        self.organization: dict[str, str] = {}  # its key and id, where a test has one
        self.warnings: list[str] = []
        self.settings = Settings(data_paths(folder), "enterprise", 36, api.server.base_url)
        self.settings.paths.data_dir.mkdir(parents=True, exist_ok=True)

    def run(self, at: datetime | None = None, team: str = "default", **options: Any) -> LoadResult:
        self.api.now = at or self.api.now
        self.api.asked_days.clear()
        self.api.asked_windows.clear()
        self.api.server.seen.clear()
        now = pendulum.instance(self.api.now, tz="UTC")
        address = self.api.server.base_url
        teams = [TeamSettings(team, KEY, address, self.start, self.lookback_days, 0, False, 60.0, **self.organization)]
        with Progress() as progress:
            try:
                return load(
                    self.settings, teams, clock=Clock(now), run_id=new_run_id(now), progress=progress, **options
                )
            finally:
                self.warnings = progress.warnings

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(str(self.settings.paths.warehouse), read_only=True) as connection:
            return connection.execute(sql).fetchall()

    def current_cents(self) -> dict[date, tuple[int, str]]:
        """Rows and cents of the current version of each day that has rows."""
        sql = """
            select w.usage_date, count(*), cast(sum(e.charged_cents) as varchar)
            from raw.load_windows w join raw.usage_events e using (batch_id)
            where w.read_number in (
                select max(read_number) from raw.load_windows where outcome <> 'suspect' group by usage_date)
            group by 1 order by 1"""
        return {day: (count, cents) for day, count, cents in self.query(sql)}

    def outcomes(self, day: date) -> list[str]:
        sql = f"select outcome from raw.load_windows where usage_date = date '{day}' order by read_number"
        return [row[0] for row in self.query(sql)]
