"""What a handler gets and gives: a request already parsed, and an answer or a refusal."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from pipelines.simulator.organisation import Organisation
from pipelines.simulator.views import Clock

MAX_SPAN_MS = 30 * 86_400_000


class RefusalError(Exception):
    """An answer that is an error: status, `error` and `message` of the documented shape."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


ERROR_NAMES = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    429: "Too Many Requests",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}


@dataclass(frozen=True)
class Ask:
    """One request: path parameters, query or JSON body, and the clock at which it is answered."""

    organisation: Organisation
    clock: Clock
    path: str
    path_values: tuple[str, ...] = ()
    query: dict[str, str] = field(default_factory=dict)
    body: dict[str, Any] = field(default_factory=dict)

    def number(self, name: str, default: int, low: int, high: int) -> int:
        """A whole number from the body or the query, within bounds; a RefusalError (400) otherwise."""
        value = self.body.get(name, self.query.get(name, default))
        try:
            number = int(value)
        except (TypeError, ValueError):
            raise RefusalError(400, f"{name} must be a number") from None
        if not low <= number <= high:
            raise RefusalError(400, f"{name} must be between {low} and {high}")
        return number


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes
    content_type: str = "application/json; charset=utf-8"
    headers: dict[str, str] = field(default_factory=dict)


def json_answer(payload: Any, status: int = 200) -> Answer:
    return Answer(status, json.dumps(payload, separators=(",", ":"), ensure_ascii=False).encode())


def refusal_answer(refusal: RefusalError) -> Answer:
    return json_answer({"error": ERROR_NAMES[refusal.status], "message": refusal.message}, refusal.status)


def body_range(ask: Ask, default_days: int = 30) -> tuple[int, int]:
    """`startDate` and `endDate`, epoch milliseconds, both inclusive; refused (400): another type, over 30 days."""
    last = ask.body.get("endDate", ask.clock.now_ms)
    first = ask.body.get("startDate", ask.clock.now_ms - default_days * 86_400_000)
    for value in (first, last):
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise RefusalError(400, "startDate and endDate must be epoch milliseconds")
    if last < first:
        raise RefusalError(400, "endDate must not be before startDate")
    if last - first > MAX_SPAN_MS:
        raise RefusalError(400, "Date range cannot exceed 30 days")
    return int(first), int(last)


def page_of(rows: list[Any], page: int, size: int) -> list[Any]:
    """One page; beyond the end it is empty."""
    return rows[(page - 1) * size : page * size]


def page_count(rows: int, size: int) -> int:
    return max(1, -(-rows // size))
