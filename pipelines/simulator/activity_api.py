"""POST /teams/daily-usage-data: activity counters per person and day, without money."""

from __future__ import annotations

from random import Random
from typing import Any

from pipelines.simulator.answers import Answer, Ask, body_range, json_answer, page_count, page_of
from pipelines.simulator.instants import DAY_MS, day_of, days_between, to_ms
from pipelines.simulator.organisation import Activity, Organisation
from pipelines.simulator.people import Account
from pipelines.simulator.views import Clock
from pipelines.simulator.words import words

_COUNTERS = words("""
    totalLinesAdded totalLinesDeleted acceptedLinesAdded acceptedLinesDeleted totalApplies totalAccepts totalRejects
    totalTabsShown totalTabsAccepted composerRequests chatRequests agentRequests cmdkUsages subscriptionIncludedReqs
    apiKeyReqs usageBasedReqs bugbotUsages
""")
_TEXTS = ("mostUsedModel", "applyMostUsedExtension", "tabMostUsedExtension", "clientVersion")
_EXTENSIONS = (".py", ".ts", ".sql", ".go", ".tsx", ".md")


def daily_usage(ask: Ask) -> Answer:
    """Rows by day. Without both paging fields: active people only, no pagination object; with both: pages of people."""
    first_ms, last_ms = body_range(ask)
    organisation = ask.organisation
    days = days_between(day_of(first_ms), min(day_of(last_ms), day_of(ask.clock.now_ms)))
    payload: dict[str, Any] = {"data": [], "period": {"startDate": first_ms, "endDate": last_ms}}
    accounts = [
        account
        for account in organisation.roster.accounts.values()
        if account.joined_ms <= min(last_ms, ask.clock.now_ms)
        and (account.removed_ms is None or account.removed_ms > first_ms)
    ]
    is_paged = "page" in ask.body and "pageSize" in ask.body
    if is_paged:
        page, size = ask.number("page", 1, 1, 1_000_000), ask.number("pageSize", 1000, 1, 1000)
        pages = page_count(len(accounts), size)
        flags = {"hasNextPage": page < pages, "hasPreviousPage": page > 1}
        payload["pagination"] = {
            "page": page,
            "pageSize": size,
            "totalUsers": len(accounts),
            "totalPages": pages,
            **flags,
        }
        accounts = page_of(accounts, page, size)
    for day in days:
        by_user = day_activity(organisation, to_ms(day), ask.clock)
        for account in accounts:
            if account.is_on_team(to_ms(day) + DAY_MS - 1) or account.user_id in by_user:
                row = _row(organisation, account, to_ms(day), by_user.get(account.user_id))
                if row["isActive"] or is_paged:
                    payload["data"].append(row)
    return json_answer(payload)


def day_activity(organisation: Organisation, day_ms: int, clock: Clock) -> dict[str, Activity]:
    """What each person did on the day, by user id; service accounts by theirs."""
    by_actor: dict[str, Activity] = {}
    for (actor, _), activity in organisation.totals(day_of(day_ms), clock).items():
        by_actor.setdefault(actor, Activity()).add(activity)
    return by_actor


def _row(organisation: Organisation, account: Account, day_ms: int, activity: Activity | None) -> dict[str, Any]:
    day = day_of(day_ms)
    head = {"userId": account.numeric_id, "day": day.isoformat(), "date": day_ms, "email": account.email}
    rng = Random(f"{organisation.seed}/activity/{account.user_id}/{day.isoformat()}")
    is_hole = organisation.behaviour.daily_usage_holes and rng.random() < 0.02
    if activity is None or is_hole:
        return {**head, "isActive": False, **dict.fromkeys(_COUNTERS, 0), **dict.fromkeys(_TEXTS)}
    events, added = activity.events, activity.events * rng.randrange(4, 30)
    accepted, tabs, applies = added * rng.randrange(30, 80) // 100, events * rng.randrange(1, 9), events // 2
    counts = (added, added // 4, accepted, accepted // 5, applies, applies * 4 // 5, applies // 9, tabs, tabs * 2 // 5)
    requests = (events // 20, events // 8, events - events // 20 - events // 8, events // 15)
    kinds = (activity.included_requests, activity.own_key_requests, activity.usage_requests, rng.randrange(3))
    model = max(sorted(activity.models), key=lambda name: activity.models[name])
    texts = (model, rng.choice(_EXTENSIONS), rng.choice(_EXTENSIONS), f"3.4.{rng.randrange(20)}")
    return {
        **head,
        "isActive": True,
        **dict(zip(_COUNTERS, counts + requests + kinds, strict=True)),
        **dict(zip(_TEXTS, texts, strict=True)),
    }
