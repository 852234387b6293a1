"""Fixed rate windows: so many requests per key and endpoint, counted anew when the next window begins."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class EndpointUsage:
    """How an endpoint's allowance was used: requests let through per window, and the first and last of them."""

    per_window: int
    first_at: float = 0.0
    last_at: float = 0.0
    allowed: int = 0
    throttled: int = 0
    windows: dict[int, int] = field(default_factory=dict)

    @property
    def utilisation(self) -> float:
        """Requests let through against the allowance of all windows between the first and the last request."""
        if not self.windows:
            return 0.0
        return self.allowed / (self.per_window * (max(self.windows) - min(self.windows) + 1))


class RateWindows:
    """Counts by wall time. Not thread safe; the server holds its lock around it."""

    def __init__(self, seconds: float, *, shared: bool, clock: Callable[[], float] = time.time) -> None:
        self._seconds, self._shared, self._clock = seconds, shared, clock
        self.usage: dict[str, EndpointUsage] = {}
        self._counts: dict[tuple[str, str], tuple[int, int]] = {}

    def refusal_seconds(self, key: str, endpoint: str, per_window: int) -> float | None:
        """Counts a request. None when it is within the limit, else the seconds until the window ends."""
        now = self._clock()
        window = math.floor(now / self._seconds)
        bucket = (key, "" if self._shared else endpoint)
        counted_in, count = self._counts.get(bucket, (window, 0))
        if counted_in != window:
            count = 0
        usage = self.usage.setdefault(endpoint, EndpointUsage(per_window, first_at=now))
        if count >= per_window:
            usage.throttled += 1
            return (window + 1) * self._seconds - now
        self._counts[bucket] = (window, count + 1)
        usage.allowed += 1
        usage.last_at = now
        usage.windows[window] = usage.windows.get(window, 0) + 1
        return None
