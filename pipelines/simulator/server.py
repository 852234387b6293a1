"""The simulator over HTTP on loopback: keys, limits, faults, and a log of what was asked."""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import struct
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from email.message import Message
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from pipelines.simulator.answers import Answer, Ask, RefusalError, json_answer, refusal_answer
from pipelines.simulator.api import ANY, ORGANIZATION, Route, find_route
from pipelines.simulator.behaviour import Fault, matches
from pipelines.simulator.events_api import overlaps_open_hour
from pipelines.simulator.faults import spoil
from pipelines.simulator.instants import from_ms, to_ms
from pipelines.simulator.limits import EndpointUsage, RateWindows
from pipelines.simulator.organisation import Organisation
from pipelines.simulator.views import Clock


@dataclass(frozen=True)
class RequestRecord:
    """One request as it came in. `at` is wall time in seconds, `now_ms` the simulator's; `fault` is the one served."""

    method: str
    path: str
    query: dict[str, str] = field(default_factory=dict)
    body: dict[str, Any] = field(default_factory=dict)
    status: int = 0
    at: float = 0.0
    now_ms: int = 0
    fault: str | None = None


class SimulatorServer:
    """Serves an organisation on 127.0.0.1 from a thread of this process, at a clock that only `set_now` moves.

    Args:
        now: the moment at which everything is answered, and the `Date` of every answer.
        port: 0 takes a free one.
        rate_limited: whether the documented limits apply.
    """

    def __init__(self, organisation: Organisation, *, now: datetime, port: int = 0, rate_limited: bool = True) -> None:
        self.organisation = organisation
        self.requests: list[RequestRecord] = []
        self.faults: list[Fault] = []
        self.rate_limited = rate_limited
        behaviour = organisation.behaviour
        self._clock = Clock(to_ms(now))
        self._windows = RateWindows(behaviour.rate_window_seconds, shared=behaviour.rate_shared)
        self._lock = threading.Lock()
        self.stopping = threading.Event()
        self._http = _HttpServer(("127.0.0.1", port), _Handler)
        self._http.simulator = self
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        return int(self._http.server_address[1])

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def api_key(self) -> str:
        return self.organisation.api_key

    @property
    def now(self) -> datetime:
        return from_ms(self.clock.now_ms)

    @property
    def clock(self) -> Clock:
        with self._lock:
            return self._clock

    @property
    def throttled_count(self) -> int:
        """How many requests got a 429 from the limits (not from a scheduled fault)."""
        with self._lock:
            return sum(usage.throttled for usage in self._windows.usage.values())

    def set_now(self, now: datetime) -> None:
        with self._lock:
            self._clock = Clock(to_ms(now))

    def limiter_usage(self) -> dict[str, EndpointUsage]:
        """By endpoint (`POST /teams/filtered-usage-events`): requests let through, refused, and the utilisation."""
        with self._lock:
            return {name: replace(usage, windows=dict(usage.windows)) for name, usage in self._windows.usage.items()}

    def start(self) -> SimulatorServer:
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        self.stopping.set()
        if self._thread is not None:
            self._http.shutdown()
            self._thread.join()
        self._http.close_connections()
        self._http.server_close()

    def serve_forever(self) -> None:
        """Serves in the calling thread until it is interrupted."""
        try:
            self._http.serve_forever()
        finally:
            self.stopping.set()
            self._http.server_close()

    def __enter__(self) -> SimulatorServer:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def record(self, record: RequestRecord) -> None:
        with self._lock:
            self.requests.append(record)

    def take_fault(self, path: str) -> Fault | None:
        """The first scheduled fault that strikes this request; every matching one counts it."""
        with self._lock:
            striking = [fault for fault in self.faults if fault.matches(path) and fault.strikes()]
            return striking[0] if striking else None

    def answer(
        self, method: str, path: str, query: dict[str, str], body: dict[str, Any], headers: Mapping[str, str] | Message
    ) -> Answer:
        """One request through key, limit and route, as the API does it. A 304 costs nothing of the limit."""
        try:
            route, values = find_route(method, path)
            key = self._check_key(headers.get("Authorization") or "", route)
            if any(matches(pattern, path) for pattern in self.organisation.behaviour.unavailable_routes):
                raise RefusalError(403, "Enterprise access required")
            ask = Ask(self.organisation, self.clock, path, values, query, body)
            if route.cached:
                answer = _tagged(route.answer(ask))
                if headers.get("If-None-Match") == answer.headers["ETag"]:
                    return replace(answer, status=304, body=b"")
                self._check_limit(key, route)
                return answer
            self._check_limit(key, route)
            answer = route.answer(ask)
        except ThrottledError as throttled:
            return throttled.answer
        except RefusalError as refusal:
            if path.startswith("/organizations/") and refusal.status in (401, 403):
                return json_answer({"code": "error", "message": refusal.message}, refusal.status)
            return refusal_answer(refusal)
        if self.organisation.behaviour.drift and route.rows_key == "usageEvents" and overlaps_open_hour(ask):
            with self._lock:
                self._clock = replace(self._clock, reveals=self._clock.reveals + 1)
        return answer

    def _check_key(self, authorization: str, route: Route) -> str:
        scheme, _, encoded = authorization.partition(" ")
        try:
            name, colon, password = base64.b64decode(encoded, validate=True).decode().partition(":")
        except ValueError:
            name, colon, password = "", "", ""
        organisation = self.organisation
        if (
            scheme != "Basic"
            or not colon
            or password
            or name not in (organisation.api_key, organisation.organization_key, organisation.limited_key)
        ):
            raise RefusalError(401, "Invalid API key")
        wanted = organisation.organization_key if route.keys == ORGANIZATION else organisation.api_key
        if route.keys != ANY and name != wanted:
            if name == organisation.limited_key and organisation.behaviour.scope_error == 403:
                raise RefusalError(403, "API key is missing the required scope: admin:*")
            raise RefusalError(401, "Invalid API key")
        return name

    def _check_limit(self, key: str, route: Route) -> None:
        if not self.rate_limited:
            return
        with self._lock:
            seconds = self._windows.refusal_seconds(key, f"{route.method} {route.path}", route.per_minute)
            now_ms = self._clock.now_ms
        if seconds is not None:
            refused = refusal_answer(RefusalError(429, "Rate limit exceeded. Please try again later."))
            wait = max(1, -(-int(seconds * 1000) // 1000))
            style = self.organisation.behaviour.retry_after
            value = {"seconds": str(wait), "date": http_date(now_ms + wait * 1000)}.get(style or "")
            raise ThrottledError(replace(refused, headers={"Retry-After": value} if value else {}))


class ThrottledError(Exception):
    """Carries the 429 with its headers."""

    def __init__(self, answer: Answer) -> None:
        super().__init__("429")
        self.answer = answer


def _tagged(answer: Answer) -> Answer:
    tag = f'"{hashlib.sha256(answer.body).hexdigest()[:24]}"'
    return replace(answer, headers={**answer.headers, "ETag": tag, "Cache-Control": "public, max-age=900"})


def http_date(ms: int) -> str:
    return format_datetime(from_ms(ms).replace(microsecond=0), usegmt=True)


class _HttpServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64
    simulator: SimulatorServer

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._open: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def close_connections(self) -> None:
        """Ends kept-alive connections, so that no thread outlives the server."""
        for connection in list(self._open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # the other side was first

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away in the middle is part of the game."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: _HttpServer

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    do_PUT = do_PATCH = do_DELETE = do_POST  # noqa: N815  (names that http.server looks for)

    def log_message(self, format: str, *args: Any) -> None:
        """The request log of the simulator is `SimulatorServer.requests`."""

    def date_time_string(self, timestamp: float | None = None) -> str:  # noqa: ARG002
        return http_date(self.server.simulator.clock.now_ms)

    def _serve(self) -> None:
        simulator = self.server.simulator
        parts = urlsplit(self.path)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        record = RequestRecord(self.command, parts.path, query, at=time.time(), now_ms=simulator.clock.now_ms)
        fault = simulator.take_fault(parts.path)
        answer: Answer | None
        try:
            body = json.loads(raw) if raw else {}
            record = replace(record, body=body if isinstance(body, dict) else {})
        except ValueError:
            answer = refusal_answer(RefusalError(400, "Invalid JSON"))
        else:
            answer = simulator.answer(self.command, parts.path, query, record.body, self.headers)
        cut = 0
        if fault is not None:
            record = replace(record, fault=fault.kind)
            answer, cut = spoil(answer, fault, self.command, parts.path)
        simulator.record(replace(record, status=answer.status if answer else 0))
        if answer is None:
            self._never_answer(fault)
        else:
            self._send(answer, cut)

    def _send(self, answer: Answer, cut: int) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.body[: len(answer.body) - cut] if cut else answer.body)
        if cut:
            self.close_connection = True

    def _never_answer(self, fault: Fault | None) -> None:
        """A reset, or a silence that ends when the client gives up or the time is over."""
        self.close_connection = True
        if fault is not None and fault.kind == "stall":
            self.server.simulator.stopping.wait(fault.seconds)
            return
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
