"""The right answers, from the organisation's own history: nothing here goes through the API or the code under test."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from pipelines.simulator.evidence import Evidence, SnapshotRead
from pipelines.simulator.instants import from_ms, to_ms
from pipelines.simulator.organisation import Organisation
from pipelines.simulator.people import UNASSIGNED_ID, Account, Stint
from pipelines.simulator.prices import MICRO
from pipelines.simulator.usage import Event
from pipelines.simulator.views import Clock, visible

UNATTRIBUTED_ID = "unattributed"


@dataclass(frozen=True)
class TrueEvent:
    """One event as the API shows it at `as_of`, and what is true about it. Times are UTC; money is in US cents.

    `shown_email` is what the API sends now (None: nothing), `email` who is known to have caused it (None for a service
    account, and where nothing can tell), `causer_email` who really did.
    """

    occurred_at: datetime
    shown_email: str | None
    email: str | None
    causer_email: str | None
    service_account_id: str | None
    cloud_agent_id: str | None
    automation_id: str | None
    conversation_id: str | None
    model: str
    kind: str
    max_mode: bool
    tokens: tuple[int, int, int, int] | None  # input, output, cache write, cache read
    charged_cents: Decimal | None
    billing_group_id: str
    attribution_method: str
    is_nameless: bool  # never carried an e-mail
    blanked_at: datetime | None
    repriced_at: datetime | None


@dataclass(frozen=True)
class TrueMembership:
    """One stay of a person in a group, `[joined_at, left_at)`."""

    email: str
    user_id: str
    billing_group_id: str
    joined_at: datetime
    left_at: datetime | None


class Truth:
    """Answers about an organisation.

    Without `reads` group and method assume that every answer of the API was read in time. With the snapshots that were
    taken (and accepted) they are what these allow; `attribution_method` then says where something had to be inferred.
    """

    def __init__(self, organisation: Organisation, reads: Iterable[SnapshotRead] | None = None) -> None:
        self._organisation = organisation
        self._evidence = None if reads is None else Evidence(organisation, reads)
        self._accounts: dict[str, list[Account]] = defaultdict(list)
        self._stints: dict[str, list[Stint]] = defaultdict(list)
        for account in organisation.roster.accounts.values():
            self._accounts[account.email.lower()].append(account)
        for stint in organisation.roster.stints:
            self._stints[organisation.roster.accounts[stint.user_id].email.lower()].append(stint)

    def events(
        self, day: date, as_of: datetime, *, earlier_reads: Iterable[datetime] | None = None, reveals: int = 0
    ) -> list[TrueEvent]:
        """Every event the API shows of the day at `as_of`, newest first.

        Args:
            earlier_reads: complete reads of the day before `as_of`, from which a blanked e-mail can be remembered;
                None: every e-mail that was ever shown is remembered.
            reveals: how far the open hour had drifted at that moment.
        """
        clock = Clock(to_ms(as_of), reveals)
        events = self._organisation.visible_events(day, clock)
        earlier = None if earlier_reads is None else [Clock(to_ms(read)) for read in earlier_reads]
        remembered = [self._remembered_email(event, clock, earlier) for event in events]
        people = self._people_of_conversations(events, remembered)
        return [
            self._true_event(event, clock.now_ms, email, people)
            for event, email in zip(events, remembered, strict=True)
        ]

    def day_cents(self, day: date, as_of: datetime) -> Decimal:
        """Sum of what the API charges for the day at `as_of`; unpriced events count nothing."""
        clock = Clock(to_ms(as_of))
        micro = sum(e.price_at(clock.now_ms).charged or 0 for e in self._organisation.visible_events(day, clock))
        return Decimal(micro) / MICRO

    def day_count(self, day: date, as_of: datetime) -> int:
        return len(self._organisation.visible_events(day, Clock(to_ms(as_of))))

    def group_cents(self, days: Iterable[date], as_of: datetime) -> dict[str, Decimal]:
        """What each billing group caused in these days, by group id."""
        cents: dict[str, Decimal] = defaultdict(Decimal)
        for day in days:
            for event in self.events(day, as_of):
                cents[event.billing_group_id] += event.charged_cents or 0
        return dict(cents)

    def memberships(self) -> list[TrueMembership]:
        """Every stay of everybody, also those that the API no longer shows."""
        accounts = self._organisation.roster.accounts
        return [
            TrueMembership(
                accounts[stint.user_id].email.lower(),
                stint.user_id,
                stint.group_id,
                from_ms(stint.joined_ms),
                None if stint.left_ms is None else from_ms(stint.left_ms),
            )
            for stint in self._organisation.roster.stints
        ]

    def attribution(self, email: str, at: datetime) -> tuple[str, str]:
        """Group and method for a person's usage at an instant."""
        return self._attribute_person(email.strip().lower(), to_ms(at))

    def _remembered_email(self, event: Event, clock: Clock, earlier: list[Clock] | None) -> str | None:
        if event.email is None or event.service_account is not None:
            return None
        if event.email_at(clock.now_ms) is not None or earlier is None:
            return event.email.lower()
        behaviour = self._organisation.behaviour
        was_shown = any(
            event.email_at(read.now_ms) is not None and visible([event], read, behaviour) for read in earlier
        )
        return event.email.lower() if was_shown else None

    def _true_event(
        self, event: Event, now_ms: int, email: str | None, people: dict[str, set[str | None]]
    ) -> TrueEvent:
        price = event.price_at(now_ms)
        service_account = event.service_account
        if service_account is not None:
            mapped = service_account.mapped_group(from_ms(event.at_ms).date())
            group_id = mapped or UNASSIGNED_ID
            method = "service_account_map" if mapped else "service_account_unmapped"
        else:
            email = email or self._email_of_conversation(event, people)
            group_id, method = (
                (UNATTRIBUTED_ID, "unattributed") if email is None else self._attribute_person(email, event.at_ms)
            )
        counts = (event.input_tokens, event.output_tokens, event.cache_write_tokens, event.cache_read_tokens)
        return TrueEvent(
            occurred_at=from_ms(event.at_ms),
            shown_email=event.email_at(now_ms),
            email=email,
            causer_email=None if event.account is None else event.account.email.lower(),
            service_account_id=None if service_account is None else service_account.service_account_id,
            cloud_agent_id=event.cloud_agent_id,
            automation_id=event.automation_id,
            conversation_id=event.conversation_id,
            model=event.model,
            kind=price.kind,
            max_mode=event.max_mode,
            tokens=counts if event.token_based else None,
            charged_cents=None if price.charged is None else Decimal(price.charged) / MICRO,
            billing_group_id=group_id,
            attribution_method=method,
            is_nameless=event.email is None and service_account is None,
            blanked_at=None if event.blanked_ms is None else from_ms(event.blanked_ms),
            repriced_at=None if event.repriced_ms is None else from_ms(event.repriced_ms),
        )

    @staticmethod
    def _people_of_conversations(
        events: Iterable[Event], remembered: Iterable[str | None]
    ) -> dict[str, set[str | None]]:
        """Who is known in each conversation; None stands for a service account."""
        people: dict[str, set[str | None]] = defaultdict(set)
        for event, email in zip(events, remembered, strict=True):
            if event.conversation_id is None:
                continue
            if event.service_account is not None:
                people[event.conversation_id].add(None)
            elif email is not None:
                people[event.conversation_id].add(email)
        return people

    @staticmethod
    def _email_of_conversation(event: Event, people: dict[str, set[str | None]]) -> str | None:
        known = people.get(event.conversation_id or "", set())
        return next(iter(known)) if len(known) == 1 else None

    def _attribute_person(self, email: str, at_ms: int) -> tuple[str, str]:
        if self._evidence is not None:
            return self._evidence.attribution(email, at_ms)
        accounts = self._accounts.get(email)
        if not accounts:
            return UNASSIGNED_ID, "unknown_user"
        for stint in self._stints[email]:
            if stint.joined_ms <= at_ms and (stint.left_ms is None or at_ms < stint.left_ms):
                return stint.group_id, "reported_interval"
        departures = [a.removed_ms for a in accounts if a.removed_ms is not None and a.removed_ms <= at_ms]
        if departures and not any(account.is_on_team(at_ms) for account in accounts):
            for stint in self._stints[email]:
                if stint.left_ms == max(departures):
                    return stint.group_id, "last_known_group"
        return UNASSIGNED_ID, "unassigned_gap"
