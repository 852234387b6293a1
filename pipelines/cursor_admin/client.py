"""HTTP for the Cursor Admin API: authentication, limits, retries, pages. Knows no tables, and can only read."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode, urlsplit

import orjson
import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies

from pipelines.cursor_admin import settings
from pipelines.cursor_admin.access import RefusedRequestError, certificates, checked_base_url, request_headers
from pipelines.cursor_admin.answers import SHAPE_HINT, Answer, AuditLogPage, EventPage, objects, typed
from pipelines.cursor_admin.errors import ApiShapeError
from pipelines.cursor_admin.failures import (
    Failure,
    broken_answer,
    http_date,
    not_json,
    not_reached,
    refused_status,
    retry_after_seconds,
)
from pipelines.cursor_admin.limiter import RateLimiter
from pipelines.cursor_admin.settings import BASE_URL, Read, find_read

log = logging.getLogger(__name__)

_CHUNK_BYTES = 1 << 18
_ERROR_BODY_BYTES = 1 << 16


@dataclass(frozen=True)
class ClientStats:
    """What a client did so far. `limiter_seconds` is summed over threads."""

    requests: Mapping[str, int] = field(default_factory=dict)  # path template -> requests sent
    retries: int = 0
    throttled: int = 0  # answers with 429
    limiter_seconds: float = 0.0

    @property
    def request_count(self) -> int:
        return sum(self.requests.values())


class CursorAdminClient:
    """Reads the Admin API of one team. Safe to use from many threads; a context manager.

    Args:
        api_key: sent as the user name of HTTP Basic with an empty password (https://cursor.com/docs/api).
        base_url: https, or http to loopback.
        rate_limit_per_minute: requests per window and endpoint; 0 for none, None for the documented limits.
        rate_limit_shared: one limit for all endpoints together; unless given, the smallest documented one.
        rate_limit_window_seconds: length of the server's rate window.
        read_timeout_seconds: silence allowed between two pieces of an answer.
        answer_timeout_seconds: time allowed for one whole answer.
        total_seconds_per_request: time allowed for all attempts of one request and the waits between them.
        backoff_base_seconds: first wait before a retry; doubles each time.

    Raises:
        RefusedRequestError: `base_url` or `api_key` cannot be used safely.
    """

    def __init__(
        self,
        *,
        api_key: str,
        base_url: str = BASE_URL,
        rate_limit_per_minute: int | None = None,
        rate_limit_shared: bool = False,
        rate_limit_window_seconds: float = settings.RATE_LIMIT_WINDOW_SECONDS,
        connect_timeout_seconds: float = settings.CONNECT_TIMEOUT_SECONDS,
        read_timeout_seconds: float = settings.READ_TIMEOUT_SECONDS,
        answer_timeout_seconds: float = settings.ANSWER_TIMEOUT_SECONDS,
        total_seconds_per_request: float = settings.TOTAL_SECONDS_PER_REQUEST,
        backoff_base_seconds: float = settings.BACKOFF_BASE_SECONDS,
    ) -> None:
        self.base_url = checked_base_url(base_url)
        self._host = urlsplit(self.base_url).hostname or ""
        self._headers = request_headers(api_key)
        self._secrets = (api_key, self._headers["Authorization"].removeprefix("Basic "))
        self._connect_timeout = connect_timeout_seconds
        self._read_timeout = read_timeout_seconds
        self._answer_timeout = answer_timeout_seconds
        self._total_seconds = total_seconds_per_request
        self._backoff_base = backoff_base_seconds
        self._limiters = _limiters(rate_limit_per_minute, rate_limit_shared, rate_limit_window_seconds)
        # The adapter is used without a requests.Session, which adds what must not happen here: it follows redirects,
        # keeps cookies, and replaces our Authorization header by what ~/.netrc holds for the host.
        self._adapter = HTTPAdapter(pool_connections=1, pool_maxsize=8, pool_block=True, max_retries=0)
        self._proxies = {} if self._host in settings.LOOPBACK_HOSTS else get_environ_proxies(self.base_url)
        self._verify = certificates()
        self._closed = threading.Event()
        self._has_answered = False
        self._lock = threading.Lock()
        self._requests: Counter[str] = Counter()
        self._retries = 0
        self._throttled = 0
        self._limiter_seconds = 0.0

    def __repr__(self) -> str:
        return f"CursorAdminClient(base_url={self.base_url!r})"  # never the key

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connections, and every wait: requests of other threads that wait for their turn raise ApiError."""
        self._closed.set()
        for limiter in self._limiters.values():
            limiter.close()
        self._adapter.close()

    @property
    def stats(self) -> ClientStats:
        """A copy of the counters, consistent in itself."""
        with self._lock:
            return ClientStats(dict(self._requests), self._retries, self._throttled, self._limiter_seconds)

    def usage_event_page(
        self, start_ms: int, end_ms: int, page: int, page_size: int = settings.USAGE_EVENTS_PAGE_SIZE
    ) -> EventPage:
        """One page of the events with `start_ms` <= time <= `end_ms`: both are inclusive, epoch milliseconds, UTC.

        Source: POST /teams/filtered-usage-events (https://cursor.com/docs/account/teams/admin-api). Pages count from 1.

        Raises:
            ApiError: see `request`; ApiShapeError: a key of the page is missing or has another type.
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

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Answer:
        """Send one read, wait for its turn, and try again where trying again can help.

        Raises:
            RefusedRequestError: the route is not on the list of reads; nothing was sent.
            AuthError: 401 or 403.
            RateLimitError: 429 until the attempts or the time allowed for one request were used up.
            ApiShapeError: the answer is JSON, but not an object.
            ApiError: anything else that gave no answer to use.
        """
        read = find_read(method, path)
        if read is None:
            raise RefusedRequestError(
                f"{method} {path} is not on the list of reads (ALLOWED_READS in pipelines/cursor_admin/settings.py); "
                "nothing was sent."
            )
        prepared = self._prepare(method, path, query, body)
        attempt, spent = 1, 0.0
        while True:
            self._wait_for_turn(read)
            started = time.monotonic()
            outcome = self._attempt(prepared, read, path, self._total_seconds - spent)
            if not isinstance(outcome, Failure):
                payload, answered_at = outcome
                if not isinstance(payload, dict):
                    raise ApiShapeError(f"{path} answered with something that is not a JSON object. {SHAPE_HINT}")
                return Answer(payload, answered_at, attempt)
            delay = self._delay(outcome, attempt)
            spent += time.monotonic() - started + delay
            if outcome.is_final or attempt == self._max_attempts(outcome) or spent >= self._total_seconds:
                # Raised here and not where it was caught: the HTTP library's error, which carries the request with
                # its headers, must not travel along as the context of ours.
                raise outcome.error
            self._wait_for_retry(outcome, read, path, attempt, delay)
            attempt += 1

    def _prepare(
        self, method: str, path: str, query: Mapping[str, str] | None, body: Mapping[str, Any] | None
    ) -> requests.PreparedRequest:
        url = f"{self.base_url}{path}?{urlencode(query)}" if query else f"{self.base_url}{path}"
        if body is None:
            return requests.Request(method, url, headers=self._headers).prepare()
        headers = {**self._headers, "Content-Type": "application/json"}
        return requests.Request(method, url, headers=headers, data=orjson.dumps(body)).prepare()

    def _wait_for_turn(self, read: Read) -> None:
        waited = self._limiters[read.path].acquire()
        with self._lock:
            self._limiter_seconds += waited
            self._requests[read.path] += 1

    def _attempt(
        self, prepared: requests.PreparedRequest, read: Read, path: str, seconds: float
    ) -> tuple[Any, datetime | None] | Failure:
        """One request: the parsed JSON and the server's clock, or what went wrong."""
        deadline = time.monotonic() + min(self._answer_timeout, seconds)
        try:
            try:
                response = self._adapter.send(
                    prepared,
                    stream=True,
                    timeout=(min(self._connect_timeout, seconds), min(self._read_timeout, seconds)),
                    verify=self._verify,
                    proxies=self._proxies,
                )
            finally:
                self._limiters[read.path].release()  # the server has counted it, whatever the body brings
            self._has_answered = True
            if response.status_code != 200:
                return self._refused(response, path, deadline)
            body = self._read_body(response, deadline)
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            return not_reached(error, self._host, path)
        if body is None:
            return broken_answer(path, "it came too slowly", self._host)
        try:
            return orjson.loads(body), http_date(response.headers.get("Date"))
        except orjson.JSONDecodeError:
            return not_json(path, response.headers.get("Content-Type"), len(body))

    def _refused(self, response: requests.Response, path: str, deadline: float) -> Failure:
        try:
            body = self._read_body(response, deadline, limit=_ERROR_BODY_BYTES)
        except (urllib3.exceptions.HTTPError, OSError):
            body = None  # the status says enough
        retry_after = retry_after_seconds(response.headers.get("Retry-After"), http_date(response.headers.get("Date")))
        failure = refused_status(response.status_code, path, body or b"", retry_after, self._secrets)
        if failure.is_throttled:
            with self._lock:
                self._throttled += 1
        return failure

    def _read_body(self, response: requests.Response, deadline: float, limit: int | None = None) -> bytes | None:
        """The whole body, or its first `limit` bytes; None when the deadline passed first.

        Each read takes what is there: a read of a fixed size would wait for as long as a slow sender drips.
        """
        chunks: list[bytes] = []
        size = 0
        try:
            while chunk := response.raw.read1(_CHUNK_BYTES, decode_content=True):
                chunks.append(chunk)
                size += len(chunk)
                if limit is not None and size >= limit:
                    break
                if time.monotonic() > deadline or self._closed.is_set():
                    return None
        finally:
            response.close()  # a connection whose answer was read to its end is back in the pool by now
        return b"".join(chunks)

    def _max_attempts(self, failure: Failure) -> int:
        if failure.is_unreached and not self._has_answered:
            return settings.MAX_ATTEMPTS_BEFORE_FIRST_ANSWER
        return settings.MAX_ATTEMPTS

    def _delay(self, failure: Failure, attempt: int) -> float:
        backoff: float = self._backoff_base * 2 ** (attempt - 1) * random.uniform(1.0, 1.25)
        if failure.retry_after is None:
            return min(backoff, settings.BACKOFF_CAP_SECONDS)
        return min(max(failure.retry_after, self._backoff_base), settings.RETRY_AFTER_CAP_SECONDS)

    def _wait_for_retry(self, failure: Failure, read: Read, path: str, attempt: int, delay: float) -> None:
        log.info("%s: %s; attempt %d follows in %.1f s", path, failure.reason, attempt + 1, delay)
        with self._lock:
            self._retries += 1
        if failure.is_throttled:
            self._limiters[read.path].hold(delay)  # for every thread: more requests would only prolong it
        self._closed.wait(delay)


def _limiters(per_minute: int | None, is_shared: bool, window_seconds: float) -> dict[str, RateLimiter]:
    """One limiter for each path template; the same one for all when shared."""
    if per_minute is not None and per_minute < 0:
        raise RefusedRequestError(
            "Set rate_limit_per_minute under [sources.cursor_admin] in .dlt/config.toml to 0 (none) or more."
        )
    limits = {
        read.path: read.requests_per_minute if per_minute is None else per_minute for read in settings.ALLOWED_READS
    }
    if is_shared:
        shared = RateLimiter(min(limits.values()) or None, window_seconds)
        return dict.fromkeys(limits, shared)
    return {path: RateLimiter(limit or None, window_seconds) for path, limit in limits.items()}


def _milliseconds_iso(moment: datetime) -> str:
    """As the API writes its own times; without a zone, UTC is meant."""
    zoned = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return zoned.isoformat(timespec="milliseconds").replace("+00:00", "Z")
