"""The invented organisation: its people, its usage and its books, at any moment."""

from __future__ import annotations

import hashlib
import mmap
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path
from threading import RLock

from pipelines.simulator.audit_trail import AuditEvent, audit_trail
from pipelines.simulator.behaviour import Behaviour
from pipelines.simulator.instants import DAY_MS, cycle_bounds, day_of, days_between, to_ms
from pipelines.simulator.people import Roster, Stint
from pipelines.simulator.prices import INCLUDED, ON_DEMAND_KINDS, OWN_KEY, USAGE_BASED
from pipelines.simulator.roster import RosterInventor
from pipelines.simulator.seeds import write_seeds
from pipelines.simulator.usage import SETTLED_AFTER_MS, Event, UsageInventor
from pipelines.simulator.views import Clock, DayView, render_day, visible

_EVENTS_KEPT = 250_000
_BYTES_KEPT = 384 * 1024 * 1024
NO_STINT = -1


@dataclass(slots=True)
class Activity:
    """What one actor did on one day in one stint: cost in millionths of a cent, and counts of events."""

    overall: int = 0
    on_demand: int = 0
    included_requests: int = 0
    usage_requests: int = 0
    own_key_requests: int = 0
    events: int = 0
    models: dict[str, int] = field(default_factory=dict)

    def add(self, other: Activity) -> None:
        self.overall += other.overall
        self.on_demand += other.on_demand
        self.included_requests += other.included_requests
        self.usage_requests += other.usage_requests
        self.own_key_requests += other.own_key_requests
        self.events += other.events
        for model, count in other.models.items():
            self.models[model] = self.models.get(model, 0) + count


# by (user id or service account id, index of the stint in the roster or NO_STINT)
Totals = dict[tuple[str, int], Activity]


class Organisation:
    """Everything that is true, as a function of the seed and the moment. Safe to use from several threads."""

    def __init__(
        self,
        roster: Roster,
        behaviour: Behaviour,
        *,
        seed: int = 7,
        start: date = date(2026, 7, 1),
        end: date = date(2026, 12, 31),
        events_per_person_day: float = 8.0,
    ) -> None:
        self.roster, self.behaviour, self.seed, self.start, self.end = roster, behaviour, seed, start, end
        self.team_id = 41_877
        self.organization_id = "org_acme"
        self.usage = UsageInventor(seed, roster, behaviour, start, end, events_per_person_day)
        self._stints: dict[str, list[tuple[int, int | None, int]]] = {}
        self.stints_by_group: dict[str, list[tuple[int, Stint]]] = {group.group_id: [] for group in roster.groups}
        for index, stint in enumerate(roster.stints):
            self.stints_by_group[stint.group_id].append((index, stint))
            self._stints.setdefault(stint.user_id, []).append((stint.joined_ms, stint.left_ms, index))
        self._lock = RLock()
        self._events: OrderedDict[date, list[Event]] = OrderedDict()
        self._views: OrderedDict[tuple[object, ...], DayView] = OrderedDict()
        self._totals: dict[tuple[object, ...], Totals] = {}
        self._spooled: dict[tuple[object, ...], DayView] = {}

    @classmethod
    def invent(
        cls,
        seed: int = 7,
        people: int = 60,
        start: date = date(2026, 7, 1),
        end: date = date(2026, 12, 31),
        events_per_person_day: float = 8.0,
        groups: int = 8,
        behaviour: Behaviour | None = None,
    ) -> Organisation:
        """The same arguments give the same organisation, byte for byte.

        Args:
            people: human beings in all, joiners and leavers included.
            start, end: first and last day with usage.
            events_per_person_day: average on a working day; single people are far above and below it.
            groups: billing groups; from 2 on one is SCIM-synced, from 3 on one is renamed on the way, from 4 on one is
                deleted, from 5 on one is created.
        """
        behaviour = behaviour or Behaviour()
        roster = RosterInventor(seed, people, groups, start, end, behaviour).invent()
        return cls(roster, behaviour, seed=seed, start=start, end=end, events_per_person_day=events_per_person_day)

    @property
    def api_key(self) -> str:
        """An invented team key with admin scope."""
        return "crsr_" + hashlib.sha256(f"{self.seed}/team key".encode()).hexdigest()

    @property
    def organization_key(self) -> str:
        return "crsr_" + hashlib.sha256(f"{self.seed}/organization key".encode()).hexdigest()

    @property
    def limited_key(self) -> str:
        """A valid key that lacks the admin scope."""
        return "crsr_" + hashlib.sha256(f"{self.seed}/limited key".encode()).hexdigest()

    @cached_property
    def audit_trail(self) -> tuple[AuditEvent, ...]:
        return audit_trail(self.seed, self.roster, self.behaviour, self.team_id)

    def write_seeds(self, folder: str | Path) -> None:
        """The company's own tables as CSV: plan, seat prices and types, seats, service accounts, groups, budgets."""
        write_seeds(self.roster, self.behaviour, self.start, self.end, Path(folder))

    def stint_index_at(self, user_id: str, ms: int) -> int:
        """Index in `roster.stints` of the stay that contains the instant, or NO_STINT."""
        for joined, left, index in self._stints.get(user_id, ()):
            if joined <= ms and (left is None or ms < left):
                return index
        return NO_STINT

    def stints_of(self, user_id: str) -> list[Stint]:
        return [self.roster.stints[index] for _, _, index in self._stints.get(user_id, ())]

    def stint_as_shown(self, stint: Stint, now_ms: int, cycle_start_ms: int, cycle_end_ms: int) -> str | None:
        """How an answer for that cycle lists the stay at `now_ms`: 'current', 'former' or not at all (None)."""
        if stint.joined_ms > now_ms or stint.joined_ms >= cycle_end_ms:
            return None
        left = stint.left_ms
        if left is None or left > now_ms:
            return "current"
        vanish = self.behaviour.ended_stints_vanish
        if vanish == "always" or (vanish == "leavers" and left == self.roster.accounts[stint.user_id].removed_ms):
            return None
        return "former" if self.behaviour.wide_former_members or left >= cycle_start_ms else None

    def cycle(self, ms: int) -> tuple[int, int]:
        """Start and end (exclusive) of the billing cycle that contains the instant."""
        return cycle_bounds(ms, self.behaviour.cycle_anchor_day)

    def events(self, day: date) -> list[Event]:
        """Every event that ever happens on the day, newest first, whatever the clock says."""
        with self._lock:
            events = self._events.get(day)
            if events is None:
                events = self.usage.events(day)
                self._events[day] = events
                kept = sum(map(len, self._events.values()))
                while kept > _EVENTS_KEPT and len(self._events) > 1:
                    kept -= len(self._events.popitem(last=False)[1])
            else:
                self._events.move_to_end(day)
            return events

    def is_served(self, day: date, now_ms: int) -> bool:
        """Whether the API still has the events of that day."""
        retention = self.behaviour.event_retention_days
        return self.start <= day <= self.end and (
            retention is None or day >= day_of(now_ms) - timedelta(days=retention)
        )

    def visible_events(self, day: date, clock: Clock) -> list[Event]:
        """What the API shows of the day at that clock, newest first."""
        return visible(self.events(day), clock, self.behaviour) if self.is_served(day, clock.now_ms) else []

    def view(self, day: date, clock: Clock) -> DayView:
        """The same, rendered."""
        with self._lock:
            key = (day, *self._state(day, clock))
            view = self._spooled.get(key) or self._views.get(key)
            if view is None:
                view = render_day(self.events(day), clock, self.behaviour)
                self._views[key] = view
                kept = sum(len(other.data) for other in self._views.values())
                while kept > _BYTES_KEPT and len(self._views) > 1:
                    kept -= len(self._views.popitem(last=False)[1].data)
            return view

    def totals(self, day: date, clock: Clock) -> Totals:
        """Cost and counts of the day per actor and stint, of what is visible at that clock."""
        with self._lock:
            state = self._state(day, clock)
            key = (day, *state)
            totals = self._totals.get(key)
            if totals is None:
                totals = self._sum(visible(self.events(day), clock, self.behaviour), clock.now_ms)
                if state[0] != "settled":  # only the newest state of an unsettled day is worth keeping
                    for old in [other for other in self._totals if other[0] == day]:
                        del self._totals[old]
                self._totals[key] = totals
            return totals

    def period_totals(self, first_ms: int, last_ms: int, clock: Clock) -> Totals:
        """The same over whole days from `first_ms` up to the earlier of `last_ms` (exclusive) and now."""
        merged: Totals = {}
        last = min(day_of(min(last_ms - 1, clock.now_ms)), self.end)
        for day in days_between(max(day_of(first_ms), self.start), last):
            for key, activity in self.totals(day, clock).items():
                merged.setdefault(key, Activity()).add(activity)
        return merged

    def warm(self, clock: Clock) -> None:
        """Computes what the first answers at this clock need: totals of every day, and the newest days rendered."""
        days = days_between(self.start, min(self.end, day_of(clock.now_ms)))
        for day in days:
            self.totals(day, clock)
        for day in days[-4:]:
            self.view(day, clock)

    def prerender(self, clock: Clock, folder: str | Path) -> int:
        """Renders every day up to the clock into one file and serves from it; returns the number of events."""
        spans: list[tuple[tuple[object, ...], DayView, int, int]] = []
        path = Path(folder) / f"events-{self.seed}-{clock.now_ms}.json"
        position = count = 0
        with path.open("wb") as file:
            for day in days_between(self.start, min(self.end, day_of(clock.now_ms))):
                view = render_day(self.events(day), clock, self.behaviour)
                self.totals(day, clock)
                spans.append(((day, *self._state(day, clock)), view, position, len(view.data)))
                file.write(view.data)
                position, count = position + len(view.data), count + len(view)
                view.data = b""
        if not position:
            path.unlink()
            return 0
        with path.open("rb") as file:
            pages = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        path.unlink()  # the mapping keeps the bytes; nothing is left behind
        with self._lock:
            for key, view, at, size in spans:
                view.data = pages[at : at + size]
                self._spooled[key] = view
        return count

    def _state(self, day: date, clock: Clock) -> tuple[object, ...]:
        """What decides how the day looks: the clock while it can still change, later how many e-mails were blanked."""
        start_ms = to_ms(day)
        if clock.now_ms < start_ms + DAY_MS + SETTLED_AFTER_MS:
            return (clock.now_ms, clock.reveals if day == day_of(clock.now_ms) else 0)
        blanked = sum(
            1
            for account in self.roster.accounts.values()
            if account.blanked_ms is not None
            and account.blanked_ms <= clock.now_ms
            and account.joined_ms < start_ms + DAY_MS
        )
        return ("settled", blanked)

    def _sum(self, events: Iterable[Event], now_ms: int) -> Totals:
        totals: Totals = {}
        for event in events:
            if event.service_account is not None:
                key = (event.service_account.service_account_id, NO_STINT)
            else:
                assert event.account is not None
                key = (event.account.user_id, self.stint_index_at(event.account.user_id, event.at_ms))
            activity = totals.get(key)
            if activity is None:
                activity = totals[key] = Activity()
            price = event.price_at(now_ms)
            charged = price.charged or 0
            activity.overall += charged
            activity.events += 1
            activity.models[event.model] = activity.models.get(event.model, 0) + 1
            if price.kind in ON_DEMAND_KINDS:
                activity.on_demand += charged
            if price.kind == INCLUDED:
                activity.included_requests += 1
            elif price.kind == USAGE_BASED:
                activity.usage_requests += 1
            elif price.kind == OWN_KEY:
                activity.own_key_requests += 1
        return totals
