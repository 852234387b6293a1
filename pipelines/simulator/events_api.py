"""POST /teams/filtered-usage-events."""

from __future__ import annotations

from datetime import timedelta

from pipelines.simulator.answers import Answer, Ask, RefusalError, body_range, page_count, page_of
from pipelines.simulator.instants import HOUR_MS, day_of, days_between
from pipelines.simulator.usage import Event
from pipelines.simulator.views import DayView, render_event

MAX_PAGE_SIZE = 1000
_HOSTING_TYPES = frozenset({"CLOUD", "SELF_HOSTED", "SELF_HOSTED_POOL", "SELF_HOSTED_MACHINE"})
_FILTERS = ("userId", "email", "serviceAccountId", "cloudAgentId", "automationId", "hostingType")


def usage_events(ask: Ask) -> Answer:
    """A page of the window's events, newest first. Both bounds are inclusive."""
    first_ms, last_ms = body_range(ask)
    page = ask.number("page", 1, 1, 1_000_000)
    size = ask.number("pageSize", 100, 1, MAX_PAGE_SIZE)
    if any(ask.body.get(name) not in (None, "") for name in _FILTERS):
        texts = [
            render_event(e, ask.clock.now_ms, ask.organisation.behaviour) for e in _filtered(ask, first_ms, last_ms)
        ]
        count, rows = len(texts), ",".join(page_of(texts, page, size)).encode()
    else:
        count, rows = _unfiltered(ask, first_ms, last_ms, page, size)
    pages = page_count(count, size)
    more, less = "true" if page < pages else "false", "true" if page > 1 else "false"
    head = (
        f'{{"totalUsageEventsCount":{count},"pagination":{{"numPages":{pages},"currentPage":{page},"pageSize":{size},'
        f'"hasNextPage":{more},"hasPreviousPage":{less}}},"usageEvents":['
    )
    tail = f'],"period":{{"startDate":{first_ms},"endDate":{last_ms}}}}}'
    return Answer(200, b"".join((head.encode(), rows, tail.encode())))


def overlaps_open_hour(ask: Ask) -> bool:
    """Whether the window reaches into the hour that is still open, where rows appear between pages."""
    return body_range(ask)[1] >= ask.clock.now_ms - ask.clock.now_ms % HOUR_MS


def _days(ask: Ask, first_ms: int, last_ms: int) -> list[tuple[int, int, DayView]]:
    """(start index, stop index, view) of every served day in the window, newest first."""
    organisation = ask.organisation
    first = max(day_of(first_ms), organisation.start)
    last = min(day_of(last_ms), organisation.end, day_of(ask.clock.now_ms) + timedelta(days=1))
    spans = []
    for day in reversed(days_between(first, last)):
        if organisation.is_served(day, ask.clock.now_ms):
            view = organisation.view(day, ask.clock)
            spans.append((*view.between(first_ms, last_ms), view))
    return spans


def _unfiltered(ask: Ask, first_ms: int, last_ms: int, page: int, size: int) -> tuple[int, bytes]:
    spans = _days(ask, first_ms, last_ms)
    wanted_from, wanted_to = (page - 1) * size, page * size
    position, texts = 0, []
    for start, stop, view in spans:
        low = max(wanted_from - position, 0)
        high = min(wanted_to - position, stop - start)
        if low < high:
            texts.append(view.text(start + low, start + high))
        position += stop - start
    return position, b",".join(texts)


def _filtered(ask: Ask, first_ms: int, last_ms: int) -> list[Event]:
    body, now_ms = ask.body, ask.clock.now_ms
    hosting = body.get("hostingType")
    if hosting is not None and hosting not in _HOSTING_TYPES:
        raise RefusalError(400, "Invalid hostingType")

    def wanted(event: Event) -> bool:
        if body.get("userId") not in (None, "") and (
            event.account is None or event.account.numeric_id != body["userId"]
        ):
            return False
        email = event.email_at(now_ms)
        if body.get("email") and (email is None or email.lower() != str(body["email"]).strip().lower()):
            return False
        service = event.service_account
        if body.get("serviceAccountId") and (service is None or service.service_account_id != body["serviceAccountId"]):
            return False
        for name, value in (("cloudAgentId", event.cloud_agent_id), ("automationId", event.automation_id)):
            if body.get(name) and (value is None or body[name] not in ("*", value)):
                return False
        return hosting is None or (hosting == "CLOUD" and event.cloud_agent_id is not None)

    organisation = ask.organisation
    days = days_between(max(day_of(first_ms), organisation.start), min(day_of(last_ms), organisation.end))
    return [
        event
        for day in reversed(days)
        for event in organisation.visible_events(day, ask.clock)
        if first_ms <= event.at_ms <= last_ms and wanted(event)
    ]
