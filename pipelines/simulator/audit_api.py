"""GET /teams/audit-logs."""

from __future__ import annotations

import json
from typing import Any

from pipelines.simulator.answers import MAX_SPAN_MS, Answer, Ask, RefusalError, json_answer, page_count, page_of
from pipelines.simulator.audit_trail import AuditEvent
from pipelines.simulator.instants import DAY_MS, iso, parse_moment


def audit_logs(ask: Ask) -> Answer:
    """Events of the window, oldest first unless switched. Both ends are inclusive; a window may span 30 days."""
    organisation, now_ms, query = ask.organisation, ask.clock.now_ms, ask.query
    try:
        first_ms = parse_moment(query.get("startTime", "7d"), now_ms)
        last_ms = parse_moment(query.get("endTime", "now"), now_ms)
    except ValueError:
        raise RefusalError(400, "Invalid startTime or endTime") from None
    if last_ms < first_ms or last_ms - first_ms > MAX_SPAN_MS:
        raise RefusalError(400, "Time range cannot exceed 30 days")
    page, size = ask.number("page", 1, 1, 1_000_000), ask.number("pageSize", 100, 1, 500)
    retention = organisation.behaviour.audit_retention_days
    oldest_ms = first_ms if retention is None else max(first_ms, now_ms - retention * DAY_MS)
    types = {name for name in query.get("eventTypes", "").split(",") if name}
    users = {name.strip().lower() for name in query.get("users", "").split(",") if name.strip()}
    if len(users) > size:
        raise RefusalError(400, "Too many users")
    search = query.get("search", "").lower()
    rows = [
        _row(event)
        for event in organisation.audit_trail
        if oldest_ms <= event.at_ms <= min(last_ms, now_ms)
        and (not types or event.event_type in types)
        and (not users or event.actor.lower() in users)
        and (not search or search in json.dumps(event.data).lower() or search in event.actor.lower())
    ]
    if organisation.behaviour.audit_newest_first:
        rows.reverse()
    pages = page_count(len(rows), size)
    return json_answer(
        {
            "events": page_of(rows, page, size),
            "pagination": {
                "page": page,
                "pageSize": size,
                "totalCount": len(rows),
                "totalPages": pages,
                "hasNextPage": page < pages,
                "hasPreviousPage": page > 1,
            },
            "params": {"teamId": organisation.team_id, "startDate": first_ms, "endDate": last_ms},
        }
    )


def _row(event: AuditEvent) -> dict[str, Any]:
    return {
        "event_id": event.event_id,
        "timestamp": iso(event.at_ms),
        "ip_address": "198.51.100.7",
        "user_email": event.actor,
        "event_type": event.event_type,
        "application_type": "cursor",
        "event_data": event.data,
    }
