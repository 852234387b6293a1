"""The simulator in a process of its own, for measurements: it shares neither interpreter nor memory with them."""

from __future__ import annotations

import multiprocessing
import tempfile
from dataclasses import dataclass
from datetime import datetime
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any

from pipelines.simulator.limits import EndpointUsage
from pipelines.simulator.organisation import Organisation
from pipelines.simulator.server import RequestRecord, SimulatorServer


@dataclass(frozen=True)
class ProcessState:
    """What the server has seen so far."""

    requests: list[RequestRecord]
    throttled_count: int
    limiter_usage: dict[str, EndpointUsage]


class SimulatorProcess:
    """Starts a server for an invented organisation in another process and waits until it answers.

    Args:
        now: the moment at which everything is answered.
        rate_limited: whether the documented limits apply.
        prerender: renders every event up front into a temporary file (about 600 bytes each), so that a page is a copy
            of bytes. Without it a day is rendered when it is first asked for, at about ten microseconds an event.
        invent: the arguments of `Organisation.invent`.
    """

    def __init__(self, *, now: datetime, rate_limited: bool = False, prerender: bool = True, **invent: Any) -> None:
        self._organisation = Organisation.invent(**invent)
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        options = {"now": now, "rate_limited": rate_limited, "prerender": prerender}
        self._process = context.Process(target=_serve, args=(theirs, options, invent), daemon=True)
        self._process.start()
        theirs.close()
        self.port: int = self._receive()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def api_key(self) -> str:
        return self._organisation.api_key

    def set_now(self, now: datetime) -> None:
        """Moves the clock and returns when the newest days are rendered for it."""
        self._pipe.send(("set_now", now))
        self._receive()

    def state(self) -> ProcessState:
        self._pipe.send(("state", None))
        state: ProcessState = self._receive()
        return state

    def stop(self) -> None:
        if self._process.is_alive():
            self._pipe.send(("stop", None))
        self._process.join(timeout=10)

    def __enter__(self) -> SimulatorProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _receive(self) -> Any:
        try:
            return self._pipe.recv()
        except EOFError:
            raise RuntimeError("The simulator's process ended before it answered; its own output says why.") from None


def _serve(pipe: Connection, options: dict[str, Any], invent: dict[str, Any]) -> None:
    organisation = Organisation.invent(**invent)
    server = SimulatorServer(organisation, now=options["now"], rate_limited=options["rate_limited"])
    if options["prerender"]:
        with tempfile.TemporaryDirectory() as folder:
            organisation.prerender(server.clock, folder)
    organisation.warm(server.clock)
    with server:
        pipe.send(server.port)
        while True:
            try:
                command, value = pipe.recv()
            except EOFError:
                return  # the other side is gone
            if command == "stop":
                return
            if command == "set_now":
                server.set_now(value)
                organisation.warm(server.clock)
                pipe.send(None)
            else:
                pipe.send(ProcessState(list(server.requests), server.throttled_count, server.limiter_usage()))
