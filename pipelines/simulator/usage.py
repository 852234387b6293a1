"""Usage events, invented one day at a time from the day's own seed: any day is at hand without the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta
from itertools import accumulate
from random import Random

from pipelines.simulator.behaviour import Behaviour
from pipelines.simulator.instants import DAY_MS, HOUR_MS, day_of, to_ms
from pipelines.simulator.people import Account, Person, Roster, ServiceAccount
from pipelines.simulator.prices import (
    ABORTED,
    ERRORED,
    INCLUDED,
    MODELS,
    OWN_KEY,
    TOKEN_FEE_CENTS_PER_MILLION,
    UNKNOWN_KIND,
    USAGE_BASED,
    Model,
)

MAX_LATENESS_MS = 30 * HOUR_MS
SETTLED_AFTER_MS = (
    MAX_LATENESS_MS + 2 * HOUR_MS
)  # a day's rows change no more this long after its end, blanked e-mails apart
_HOLIDAYS = frozenset({(1, 1), (5, 1), (12, 24), (12, 25), (12, 26), (12, 31)})
_MODEL_WEIGHTS = tuple(accumulate(model.share for model in MODELS))


@dataclass(slots=True)
class Price:
    """What an event costs from some moment on, in millionths of a cent; `charged` None: the API sends no amount."""

    kind: str
    model: int
    discount_percent: int
    fee: int
    charged: int | None


@dataclass(slots=True)
class Event:
    """One usage event with everything that is true about it, also what the API never says."""

    at_ms: int
    arrived_ms: int  # at_ms, or later for a late event
    account: Account | None  # who caused it; None for a service account
    service_account: ServiceAccount | None
    email: str | None  # as the API sends it; None: never sent
    blanked_ms: int | None
    cloud_agent_id: str | None
    automation_id: str | None
    conversation_id: str | None
    model: str
    max_mode: bool
    headless: bool
    token_based: bool
    request_tenths: int
    input_tokens: int
    output_tokens: int
    cache_write_tokens: int
    cache_read_tokens: int
    price: Price
    repriced_ms: int | None = None
    final_price: Price | None = None

    def price_at(self, now_ms: int) -> Price:
        if self.final_price is not None and self.repriced_ms is not None and now_ms >= self.repriced_ms:
            return self.final_price
        return self.price

    def email_at(self, now_ms: int) -> str | None:
        return None if self.blanked_ms is not None and now_ms >= self.blanked_ms else self.email


def uuid_text(rng: Random) -> str:
    digits = f"{rng.getrandbits(128):032x}"
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-9{digits[17:20]}-{digits[20:]}"


class UsageInventor:
    """Invents the events of a day. Deterministic: the seed, the day and the roster decide."""

    def __init__(
        self, seed: int, roster: Roster, behaviour: Behaviour, start: date, end: date, per_person_day: float
    ) -> None:
        self._seed, self._roster, self._behaviour = seed, roster, behaviour
        self._start, self._end, self._per_person_day = start, end, per_person_day
        rng = Random(f"{seed}/calendar")
        self._days_off = {start + timedelta(days=rng.randrange(max(1, (end - start).days))) for _ in range(2)}
        average = sum(person.weight for person in roster.persons) / max(1, len(roster.persons))
        self._weights = [person.weight / average for person in roster.persons]
        self._on_demand = {
            account.user_id: 0.6 if self._weights[person.index] > 3 else 0.12
            for person in roster.persons
            for account in person.accounts
        }
        self._moves: dict[date, list[tuple[int, Account]]] = {}
        for stint in roster.stints:
            account = roster.accounts[stint.user_id]
            for moment in (stint.joined_ms, stint.left_ms):
                if moment is not None:
                    self._moves.setdefault(day_of(moment), []).append((moment, account))

    def day_factor(self, day: date) -> float:
        """Usage of a day against a full working day."""
        if (day.month, day.day) in _HOLIDAYS or day in self._days_off:
            return 0.05
        return (1.0, 1.04, 1.02, 0.98, 0.86, 0.07, 0.05)[day.weekday()]

    def events(self, day: date) -> list[Event]:
        """Every event that happened on the UTC day, newest first."""
        if not self._start <= day <= self._end:
            return []
        rng = Random(f"{self._seed}/usage/{day.isoformat()}")
        events: list[Event] = []
        for person in self._roster.persons:
            events += self._person_day(rng, person, day)
        for service_account in self._roster.service_accounts:
            events += self._service_account_day(rng, service_account, day)
        if self._behaviour.edge_events:
            events += self._edges(rng, day)
        events += self._doubles(rng, events)
        events.sort(key=lambda event: event.at_ms, reverse=True)
        return events

    def _person_day(self, rng: Random, person: Person, day: date) -> Iterator[Event]:
        start_ms = to_ms(day)
        end_ms = start_ms + DAY_MS
        factor = self.day_factor(day)
        for account in person.accounts:
            removed = account.removed_ms
            if account.joined_ms >= end_ms or (removed is not None and removed + 2 * DAY_MS < start_ms):
                continue
            if removed is not None and removed < end_ms and self._behaviour.edge_events:
                # a cloud agent that was still at work when its owner left
                for _ in range(2):
                    yield self._event(
                        rng,
                        account,
                        max(removed, start_ms) + rng.randrange(6 * HOUR_MS),
                        f"bc-{rng.getrandbits(32):08x}",
                        agent=True,
                    )
            if removed is not None and removed <= start_ms:
                continue
            if (person.index * 7919 + day.toordinal() // 7 * 104_729 + self._seed) % 17 == 0:
                continue  # a week off
            mean = self._per_person_day * self._weights[person.index] * factor
            count = int(mean * (0.4 + 1.2 * rng.random()) + rng.random())
            first = max(start_ms + person.day_starts_hour * HOUR_MS, account.joined_ms)
            last = min(end_ms, end_ms if removed is None else removed)
            yield from self._working_day(rng, account, count, first, last)

    def _working_day(self, rng: Random, account: Account, count: int, first: int, last: int) -> Iterator[Event]:
        """Conversations of a few events each, spread over eleven hours; what would fall after `last` is not done."""
        random = rng.random
        while count > 0:
            length = min(count, 1 + int(random() * 9))
            count -= length
            at = first + int(random() * 10 * HOUR_MS)
            agent = random() < 0.03
            conversation = f"bc-{rng.getrandbits(32):08x}" if agent else uuid_text(rng)
            automation = uuid_text(rng) if agent and random() < 0.4 else None
            for _ in range(length):
                if at < last:
                    yield self._event(rng, account, at, conversation, agent=agent, automation=automation)
                at += 4_000 + int(random() * 360_000)

    def _service_account_day(self, rng: Random, account: ServiceAccount, day: date) -> Iterator[Event]:
        start_ms = to_ms(day)
        automation = uuid_text(Random(f"{self._seed}/{account.service_account_id}"))
        for _ in range(round(account.events_per_day * (0.5 + rng.random()) * max(0.4, self.day_factor(day)))):
            at = start_ms + rng.randrange(DAY_MS)
            agent_id = f"bc-{rng.getrandbits(32):08x}"
            if at < account.created_ms or (account.archived_ms is not None and at >= account.archived_ms):
                continue
            event = self._event(rng, None, at, agent_id, agent=True, automation=automation)
            event.service_account = account
            event.email = account.email
            yield event

    def _edges(self, rng: Random, day: date) -> Iterator[Event]:
        """The first and the last millisecond of the day, and the instants around every move."""
        start_ms = to_ms(day)
        on_team = [person.accounts[0] for person in self._roster.persons if person.accounts[0].is_on_team(start_ms)]
        on_team = [account for account in on_team if account.is_on_team(start_ms + DAY_MS - 1)]
        if on_team:
            for at in (start_ms, start_ms + DAY_MS - 1):
                yield self._event(rng, rng.choice(on_team), at, uuid_text(rng))
        for moment, account in self._moves.get(day, ()):
            for at in (moment - 1, moment):
                if account.is_on_team(at) and day_of(at) == day:
                    yield self._event(rng, account, at, uuid_text(rng))

    def _doubles(self, rng: Random, events: list[Event]) -> Iterator[Event]:
        """Siblings (same millisecond, another charge), twins (the same in every field) and twins of two people."""
        siblings, twins = self._behaviour.sibling_share, self._behaviour.twin_share
        if not siblings and not twins:
            return
        people = [event.account for event in events if event.account is not None]
        for event in events:
            draw = rng.random()
            if event.account is None:
                continue
            if draw < siblings:
                sibling = self._event(rng, event.account, event.at_ms, event.conversation_id, model=event.model)
                sibling.email, sibling.blanked_ms, sibling.arrived_ms = event.email, event.blanked_ms, event.arrived_ms
                yield sibling
            elif draw < siblings + twins:
                twin = replace(event, price=replace(event.price))
                if draw > siblings + twins * 0.8 and event.automation_id is None and event.cloud_agent_id is None:
                    event.conversation_id = twin.conversation_id = None
                    other = rng.choice(people)
                    if other.is_on_team(event.at_ms):
                        twin.account, twin.email, twin.blanked_ms = other, other.email, other.blanked_ms
                self._restate(rng, twin, 0.3 if self._behaviour.restated_share else 0.0)
                yield twin

    def _event(
        self,
        rng: Random,
        account: Account | None,
        at: int,
        conversation: str | None,
        *,
        agent: bool = False,
        automation: str | None = None,
        model: str | None = None,
    ) -> Event:
        random, behaviour = rng.random, self._behaviour
        chosen = self._model(random()) if model is None else next(known for known in MODELS if known.name == model)
        read = int(random() ** 3 * 1_500_000)
        tokens = (200 + int(random() * 12_000), 50 + int(random() ** 2 * 16_000), int(random() ** 2 * 90_000), read)
        email = None if account is None else account.email
        if account is not None:
            if behaviour.email_case_varies and random() < 0.04:
                email = account.email.title() if random() < 0.5 else account.email.lower()
            if random() < behaviour.nameless_share:
                email = None
        event = Event(
            at_ms=at,
            arrived_ms=at,
            account=account,
            service_account=None,
            email=email,
            blanked_ms=None if account is None else account.blanked_ms,
            cloud_agent_id=conversation if agent else None,
            automation_id=automation,
            conversation_id=conversation,
            model=chosen.name,
            max_mode=random() < 0.12,
            headless=agent or random() < 0.02,
            token_based=True,
            request_tenths=10 if random() < 0.7 else int(random() * 60),
            input_tokens=tokens[0],
            output_tokens=tokens[1],
            cache_write_tokens=tokens[2],
            cache_read_tokens=tokens[3],
            price=self._price(random, chosen, tokens, account),
        )
        if random() < behaviour.request_based_share and event.price.kind in (INCLUDED, USAGE_BASED):
            event.token_based = False
            charged = None if event.price.charged is None else 4_000_000 * (1 + int(random() * 3))
            event.price = Price(event.price.kind, 0, 0, 0, charged)
        if random() < behaviour.late_share:
            event.arrived_ms = at + HOUR_MS + int(random() * (MAX_LATENESS_MS - HOUR_MS))
        self._restate(rng, event, behaviour.restated_share)
        return event

    @staticmethod
    def _model(draw: float) -> Model:
        for index, reached in enumerate(_MODEL_WEIGHTS):
            if draw < reached:
                return MODELS[index]
        return MODELS[0]

    def _price(
        self, random: Callable[[], float], model: Model, tokens: tuple[int, int, int, int], account: Account | None
    ) -> Price:
        """The first price. What is charged is the model's cost less the discount plus the token fee."""
        behaviour = self._behaviour
        roll = random()
        if roll < behaviour.errored_share:
            return Price(ERRORED if roll < behaviour.errored_share * 0.7 else ABORTED, 0, 0, 0, 0)
        roll -= behaviour.errored_share
        fee = sum(tokens) * TOKEN_FEE_CENTS_PER_MILLION if model.is_third_party else 0
        if roll < behaviour.own_key_share:
            return Price(OWN_KEY, 0, 0, fee, fee)
        cost = (
            tokens[0] * model.input
            + tokens[1] * model.output
            + tokens[2] * model.cache_write
            + tokens[3] * model.cache_read
        )
        cost -= cost % 100  # so that any whole percentage of it is exact
        discount = 5 + 5 * int(random() * 3) if behaviour.discount_share and random() < behaviour.discount_share else 0
        on_demand = 0.6 if account is None else self._on_demand[account.user_id]
        kind = USAGE_BASED if random() < on_demand else INCLUDED
        if behaviour.unknown_kind_share and random() < behaviour.unknown_kind_share:
            kind = UNKNOWN_KIND
        charged: int | None = cost * (100 - discount) // 100 + fee
        if behaviour.null_charge_share and random() < behaviour.null_charge_share:
            charged = None
        return Price(kind, cost, discount, fee, charged)

    @staticmethod
    def _restate(rng: Random, event: Event, share: float) -> None:
        """Within a day of the event its price changes: to zero, up, down, or only its kind."""
        first = event.price
        if not share or not first.charged or rng.random() >= share:
            return
        event.repriced_ms = event.at_ms + HOUR_MS + rng.randrange(23 * HOUR_MS)
        draw = rng.random()
        if draw < 0.25:
            event.final_price = Price(ERRORED, 0, 0, 0, 0)
        elif draw < 0.35 and first.kind in (INCLUDED, USAGE_BASED):
            event.final_price = replace(first, kind=USAGE_BASED if first.kind == INCLUDED else INCLUDED)
        elif not event.token_based:
            event.final_price = replace(first, charged=first.charged * rng.choice((50, 125, 200)) // 100)
        else:
            cost = first.model * rng.choice((50, 80, 110, 125)) // 100
            cost -= cost % 100
            charged = cost * (100 - first.discount_percent) // 100 + first.fee
            event.final_price = replace(first, model=cost, charged=charged)
