"""What must be published, worked out without the code under test.

The inputs are the invented organisation's own history and the moments of the reads that were accepted (from the two
ledgers). From these follows what the API had said by then, and from that, by the rules of design section 5, the group
of every event. `excuse` says in which cases that may differ from what really happened; any other difference is a bug
of the rules themselves.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from itertools import pairwise

from pipelines.simulator import Organisation, Truth
from pipelines.simulator.instants import DAY_MS, day_of, from_ms, to_ms
from pipelines.simulator.people import Stint
from pipelines.simulator.prices import ABORTED, ERRORED, INCLUDED, MICRO, OWN_KEY, USAGE_BASED
from pipelines.simulator.usage import Event
from pipelines.simulator.views import Clock

UNASSIGNED, UNATTRIBUTED = "group_unassigned", "unattributed"
FOR_EVER = 1 << 62
MOST_REVEALS = 80  # pages of a drifting window that one read may take
CATEGORIES = {
    USAGE_BASED: "on_demand",
    INCLUDED: "included",
    ERRORED: "not_charged",
    ABORTED: "not_charged",
    OWN_KEY: "own_key",
}


@dataclass(frozen=True)
class DayRead:
    """An accepted read of a day: when, and the batch that holds what it said."""

    day: date
    read_number: int
    at: datetime
    batch_id: str
    row_count: int


@dataclass(frozen=True)
class AcceptedAnswer:
    """An accepted answer about groups (`cycle_start` None: the API named no cycle) or members."""

    resource: str
    at: datetime
    cycle_start: datetime | None
    is_current_cycle: bool


@dataclass
class Books:
    """The company's own seeds, as rows: (valid from, plan, rate) and per service account (valid from, group)."""

    plans: list[tuple[date, str, Decimal]]
    mappings: dict[str, list[tuple[date, str]]]

    def plan(self, day: date) -> tuple[str, Decimal]:
        return next((plan, rate) for since, plan, rate in sorted(self.plans, reverse=True) if since <= day)

    def mapped_group(self, service_account_id: str, day: date) -> str | None:
        rows = sorted(self.mappings.get(service_account_id, []), reverse=True)
        return next((group_id for since, group_id in rows if since <= day), None)


@dataclass(frozen=True)
class Piece:
    """Part of a stay, as far as answers tell: `[from_ms, to_ms)`."""

    from_ms: int
    to_ms: int
    joined_ms: int
    group_id: str
    is_inferred: bool


@dataclass(frozen=True)
class _Listing:
    """That an answer lists a stay; it speaks for the time up to `as_of`."""

    as_of: int
    at: int
    cycle_start: int | None
    shown: str


@dataclass(frozen=True)
class ExpectedEvent:
    """A published row, with the event behind it."""

    row: tuple[object, ...]
    event: Event
    email: str | None


@dataclass
class Oracle:
    """Expected rows of `fct_usage_events`."""

    organisation: Organisation
    reads: list[DayRead]
    answers: list[AcceptedAnswer]
    books: Books
    _pieces: dict[str, list[Piece]] = field(default_factory=lambda: defaultdict(list), init=False)
    _stays: dict[str, list[tuple[Stint, bool]]] = field(default_factory=lambda: defaultdict(list), init=False)
    _known: set[str] = field(default_factory=set, init=False)
    _rosters: list[tuple[int, frozenset[str]]] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self._truth = Truth(self.organisation)
        self._by_day: dict[date, list[DayRead]] = defaultdict(list)
        for read in sorted(self.reads, key=lambda one: one.read_number):
            self._by_day[read.day].append(read)
        self._group_answers = [one for one in self.answers if one.resource == "billing_groups"]
        self._read_rosters()
        self._read_stays()

    # what the answers said

    def _read_rosters(self) -> None:
        behaviour, accounts = self.organisation.behaviour, self.organisation.roster.accounts.values()
        for answer in sorted((one for one in self.answers if one.resource == "members"), key=lambda one: one.at):
            now = to_ms(answer.at)
            rows = []
            for account in accounts:
                is_removed = account.removed_ms is not None and account.removed_ms <= now
                if account.joined_ms <= now and not (is_removed and behaviour.removed_members == "vanish"):
                    rows.append((account.email.lower(), is_removed))
            for glitch in behaviour.glitches:
                if glitch.target == "members" and glitch.on == day_of(now):
                    rows = glitch.spoil(rows)
            self._known |= {email for email, _ in rows}
            self._rosters.append((now, frozenset(email for email, is_removed in rows if not is_removed)))

    def _read_stays(self) -> None:
        listings: dict[int, list[_Listing]] = defaultdict(list)
        spoken: list[tuple[int, int, int | None, bool]] = []
        for answer in self._group_answers:
            now = to_ms(answer.at)
            start = None if answer.cycle_start is None else to_ms(answer.cycle_start)
            cycle = self.organisation.cycle(now if start is None else start)
            as_of = now if start is None else min(now, cycle[1])
            spoken.append((as_of, now, start, answer.is_current_cycle))
            for group in self.organisation.roster.groups:
                if not group.exists_at(now) or group.created_ms >= cycle[1]:
                    continue
                for index, shown in self._listed(group.group_id, now, cycle).items():
                    listings[index].append(_Listing(as_of, now, start, shown))
            if self.organisation.behaviour.unassigned_lists_members:
                moment = min(now, cycle[1] - 1)
                for account in self.organisation.roster.accounts.values():
                    in_group = any(
                        stint.joined_ms <= moment and (stint.left_ms is None or moment < stint.left_ms)
                        for stint in self.organisation.stints_of(account.user_id)
                    )
                    if account.is_on_team(moment) and not in_group:
                        self._known.add(account.email.lower())
        stays: dict[str, list[Piece]] = defaultdict(list)
        for index, stint in enumerate(self.organisation.roster.stints):
            email = self.organisation.roster.accounts[stint.user_id].email.lower()
            self._stays[email].append((stint, index in listings))
            if index in listings:
                self._known.add(email)
                stays[email].append(_known_stay(stint, listings[index], spoken))
        for email, known in stays.items():
            self._pieces[email] = _without_overlaps(known)

    def _listed(self, group_id: str, now: int, cycle: tuple[int, int]) -> dict[int, str]:
        current, former = [], []
        for index, stint in self.organisation.stints_by_group[group_id]:
            shown = self.organisation.stint_as_shown(stint, now, *cycle)
            if shown is not None:
                (current if shown == "current" else former).append(index)
        for glitch in self.organisation.behaviour.glitches:
            if glitch.target == "groups" and glitch.on == day_of(now) and glitch.group_id in (None, group_id):
                current = glitch.spoil(current)
        return dict.fromkeys(former, "former") | dict.fromkeys(current, "current")

    # the rules

    def attribution(self, email: str, at_ms: int) -> tuple[str, str]:
        """Group and method of a person's usage at an instant."""
        for piece in self._pieces[email]:
            if piece.from_ms <= at_ms < piece.to_ms:
                return piece.group_id, "inferred_interval" if piece.is_inferred else "reported_interval"
        for departed, returned, group_id in self._departures(email):
            if departed <= at_ms < returned:
                return group_id, "last_known_group"
        return UNASSIGNED, "unassigned_gap" if email in self._known else "unknown_user"

    def _departures(self, email: str) -> list[tuple[int, int, str]]:
        """(departed, returned, group in force): the stay that ended after the last roster with the person in it."""
        found: list[tuple[int, int, str]] = []
        last_present, first_absent = -FOR_EVER, None
        for now, people in [*self._rosters, (FOR_EVER, frozenset({email}))]:
            if email not in people:
                first_absent = now if first_absent is None else first_absent
                continue
            if first_absent is not None:
                found += self._departure(email, last_present, first_absent, now)
            last_present, first_absent = now, None
        return found

    def _departure(self, email: str, last_present: int, first_absent: int, returned: int) -> list[tuple[int, int, str]]:
        ending = [p for p in self._pieces[email] if p.from_ms < first_absent and p.to_ms > last_present]
        if not ending:
            return []
        last = max(ending, key=lambda piece: piece.to_ms)
        if last.to_ms == FOR_EVER and last_present == -FOR_EVER:
            return []
        departed = first_absent if last.to_ms == FOR_EVER else last.to_ms
        back = min([returned, *(p.from_ms for p in self._pieces[email] if p.from_ms >= departed)])
        return [(departed, back, last.group_id)] if departed < back else []

    def group_name(self, group_id: str, day: date) -> str:
        """The name in the last answer at or before the end of the day, else the first known one."""
        if group_id in (UNASSIGNED, UNATTRIBUTED):
            return group_id.removeprefix("group_").title()
        group = next((one for one in self.organisation.roster.groups if one.group_id == group_id), None)
        if group is None:
            return group_id
        seen = sorted(to_ms(one.at) for one in self._group_answers)
        seen = [at for at in seen if group.exists_at(at)]
        if not seen:
            return group_id
        by_then = [at for at in seen if at < to_ms(day) + DAY_MS]
        return group.name_at(by_then[-1] if by_then else seen[0])

    # the events

    def shown(self, read: DayRead) -> tuple[list[Event], int]:
        """What the API said in that read, and the clock in milliseconds. A drifting window is told by its count."""
        now = to_ms(read.at)
        for reveals in range(MOST_REVEALS if self.organisation.behaviour.drift else 1):
            events = self.organisation.visible_events(read.day, Clock(now, reveals))
            if len(events) == read.row_count:
                break
        assert len(events) == read.row_count, (
            f"{read.day}: {read.row_count} rows were read at {read.at}, the API had {len(events)} events"
        )
        return events, now

    @property
    def days(self) -> list[date]:
        return sorted(self._by_day)

    def current(self, day: date) -> DayRead:
        return self._by_day[day][-1]

    def events(self) -> dict[date, list[ExpectedEvent]]:
        """Every event that must be published, by day."""
        named = {day: self._named_events(day) for day in self.days}
        people: dict[str, set[str | None]] = defaultdict(set)
        for day_events in named.values():
            for event, email in day_events:
                if event.conversation_id is not None and (event.service_account or email):
                    people[event.conversation_id].add(None if event.service_account else email)
        expected: dict[date, list[ExpectedEvent]] = {}
        for day, day_events in named.items():
            expected[day] = []
            for event, email in day_events:
                if email is None and event.service_account is None:
                    known = people.get(event.conversation_id or "", set())
                    email = next(iter(known)) if len(known) == 1 else None
                expected[day].append(ExpectedEvent(self._row(day, event, email), event, email))
        return expected

    def _named_events(self, day: date) -> list[tuple[Event, str | None]]:
        """The events of the current version, nameless ones with the e-mail of an earlier version where there is one."""
        events, now = self.shown(self.current(day))
        named: list[tuple[Event, str | None]] = []
        nameless: dict[tuple[object, ...], list[Event]] = defaultdict(list)
        for event in events:
            email = event.email_at(now)
            if event.service_account is not None:
                named.append((event, None))
            elif email is not None:
                named.append((event, email.strip().lower()))
            else:
                nameless[_fixed(event)].append(event)
        if not nameless:
            return named
        versions = self._earlier_versions(day)
        for key, equals in nameless.items():
            still_named = [(e, mail) for e, mail in named if _fixed(e) == key and e.service_account is None]
            named += _recall(equals, still_named, [version.get(key, []) for version in versions], now)
        return named

    def _earlier_versions(self, day: date) -> list[dict[tuple[object, ...], list[tuple[str, int | None]]]]:
        """E-mail and charge of the named events of every version before the current one, oldest first."""
        current = self.current(day).batch_id
        first_reads: dict[str, DayRead] = {}
        for read in self._by_day[day]:
            first_reads.setdefault(read.batch_id, read)
        versions = []
        for read in sorted(first_reads.values(), key=lambda one: one.read_number):
            if read.batch_id == current:
                break
            version: dict[tuple[object, ...], list[tuple[str, int | None]]] = defaultdict(list)
            events, now = self.shown(read)
            for event in events:
                email = event.email_at(now)
                if event.service_account is None and email is not None:
                    version[_fixed(event)].append((email.strip().lower(), event.price_at(now).charged))
            versions.append(version)
        return versions

    def _row(self, day: date, event: Event, email: str | None) -> tuple[object, ...]:
        read = self.current(day)
        price = event.price_at(to_ms(read.at))
        account = event.service_account
        if account is not None:
            mapped = self.books.mapped_group(account.service_account_id, day)
            group_id, method = mapped or UNASSIGNED, "service_account_map" if mapped else "service_account_unmapped"
        elif email is None:
            group_id = method = UNATTRIBUTED
        else:
            group_id, method = self.attribution(email, event.at_ms)
        usage = Decimal(price.charged or 0) / MICRO
        category = CATEGORIES.get(price.kind, "unknown")
        plan, rate = self.books.plan(day)
        if category == "not_charged" or (plan == "teams" and category == "included"):
            billed = Decimal(0)
        else:
            billed = usage if plan == "teams" else usage * rate
        counts = (event.input_tokens, event.output_tokens, event.cache_write_tokens, event.cache_read_tokens)
        last_read = max(one.at for one in self._by_day[day])
        final_from = datetime.combine(day, datetime.min.time(), UTC) + timedelta(days=3)
        return (
            from_ms(event.at_ms).replace(tzinfo=None),
            email,
            None if account is None else account.service_account_id,
            event.cloud_agent_id,
            event.automation_id,
            event.conversation_id,
            event.model,
            price.kind,
            event.max_mode,
            *(counts if event.token_based else (None,) * 4),
            usage.quantize(Decimal("0.000001")),
            billed.quantize(Decimal("0.000001"), ROUND_HALF_UP),
            price.charged is None,
            category,
            group_id,
            self.group_name(group_id, day),
            method,
            last_read < final_from,
        )

    # where what can be known differs from what is true

    def excuse(self, expected: ExpectedEvent) -> str | None:
        """Why the expected group may differ from the true one; None when there is no reason for it."""
        event = expected.event
        if event.service_account is not None or event.account is None:
            return None
        causer, at = event.account.email.lower(), event.at_ms
        if expected.email != causer:
            return "the API never told who caused it"
        if not self._group_answers:
            return "the plan has no billing groups"
        stay, listed = self._true_stay(causer, at)
        if stay is not None and not listed:
            return "the stay was in no accepted answer"
        if any(
            piece.is_inferred and (piece.from_ms <= at < piece.to_ms or (stay and piece.joined_ms == stay.joined_ms))
            for piece in self._pieces[causer]
        ):
            return "the end of a stay had to be inferred"
        accounts = [one for one in self.organisation.roster.accounts.values() if one.email.lower() == causer]
        if any(
            causer not in people and any(account.is_on_team(now) for account in accounts)
            for now, people in self._rosters
        ):
            return "a roster lost this person, and too few others to be refused"
        back = max((one.joined_ms for one in accounts if one.is_on_team(at)), default=None)
        left_before = back is not None and any(one.removed_ms and one.removed_ms <= back for one in accounts)
        if left_before and not any(back <= now <= at and causer in people for now, people in self._rosters):
            return "a return to the team shows only in the next group or roster"
        removals = [account.removed_ms for account in accounts if account.removed_ms is not None]
        gone = max((removed for removed in removals if removed <= at), default=None)
        if gone is not None and not any(now >= gone and causer not in people for now, people in self._rosters):
            return "no accepted roster has shown the departure"
        for removed in removals:
            ends = [each.left_ms for each, _ in self._stays[causer] if each.left_ms and each.left_ms <= at]
            left = max((end for end in ends if end <= removed), default=None)
            if left is not None and left < removed:
                present = [now for now, people in self._rosters if left <= now < removed and causer in people]
                if not present:
                    return "the gap and the departure fell between two rosters"
        return None

    def _true_stay(self, email: str, at: int) -> tuple[Stint | None, bool]:
        """The stay that holds the instant, else the last one before it, and whether any accepted answer listed it."""
        before = [one for one in self._stays[email] if one[0].joined_ms <= at]
        return max(before, key=lambda one: one[0].joined_ms, default=(None, False))

    def true_group(self, event: Event) -> str:
        """The group that really bears the event, whatever the API told of it."""
        if event.service_account is not None:
            day = day_of(event.at_ms)
            return self.books.mapped_group(event.service_account.service_account_id, day) or UNASSIGNED
        assert event.account is not None
        return self._truth.attribution(event.account.email, from_ms(event.at_ms))[0]


def _known_stay(stint: Stint, listings: list[_Listing], spoken: list[tuple[int, int, int | None, bool]]) -> Piece:
    newest = max(listings, key=lambda one: (one.as_of, one.at, one.shown == "current"))
    if newest.shown == "former" and stint.left_ms is not None:
        return Piece(stint.joined_ms, stint.left_ms, stint.joined_ms, stint.group_id, is_inferred=False)
    later = [
        (as_of, at, start)
        for as_of, at, start, is_current in spoken
        if as_of > newest.as_of
        and (is_current or (start is not None and newest.cycle_start is not None and start > newest.cycle_start))
    ]
    if not later:
        return Piece(stint.joined_ms, FOR_EVER, stint.joined_ms, stint.group_id, is_inferred=False)
    as_of, _, start = min(later, key=lambda one: (one[0], one[1]))
    is_next_cycle = start is not None and newest.cycle_start is not None and start > newest.cycle_start
    until = start if is_next_cycle and start is not None and start >= newest.as_of else as_of
    return Piece(stint.joined_ms, until, stint.joined_ms, stint.group_id, is_inferred=True)


def _without_overlaps(stays: list[Piece]) -> list[Piece]:
    """The latest to have been joined wins, then the lowest group id; neighbouring parts of one stay are one."""
    instants = sorted({instant for stay in stays for instant in (stay.from_ms, stay.to_ms)})
    pieces: list[Piece] = []
    for start, stop in pairwise(instants):
        there = [stay for stay in stays if stay.from_ms <= start and stop <= stay.to_ms]
        if not there:
            continue
        stay = min(there, key=lambda one: (-one.joined_ms, one.group_id))
        last = pieces[-1] if pieces else None
        if last and last.to_ms == start and (last.joined_ms, last.group_id) == (stay.joined_ms, stay.group_id):
            start = pieces.pop().from_ms
        pieces.append(Piece(start, stop, stay.joined_ms, stay.group_id, stay.is_inferred))
    return pieces


def _fixed(event: Event) -> tuple[object, ...]:
    """What of an event never changes: two with the same are equal for the e-mail memory."""
    account = event.service_account
    counts = (event.input_tokens, event.output_tokens, event.cache_write_tokens, event.cache_read_tokens)
    return (
        event.at_ms,
        None if account is None else account.service_account_id,
        event.conversation_id,
        event.cloud_agent_id,
        event.automation_id,
        event.model,
        event.max_mode,
        *(counts if event.token_based else (None,) * 4),
    )


def _recall(
    nameless: list[Event],
    still_named: list[tuple[Event, str | None]],
    versions: Iterable[list[tuple[str, int | None]]],
    now: int,
) -> list[tuple[Event, str | None]]:
    """Pairs equal nameless events with the e-mails of earlier versions that are not there any more.

    People whose e-mail is still present are paired off first (equal charges before others), then nameless events take
    the remaining e-mails, equal charges first.
    """
    best: dict[str, tuple[int, int, list[int | None]]] = {}
    for number, version in enumerate(versions):
        for email in {email for email, _ in version}:
            charges = [charge for other, charge in version if other == email]
            if email not in best or (len(charges), number) >= best[email][:2]:
                best[email] = (len(charges), number, charges)
    remaining: list[tuple[str, int | None, int]] = []
    for email, (_, number, charges) in best.items():
        left = sorted(charges, key=_charge_order)
        named_charges = [event.price_at(now).charged for event, other in still_named if other == email]
        unpaired = 0
        for charge in named_charges:
            if charge in left:
                left.remove(charge)
            else:
                unpaired += 1
        remaining += [(email, charge, number) for charge in left[unpaired:]]
    remaining.sort(key=lambda one: (-one[2], one[0], _charge_order(one[1])))
    waiting = sorted(nameless, key=lambda event: (_charge_order(event.price_at(now).charged), event.price_at(now).kind))
    paired: list[tuple[Event, str | None]] = []
    for event in list(waiting):
        match = next((one for one in remaining if one[1] == event.price_at(now).charged), None)
        if match is not None:
            remaining.remove(match)
            waiting.remove(event)
            paired.append((event, match[0]))
    for event in waiting:
        paired.append((event, remaining.pop(0)[0] if remaining else None))
    return paired


def _charge_order(charge: int | None) -> tuple[bool, int]:
    return (charge is None, charge or 0)
