"""Key and access: the smallest possible request to every route a run reads, and the two clocks against each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta

from pipelines.config import TeamSettings
from pipelines.cursor_admin.client import CursorAdminClient
from pipelines.cursor_admin.windows import DayWindow
from pipelines.doctor.findings import FAILING, HINT, OK, WARNING, Finding
from pipelines.doctor.warehouse import Known
from pipelines.errors import ApiError, AuthError, RateLimitError, RefusedRequestError

SECONDS_PER_REQUEST = 20.0  # somebody is waiting; a night has more patience
SKEW_NOTED = timedelta(minutes=2)
SKEW_FAILING = timedelta(hours=1)


@dataclass
class Visit:
    """One team's client, the day that is asked about, and what was heard on the way."""

    team: TeamSettings
    client: CursorAdminClient
    day: date
    skew: timedelta | None = None  # our clock minus the server's
    has_answered: bool = False
    group_ids: list[str] = field(default_factory=list)
    directory_group_ids: list[str] = field(default_factory=list)
    people: set[str] = field(default_factory=set)

    @property
    def window(self) -> DayWindow:
        return DayWindow(self.day)

    @property
    def instants(self) -> tuple[datetime, datetime]:
        start = datetime.combine(self.day, time.min)
        return start, start + timedelta(days=1)


@dataclass(frozen=True)
class Route:
    """One read. `gives` is what a company has from it; `ask` sends it, and answers the server's clock.

    `resource` is its name in the ledgers, None where nothing of it is stored. `is_main`: no run works without it. `ask`
    answers a text instead when there is nothing to ask for.
    """

    method: str
    path: str
    gives: str
    resource: str | None
    ask: Callable[[Visit], datetime | str | None]
    is_main: bool = False


def _groups(visit: Visit) -> datetime | None:
    answer = visit.client.billing_groups()
    visit.group_ids = [str(group.get("id")) for group in answer.payload["groups"]]
    return answer.date


def _group(visit: Visit) -> datetime | str | None:
    if not visit.group_ids:
        return "not asked: there is no billing group to ask for"
    return visit.client.billing_group(visit.group_ids[0]).date


def _members(visit: Visit) -> datetime | None:
    answer = visit.client.members()
    visit.people = {str(row.get("email")).strip().lower() for row in answer.payload["teamMembers"]}
    return answer.date


def _directory_groups(visit: Visit) -> datetime | None:
    page = visit.client.directory_group_page(1, 1)
    visit.directory_group_ids = [str(row["id"]) for row in page.rows if isinstance(row, dict) and row.get("id")]
    return page.date


def _directory_group_members(visit: Visit) -> datetime | str | None:
    if not visit.directory_group_ids:
        return "not asked: there is no directory group to ask for"
    return visit.client.directory_group_member_page(visit.directory_group_ids[0], 1, 1).date


def _pooled_usage(visit: Visit) -> datetime | str | None:
    if not (visit.team.organization_api_key and visit.team.organization_id):
        return "not asked: organization_api_key and organization_id are not set"
    return visit.client.pooled_usage(visit.team.organization_id).date


EVENTS = "/teams/filtered-usage-events"
ROUTES = (
    Route("GET", "/v1/me", "proof that the key exists", None, lambda v: v.client.me().date),
    Route(
        "POST",
        EVENTS,
        "usage at all",
        "usage_events",
        lambda v: v.client.usage_event_page(v.window.start_ms, v.window.end_ms, 1, 1).date,
        is_main=True,
    ),
    Route("GET", "/teams/members", "roster, and so no seats", "members", _members, is_main=True),
    Route("GET", "/teams/groups", "billing groups, so everybody is in Unassigned", "billing_groups", _groups),
    Route("GET", "/teams/groups/{group_id}", "control of daily spend", "billing_group_details", _group),
    Route(
        "GET",
        "/teams/audit-logs",
        "exact days of joining and leaving",
        "audit_logs",
        lambda v: v.client.audit_log_page(*v.instants, 1, 1).date,
    ),
    Route(
        "POST",
        "/teams/spend",
        "control of what each person cost",
        "member_spend",
        lambda v: v.client.spend_page(1, 1).date,
    ),
    Route(
        "POST",
        "/teams/daily-usage-data",
        "activity without cost",
        "daily_usage",
        lambda v: v.client.daily_usage_page(v.window.start_ms, v.window.end_ms, 1, 1).date,
    ),
    Route("GET", "/teams/directory-groups", "limits by directory group", "directory_groups", _directory_groups),
    Route(
        "GET",
        "/teams/directory-groups/{group_id}/members",
        "members of directory groups",
        "directory_groups",
        _directory_group_members,
    ),
    Route(
        "GET",
        "/settings/repo-blocklists/repos",
        "blocked repositories",
        "repository_blocklists",
        lambda v: v.client.repository_blocklists().date,
    ),
    Route(
        "GET",
        "/analytics/ai-code/commits",
        "cost by repository",
        "ai_commits",
        lambda v: v.client.ai_commit_page(*v.instants, 1, 1).date,
    ),
    Route(
        "GET",
        "/analytics/ai-code/commits.csv",
        "commits in one piece",
        "ai_commits",
        lambda v: v.client.ai_commits_csv(*v.instants).date,
    ),
    Route("POST", "/organizations/pooled-usage", "control of the pool", "pooled_usage", _pooled_usage),
)


def open_client(team: TeamSettings, **patience: float) -> CursorAdminClient:
    """A client of a team, within the limits of its settings."""
    return CursorAdminClient(
        api_key=team.api_key,
        organization_api_key=team.organization_api_key,
        base_url=team.base_url,
        rate_limit_per_minute=team.rate_limit_per_minute,
        rate_limit_shared=team.rate_limit_shared,
        rate_limit_window_seconds=team.rate_limit_window_seconds,
        **patience,
    )


def check_access(team: TeamSettings, known: Known, today: date) -> Iterator[Finding]:
    """One finding per route, and one about the clocks. What was heard of groups and people goes into `known`."""
    try:
        client = open_client(team, total_seconds_per_request=SECONDS_PER_REQUEST)
    except RefusedRequestError as error:
        yield Finding(FAILING, "access", f"{team.team}: {error}")
        return
    with client:
        visit = Visit(team, client, today - timedelta(days=1))
        for number, route in enumerate(ROUTES):
            if number == 2 and not visit.has_answered:
                text = f"{team.team}: the other routes were not asked, as neither the key nor {EVENTS} gave an answer"
                yield Finding(HINT, "access", text, "Correct that first, then run `chargeback doctor` again.")
                return
            yield _ask(route, visit, known)
    known.is_known = True
    known.groups |= set(visit.group_ids)
    known.people |= visit.people
    if visit.skew is not None:
        yield check_clock(visit.skew, is_loopback=team.is_loopback)


def _ask(route: Route, visit: Visit, known: Known) -> Finding:
    name = f"{visit.team.team}: {route.method} {route.path}"
    answered_before = (visit.team.team, route.resource) in known.answered
    try:
        answer = route.ask(visit)
    except AuthError as error:
        text = f"{name} is refused ({error.status}): no {route.gives}"
        if answered_before:
            text += "; it used to answer, so the next run fails"
        return Finding(FAILING if route.is_main or answered_before else HINT, "access", text, str(error))
    except RateLimitError as error:
        return Finding(WARNING, "access", f"{name} is throttled", str(error))
    except ApiError as error:
        return Finding(FAILING if route.is_main else WARNING, "access", f"{name} gives no answer to use", str(error))
    if isinstance(answer, str):
        return Finding(OK, "access", f"{name}: {answer}")
    visit.has_answered = True
    if answer is not None and visit.skew is None:
        visit.skew = datetime.now(UTC) - answer
    return Finding(OK, "access", f"{name} answers")


def check_clock(skew: timedelta, *, is_loopback: bool) -> Finding:
    """Whether a day is final rests on the earlier of two clocks: ours and the `Date` of an answer."""
    minutes = abs(skew).total_seconds() / 60
    text = f"this machine is {minutes:,.0f} minutes {'ahead of' if skew > timedelta() else 'behind'} the server"
    if abs(skew) <= SKEW_NOTED:
        return Finding(OK, "clock", "this machine and the server agree")
    if is_loopback:
        return Finding(HINT, "clock", text, "A server on loopback keeps a clock of its own: run with `--now`.")
    advice = "Set the clock, and keep it with NTP: which days are final, and so what may be closed, rests on it."
    return Finding(FAILING if abs(skew) >= SKEW_FAILING else WARNING, "clock", text, advice)
