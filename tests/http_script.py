"""A server on loopback that answers by a script, byte for byte: what no well-behaved simulator would send."""

from __future__ import annotations

import base64
import json
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from pipelines.cursor_admin.client import CursorAdminClient

KEY = "crsr_" + "k3Y9" * 16
TOKEN = base64.b64encode(f"{KEY}:".encode()).decode()
CLOCK = "Mon, 16 Nov 2026 02:00:00 GMT"
MEMBERS = {"teamMembers": [{"id": "user_1", "name": "Ada", "email": "ada@example.com", "role": "owner"}]}
GROUPS = {"groups": [], "unassignedGroup": {"id": "group_unassigned", "name": "Unassigned"}}
EVENTS = {
    "totalUsageEventsCount": 3,
    "pagination": {"numPages": 2, "currentPage": 1, "pageSize": 2, "hasNextPage": True, "hasPreviousPage": False},
    "usageEvents": [{"timestamp": "1794302062517", "chargedCents": 26.135}, {"timestamp": "1794301327044"}],
}


@dataclass
class Reply:
    """One answer. `how`: whole, drip (a byte at a time), cut (half of the announced body), reset, stall."""

    body: Any = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    how: str = "whole"

    @property
    def content(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


@dataclass
class Seen:
    """One request as it arrived; `at` is a monotonic time."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    at: float


class ScriptedServer:
    """Answers the replies in order, and the last one again and again."""

    def __init__(self, *replies: Reply, decide: Callable[[Seen], Reply] | None = None) -> None:
        self.seen: list[Seen] = []
        self.connections = 0
        self.whole_drips = 0  # dripped answers that the client waited for to their end
        self._replies = list(replies)
        self._decide = decide
        self._lock = threading.Lock()
        self._stop = threading.Event()
        script = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def setup(self) -> None:
                super().setup()
                with script._lock:
                    script.connections += 1

            def log_message(self, *_: Any) -> None:
                pass

            def do_GET(self) -> None:
                script._answer(self)

            do_POST = do_GET  # noqa: N815

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.base_url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> ScriptedServer:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        length = int(handler.headers.get("Content-Length") or 0)
        seen = Seen(
            handler.command, handler.path, dict(handler.headers.items()), handler.rfile.read(length), time.monotonic()
        )
        with self._lock:
            self.seen.append(seen)
            if self._decide is None:
                reply = self._replies[min(len(self.seen), len(self._replies)) - 1]
            else:
                reply = self._decide(seen)
        if reply.how == "stall":
            self._stop.wait(20)
        if reply.how in {"reset", "stall"}:
            handler.close_connection = True
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            handler.connection.close()
            return
        content = reply.content
        handler.send_response_only(reply.status)
        for name, value in {"Content-Length": str(len(content)), **reply.headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        if reply.how == "cut":
            handler.close_connection = True
            content = content[: len(content) // 2]
        if reply.how == "drip":
            handler.close_connection = True
            for byte in content:
                if self._stop.wait(0.05):
                    return
                try:
                    handler.wfile.write(bytes([byte]))
                except OSError:
                    return
            self.whole_drips += 1
            return
        handler.wfile.write(content)


def client_of(server: ScriptedServer, **changes: Any) -> CursorAdminClient:
    return CursorAdminClient(
        **{
            "api_key": KEY,
            "base_url": server.base_url,
            "rate_limit_per_minute": 0,
            "backoff_base_seconds": 0.005,
            **changes,
        }
    )
