"""A rate limit that no server window can see broken. Knows no HTTP."""

from __future__ import annotations

import threading
import time
from collections import deque

from pipelines.cursor_admin.errors import ApiError

# The server's clock may run faster than ours: time synchronisation shifts a clock by up to 500 millionths.
CLOCK_MARGIN = 1.001


class RateLimiter:
    """`limit` requests per `window_seconds`, for many threads.

    A slot becomes free `window_seconds` after its request was *answered*. The server counted the request before it
    answered, so the next use of that slot is counted at least one window later: whatever instant the server's fixed
    windows start at, none of them holds more than `limit` requests.

    Args:
        limit: slots, or None for no limit; `hold` works in both cases.
        window_seconds: length of the server's window.
    """

    def __init__(self, limit: int | None, window_seconds: float) -> None:
        self._limit = limit
        self._cooling_seconds = window_seconds * CLOCK_MARGIN
        self._condition = threading.Condition()
        self._in_flight = 0
        self._free_at: deque[float] = deque()  # ascending: answers are appended as they come
        self._held_until = 0.0
        self._is_closed = False

    def acquire(self) -> float:
        """Wait for a slot and take it; answers the seconds waited. Every `acquire` needs a `release`.

        Raises:
            ApiError: `close` was called.
        """
        started = time.monotonic()
        with self._condition:
            while True:
                if self._is_closed:
                    raise ApiError("The client was closed while a request waited for its turn; nothing was changed.")
                now = time.monotonic()
                seconds = self._seconds_until_free(now)
                if seconds == 0:
                    self._in_flight += 1
                    return now - started
                self._condition.wait(seconds)

    def release(self) -> None:
        """The request was answered, or given up."""
        with self._condition:
            self._in_flight -= 1
            if self._limit is not None:
                self._free_at.append(time.monotonic() + self._cooling_seconds)
            self._condition.notify_all()

    def hold(self, seconds: float) -> None:
        """Nobody gets a slot for that long: the server has just said that the limit is used up."""
        with self._condition:
            self._held_until = max(self._held_until, time.monotonic() + seconds)

    def close(self) -> None:
        """Let every waiting thread end."""
        with self._condition:
            self._is_closed = True
            self._condition.notify_all()

    def _seconds_until_free(self, now: float) -> float | None:
        """0: now; None: as soon as a request in flight is answered."""
        if now < self._held_until:
            return self._held_until - now
        if self._limit is None:
            return 0
        while self._free_at and self._free_at[0] <= now:
            self._free_at.popleft()
        if self._in_flight + len(self._free_at) < self._limit:
            return 0
        return self._free_at[0] - now if self._free_at else None
