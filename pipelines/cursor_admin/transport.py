"""HTTP for the Cursor API: authentication, limits, retries. Knows no pages and no tables, and can only read."""

from __future__ import annotations

import logging
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
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
from pipelines.cursor_admin.answers import SHAPE_HINT, Answer, TextAnswer
from pipelines.cursor_admin.errors import ApiShapeError
from pipelines.cursor_admin.failures import (
    Failure,
    broken_answer,
    http_date,
    not_csv,
    not_json,
    not_reached,
    refused_status,
    retry_after_seconds,
)
from pipelines.cursor_admin.limiter import RateLimiter
from pipelines.cursor_admin.settings import BASE_URL, ORGANIZATION, TEAM, Read, find_read

log = logging.getLogger(__name__)

_CHUNK_BYTES = 1 << 18
_ERROR_BODY_BYTES = 1 << 16
_LIMIT_HEADER = re.compile(r"(x-)?rate-?limit(-[a-z-]{1,40})?|retry-after")

# From path, content type and body to what was sent, or to the reason why nobody can read it.
_Parser = Callable[[str, str | None, bytes], Any]


@dataclass(frozen=True)
class ClientStats:
    """What a client did so far. `limiter_seconds` is summed over threads.

    `limit_headers` are the names of headers of answers that tell of limits; none is documented.
    """

    requests: Mapping[str, int] = field(default_factory=dict)  # path template -> requests sent
    retries: int = 0
    throttled: int = 0  # answers with 429
    limiter_seconds: float = 0.0
    limit_headers: frozenset[str] = frozenset()

    @property
    def request_count(self) -> int:
        return sum(self.requests.values())


class ReadOnlyTransport:
    """Sends listed reads, and nothing else, for one team. Safe to use from many threads; a context manager.

    Args:
        api_key: sent as the user name of HTTP Basic with an empty password (https://cursor.com/docs/api).
        organization_api_key: the key of the organization; sent to `/organizations/*`, where no other key goes, and
            nowhere else.
        base_url: https, or http to loopback.
        rate_limit_per_minute: requests per window and endpoint; 0 for none, None for the documented limits.
        rate_limit_shared: one limit for all endpoints together; unless given, the smallest documented one.
        rate_limit_window_seconds: length of the server's rate window.
        read_timeout_seconds: silence allowed between two pieces of an answer.
        answer_timeout_seconds: time allowed for one whole answer.
        total_seconds_per_request: time allowed for all attempts of one request and the waits between them.
        backoff_base_seconds: first wait before a retry; doubles each time.

    Raises:
        RefusedRequestError: `base_url` or a key cannot be used safely.
    """

    def __init__(
        self,
        *,
        api_key: str,
        organization_api_key: str | None = None,
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
        self._headers = {TEAM: request_headers(api_key)}
        if organization_api_key is not None:
            self._headers[ORGANIZATION] = request_headers(organization_api_key, "organization_api_key")
        self._secrets = tuple(
            secret
            for key, headers in zip((api_key, organization_api_key), self._headers.values(), strict=False)
            for secret in (key or "", headers["Authorization"].removeprefix("Basic "))
        )
        self._connect_timeout = connect_timeout_seconds
        self._read_timeout = read_timeout_seconds
        self._answer_timeout = answer_timeout_seconds
        self._total_seconds = total_seconds_per_request
        self._backoff_base = backoff_base_seconds
        self._limiters = _limiters(rate_limit_per_minute, rate_limit_shared, rate_limit_window_seconds)
        # The adapter is used without a requests.Session, which adds what must not happen here: it follows redirects,
        # keeps cookies, and replaces our Authorization header by what ~/.netrc holds for the host.
        # More connections than anybody has threads: one that waits for a free one is not woken when the pool is closed.
        self._adapter = HTTPAdapter(pool_connections=1, pool_maxsize=16, pool_block=True, max_retries=0)
        self._proxies = {} if self._host in settings.LOOPBACK_HOSTS else get_environ_proxies(self.base_url)
        self._verify = certificates()
        self._closed = threading.Event()
        self._has_answered = False
        self._lock = threading.Lock()
        self._requests: Counter[str] = Counter()
        self._retries = 0
        self._throttled = 0
        self._limiter_seconds = 0.0
        self._limit_headers: frozenset[str] = frozenset()

    def __repr__(self) -> str:
        return f"{type(self).__name__}(base_url={self.base_url!r})"  # never the key

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
            counters = (self._retries, self._throttled, self._limiter_seconds, self._limit_headers)
            return ClientStats(dict(self._requests), *counters)

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
        payload, answered_at, attempts = self._ask(method, path, query, body, "application/json", _json)
        if not isinstance(payload, dict):
            raise ApiShapeError(f"{path} answered with something that is not a JSON object. {SHAPE_HINT}")
        return Answer(payload, answered_at, attempts)

    def request_csv(self, path: str, *, query: Mapping[str, str] | None = None) -> TextAnswer:
        """As `request`, for a GET route that answers `text/csv`; the text is decoded, not parsed."""
        text, answered_at, attempts = self._ask("GET", path, query, None, "text/csv", _csv)
        return TextAnswer(text, answered_at, attempts)

    def _ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: Mapping[str, Any] | None,
        accept: str,
        parse: _Parser,
    ) -> tuple[Any, datetime | None, int]:
        """What was answered, the server's clock, and how many attempts it took."""
        read = find_read(method, path)
        if read is None:
            raise RefusedRequestError(
                f"{method} {path} is not on the list of reads (ALLOWED_READS in pipelines/cursor_admin/settings.py); "
                "nothing was sent."
            )
        if read.key not in self._headers:
            raise RefusedRequestError(
                f"{path} needs the key of the organization: set organization_api_key under [sources.cursor_admin] in "
                ".dlt/secrets.toml; nothing was sent."
            )
        prepared = self._prepare(method, path, query, body, self._headers[read.key] | {"Accept": accept})
        attempt, spent = 1, 0.0
        while True:
            self._wait_for_turn(read)
            started = time.monotonic()
            outcome = self._attempt(prepared, read, path, self._total_seconds - spent, parse)
            if not isinstance(outcome, Failure):
                return *outcome, attempt
            delay = self._delay(outcome, attempt)
            spent += time.monotonic() - started + delay
            if outcome.is_final or attempt == self._max_attempts(outcome) or spent >= self._total_seconds:
                # Raised here and not where it was caught: the HTTP library's error, which carries the request with
                # its headers, must not travel along as the context of ours.
                raise outcome.error
            self._wait_for_retry(outcome, read, path, attempt, delay)
            attempt += 1

    def _prepare(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: Mapping[str, Any] | None,
        headers: Mapping[str, str],
    ) -> requests.PreparedRequest:
        url = f"{self.base_url}{path}?{urlencode(query)}" if query else f"{self.base_url}{path}"
        if body is None:
            return requests.Request(method, url, headers=headers).prepare()
        headers = {**headers, "Content-Type": "application/json"}
        return requests.Request(method, url, headers=headers, data=orjson.dumps(body)).prepare()

    def _wait_for_turn(self, read: Read) -> None:
        waited = self._limiters[read.path].acquire()
        with self._lock:
            self._limiter_seconds += waited
            self._requests[read.path] += 1

    def _attempt(
        self, prepared: requests.PreparedRequest, read: Read, path: str, seconds: float, parse: _Parser
    ) -> tuple[Any, datetime | None] | Failure:
        """One request: the parsed body and the server's clock, or what went wrong."""
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
            if found := [name.lower() for name in response.headers if _LIMIT_HEADER.fullmatch(name.lower())]:
                with self._lock:
                    self._limit_headers |= frozenset(found)
            if response.status_code != 200:
                return self._refused(response, path, deadline)
            body = self._read_body(response, deadline)
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            return not_reached(error, self._host, path)
        if body is None:
            return broken_answer(path, "it came too slowly", self._host)
        parsed = parse(path, response.headers.get("Content-Type"), body)
        return parsed if isinstance(parsed, Failure) else (parsed, http_date(response.headers.get("Date")))

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


def _json(path: str, content_type: str | None, body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return not_json(path, content_type, len(body))


def _csv(path: str, content_type: str | None, body: bytes) -> str | Failure:
    """The page of a gateway is text as well: only what says that it is CSV is taken for it."""
    try:
        if (content_type or "").split(";")[0].strip().lower() == "text/csv":
            return body.decode("utf-8-sig")
    except UnicodeDecodeError:
        pass
    return not_csv(path, content_type, len(body))
