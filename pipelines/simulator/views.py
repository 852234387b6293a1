"""What the events endpoint shows of a day at a clock: rendered once, newest first, then served as slices of bytes."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pipelines.simulator.behaviour import Behaviour
from pipelines.simulator.instants import HOUR_MS
from pipelines.simulator.prices import INCLUDED, USAGE_BASED, cents_text
from pipelines.simulator.usage import Event

DRIFT_STEP_MS = 12 * 60_000


@dataclass(frozen=True)
class Clock:
    """The moment of an answer. `reveals` counts the pages already served of a window that overlaps the open hour."""

    now_ms: int
    reveals: int = 0

    def horizons_ms(self, behaviour: Behaviour) -> tuple[int, int]:
        """What had arrived before the first instant is visible, and of the open hour what had before the second."""
        until_now = self.now_ms + 1
        if not behaviour.hourly_freshness:
            return until_now, until_now
        open_hour = self.now_ms - self.now_ms % HOUR_MS
        drifted = self.reveals * DRIFT_STEP_MS if behaviour.drift else 0
        return open_hour, min(open_hour + drifted, until_now)


class DayView:
    """The visible events of one day as one JSON text, each with a comma behind it; `offsets` are where they begin."""

    def __init__(self, data: Any, offsets: array[int], times: array[int]) -> None:
        self.data, self._offsets = data, offsets
        self._negative_times = times  # ascending, because events are newest first

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def between(self, first_ms: int, last_ms: int) -> tuple[int, int]:
        """Index range of the events from `first_ms` to `last_ms`, both included."""
        return bisect_left(self._negative_times, -last_ms), bisect_right(self._negative_times, -first_ms)

    def text(self, start: int, stop: int) -> bytes:
        if start >= stop:
            return b""
        return bytes(self.data[self._offsets[start] : self._offsets[stop] - 1])


def visible(events: Iterable[Event], clock: Clock, behaviour: Behaviour) -> list[Event]:
    """Those that the API shows at this clock, in the order given."""
    settled, drifted = clock.horizons_ms(behaviour)
    return [
        event
        for event in events
        if event.arrived_ms < settled or (event.at_ms >= settled and event.arrived_ms < drifted)
    ]


def render_day(events: Iterable[Event], clock: Clock, behaviour: Behaviour) -> DayView:
    texts, offsets, times = [], array("Q", [0]), array("q")
    position = 0
    for event in visible(events, clock, behaviour):
        text = render_event(event, clock.now_ms, behaviour).encode()
        texts.append(text)
        position += len(text) + 1
        offsets.append(position)
        times.append(-event.at_ms)
    return DayView(b",".join(texts) + b",", offsets, times)


def render_event(event: Event, now_ms: int, behaviour: Behaviour) -> str:
    """One element of `usageEvents`; optional ids are absent, not null."""
    price = event.price_at(now_ms)
    email = event.email_at(now_ms)
    head = f'{{"timestamp":"{event.at_ms}"'
    if email is not None:
        head += f',"userEmail":"{email}"'
    if event.service_account is not None:
        account = event.service_account
        head += f',"serviceAccountId":"{account.service_account_id}","serviceAccountName":"{account.name}"'
    if event.cloud_agent_id is not None:
        head += f',"cloudAgentId":"{event.cloud_agent_id}"'
    if event.automation_id is not None:
        head += f',"automationId":"{event.automation_id}"'
    if event.conversation_id is not None:
        head += f',"conversationId":"{event.conversation_id}"'
    chargeable = price.kind == USAGE_BASED or (price.kind == INCLUDED and price.fee > 0)
    units = event.request_tenths
    tail = ""
    if event.token_based:
        discount = f',"discountPercentOff":{price.discount_percent}' if price.discount_percent else ""
        tail = (
            f',"tokenUsage":{{"inputTokens":{event.input_tokens},"outputTokens":{event.output_tokens},'
            f'"cacheWriteTokens":{event.cache_write_tokens},"cacheReadTokens":{event.cache_read_tokens},'
            f'"totalCents":{cents_text(price.model)}{discount}}}'
        )
    if price.charged is not None:
        tail += f',"chargedCents":{cents_text(price.charged)}'
    elif event.at_ms % 2:
        tail += ',"chargedCents":null'
    if price.fee:
        tail += f',"cursorTokenFee":{cents_text(price.fee)}'
    if behaviour.extra_fields and event.at_ms % 7 == 0:
        tail += f',"routing":{{"tier":"auto","region":"eu-{event.at_ms % 3}"}},"clientVersion":"3.{event.at_ms % 9}.1"'
    return (
        f'{head},"model":"{event.model}","kind":"{price.kind}","maxMode":{"true" if event.max_mode else "false"},'
        f'"requestsCosts":{units // 10}{f".{units % 10}" if units % 10 else ""},'
        f'"isTokenBasedCall":{"true" if event.token_based else "false"},'
        f'"isChargeable":{"true" if chargeable else "false"},'
        f'"isHeadless":{"true" if event.headless else "false"}{tail}}}'
    )
