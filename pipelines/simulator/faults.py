"""How a scheduled fault looks on the wire."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from pipelines.simulator.answers import ERROR_NAMES, Answer, json_answer
from pipelines.simulator.api import find_route
from pipelines.simulator.behaviour import Fault

_CHANGED = {"usageEvents": "chargedCents", "groups": "joinedAt", "teamMembers": "email", "events": "totalCount"}


def spoil(answer: Answer, fault: Fault, method: str, path: str) -> tuple[Answer | None, int]:
    """The answer with the fault in it (None: none at all), and how many bytes of the announced length are not sent."""
    kind = fault.kind
    if kind in ("reset", "stall"):
        return None, 0
    if kind == "short_body":
        return answer, len(answer.body) // 2
    if kind == "truncated_json":
        return replace(answer, body=answer.body[: len(answer.body) // 2]), 0
    if kind == "html":
        page = b"<!DOCTYPE html><html><head><title>Just a moment...</title></head><body></body></html>"
        return Answer(200, page, "text/html; charset=utf-8"), 0
    if kind in ("missing_key", "changed_type"):
        return _reshaped(answer, fault, find_route(method, path)[0].rows_key), 0
    status = int(kind)
    headers = {"Retry-After": fault.retry_after} if fault.retry_after is not None else {}
    messages = {401: "Invalid API key", 403: "Enterprise access required", 404: "Resource not found"}
    messages |= {429: "Rate limit exceeded. Please try again later."}
    if status == 502:
        return Answer(502, b"<html><body><h1>502 Bad Gateway</h1></body></html>", "text/html", headers), 0
    refused = json_answer(
        {"error": ERROR_NAMES[status], "message": messages.get(status, "An unexpected error occurred")}, status
    )
    return replace(refused, headers=headers), 0


def _reshaped(answer: Answer, fault: Fault, rows_key: str) -> Answer:
    if answer.status != 200:
        return answer
    if answer.content_type.startswith("text/csv"):
        heading = fault.key or "commit_hash"  # a column of another name is one that is missing
        return replace(answer, body=answer.body.replace(heading.encode(), b"unheard_of", 1))
    payload = json.loads(answer.body)
    if fault.kind == "missing_key":
        _change(payload, fault.key or rows_key, remove=True)
    else:
        _change(payload, fault.key or _CHANGED.get(rows_key, rows_key), remove=False)
    return json_answer(payload)


def _change(node: Any, key: str, *, remove: bool) -> bool:
    """Removes the first occurrence of the key, or gives it a value of a type it never has."""
    if isinstance(node, dict):
        if key in node:
            if remove:
                del node[key]
            else:
                node[key] = {"value": str(node[key])}
            return True
        return any(_change(value, key, remove=remove) for value in node.values())
    return isinstance(node, list) and any(_change(value, key, remove=remove) for value in node)
