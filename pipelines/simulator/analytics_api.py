"""GET /analytics/team/* and /analytics/by-user/*: adoption metrics, plain and plausible, from the same events."""

from __future__ import annotations

from datetime import date
from random import Random
from typing import Any

from pipelines.simulator.activity_api import day_activity
from pipelines.simulator.answers import MAX_SPAN_MS, Answer, Ask, RefusalError, json_answer, page_count, page_of
from pipelines.simulator.instants import day_of, days_between, parse_moment, to_ms
from pipelines.simulator.organisation import Activity

_USAGE_BY_NAME = {
    "commands": ("command_name", ("explain", "review", "commit")),
    "plans": ("model", ("claude-4.5-sonnet", "composer-2.5")),
    "ask-mode": ("model", ("claude-4.5-sonnet", "gpt-5.4")),
    "skills": ("skill_name", ("write-tests", "open-pr")),
}
_BY_USER = frozenset(
    {"agent-edits", "tabs", "models", "client-versions", "top-file-extensions", "mcp", *_USAGE_BY_NAME}
)
_LINES = ("lines_suggested", "lines_accepted", "green_lines_accepted", "red_lines_accepted")
_Row = dict[str, Any]


def team_metric(ask: Ask) -> Answer:
    """One metric of the team, a row per day (and name)."""
    metric = ask.path_values[0] if ask.path_values else "conversation-insights"
    if metric == "conversation-insights":
        raise RefusalError(401, "Conversation insights are not enabled for this team")
    days, params = _window(ask, metric)
    if metric in ("leaderboard", "bugbot", "bugbot-reviews"):
        return json_answer({"data": [], "params": params})
    if metric not in _BY_USER | {"dau"}:
        raise RefusalError(404, "Resource not found")
    rows = [row for day, people in _people(ask, days).items() for row in _rows(ask, metric, day, people)]
    return json_answer({"data": rows, "params": params})


def user_metric(ask: Ask) -> Answer:
    """The same keyed by e-mail, in pages of users."""
    metric = ask.path_values[0]
    if metric not in _BY_USER:
        raise RefusalError(404, "Resource not found")
    days, params = _window(ask, metric)
    page, size = ask.number("page", 1, 1, 1_000_000), ask.number("pageSize", 100, 1, 500)
    wanted = {name.strip().lower() for name in ask.query.get("users", "").split(",") if name.strip()}
    accounts = [
        account
        for account in ask.organisation.roster.accounts.values()
        if account.joined_ms <= ask.clock.now_ms
        and (not wanted or wanted & {account.email.lower(), account.user_id.lower()})
    ]
    shown = page_of(accounts, page, size)
    data: dict[str, list[_Row]] = {}
    by_day = _people(ask, days)
    for account in shown:
        for day, people in by_day.items():
            if account.user_id in people:
                own = {account.user_id: people[account.user_id]}
                data.setdefault(account.email, []).extend(_rows(ask, metric, day, own))
    pages = page_count(len(accounts), size)
    mappings = [{"id": account.user_id, "email": account.email} for account in shown]
    flags = {"hasNextPage": page < pages, "hasPreviousPage": page > 1}
    pagination = {"page": page, "pageSize": size, "totalUsers": len(accounts), "totalPages": pages, **flags}
    paged = {**params, "page": page, "pageSize": size, "userMappings": mappings}
    return json_answer({"data": data, "pagination": pagination, "params": paged})


def _window(ask: Ask, metric: str) -> tuple[list[date], _Row]:
    now_ms, organisation = ask.clock.now_ms, ask.organisation
    try:
        first_ms = parse_moment(ask.query.get("startDate", "7d"), now_ms)
        last_ms = parse_moment(ask.query.get("endDate", "today"), now_ms)
    except ValueError:
        raise RefusalError(400, "Invalid startDate or endDate") from None
    if last_ms - first_ms > MAX_SPAN_MS:
        raise RefusalError(400, "Date range cannot exceed 30 days")
    first, last = day_of(first_ms), day_of(last_ms)
    named = "top-files" if metric == "top-file-extensions" else metric
    params = {
        "metric": named,
        "teamId": organisation.team_id,
        "startDate": first.isoformat(),
        "endDate": last.isoformat(),
    }
    return days_between(max(first, organisation.start), min(last, organisation.end, day_of(now_ms))), params


def _people(ask: Ask, days: list[date]) -> dict[date, dict[str, Activity]]:
    """What people did on each day, by user id; service accounts are not people."""
    activity = {day: day_activity(ask.organisation, to_ms(day), ask.clock) for day in days}
    return {
        day: {actor: done for actor, done in by_actor.items() if actor in ask.organisation.roster.accounts}
        for day, by_actor in activity.items()
    }


def _rows(ask: Ask, metric: str, day: date, people: dict[str, Activity]) -> list[_Row]:
    events = sum(activity.events for activity in people.values())
    text = day.isoformat()
    rng = Random(f"{ask.organisation.seed}/{metric}/{text}/{min(people, default='')}/{len(people)}")
    if metric == "dau":
        return [
            {
                "date": text,
                "dau": len(people),
                "cli_dau": len(people) // 5,
                "cloud_agent_dau": len(people) // 8,
                "bugbot_dau": 0,
            }
        ]
    if metric == "models":
        breakdown: dict[str, dict[str, int]] = {}
        for activity in people.values():
            for model, count in activity.models.items():
                entry = breakdown.setdefault(model, {"messages": 0, "users": 0})
                entry["messages"] += count
                entry["users"] += 1
        return [{"date": text, "model_breakdown": dict(sorted(breakdown.items()))}]
    if metric == "client-versions":
        return [{"event_date": text, "client_version": "3.4.12", "user_count": len(people), "percentage": 1.0}]
    if metric == "mcp":
        return [{"event_date": text, "tool_name": "read_table", "mcp_server_name": "duck", "usage": events // 4}]
    if metric in _USAGE_BY_NAME:
        column, names = _USAGE_BY_NAME[metric]
        return [{"event_date": text, column: name, "usage": events // (3 + rng.randrange(9))} for name in names]
    accepted = events * rng.randrange(40, 80) // 100
    lines = {f"total_{name}": events * 9 // (index + 1) for index, name in enumerate(_LINES)}
    if metric == "tabs":
        return [
            {
                "event_date": text,
                "total_suggestions": events,
                "total_accepts": accepted,
                "total_rejects": events - accepted,
                **lines,
            }
        ]
    if metric == "top-file-extensions":
        counts = {"total_files": events, "total_accepts": accepted, "total_rejects": events - accepted}
        return [{"event_date": text, "file_extension": name, **counts, **lines} for name in ("py", "sql")]
    counts = {
        "total_suggested_diffs": events,
        "total_accepted_diffs": accepted,
        "total_rejected_diffs": events - accepted,
    }
    return [{"event_date": text, **counts, **lines}]
