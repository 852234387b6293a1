"""Seats as the evidence allows, worked out from answers and seeds: integers and dates, nothing of the code under test.

Nobody can ask the API who had a seat last month. There are only the members answers that were accepted, each true when
it was read, and the audit events that were served. What these tell about a person is a step function of time: a
seat-day is counted where it stands on a role that holds a seat at the end of the UTC day.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import TypeVar

from pipelines.simulator.groups_api import roster_rows
from pipelines.simulator.instants import DAY_MS, to_ms
from pipelines.simulator.organisation import Organisation
from pipelines.simulator.statements import day_price_micro

_T = TypeVar("_T")
STANDARD = "standard"
UNATTRIBUTED_ID = "unattributed"
SEAT_ROLES = frozenset({"owner", "member"})
REMOVED = "removed"
ADDED, ROLE_CHANGED = "added", "role_changed"
_CHANGES = {
    "add_user": ADDED,
    "member_added": ADDED,
    "remove_user": REMOVED,
    "member_removed": REMOVED,
    "update_user_role": ROLE_CHANGED,
    "role_changed": ROLE_CHANGED,
}


@dataclass(frozen=True)
class MembersAnswer:
    """One accepted answer of /teams/members: (e-mail, role, is removed) per row."""

    at: datetime
    rows: tuple[tuple[str, str, bool], ...]


@dataclass(frozen=True)
class RosterChange:
    """One audit event about a person, with the role after it and the one before it where the event names them."""

    at_ms: int
    email: str
    change: str
    role: str | None
    role_before: str | None = None


@dataclass(frozen=True)
class AuditWindow:
    """A complete read of the audit log: everything from `start` up to `end` (exclusive) that the API served at `at`."""

    start: datetime
    end: datetime
    at: datetime


@dataclass
class SeatBooks:
    """The company's own seeds for one team, as rows (valid from, value), in any order."""

    prices: dict[str, list[tuple[date, Decimal]]] = field(default_factory=dict)  # USD per month, by seat type
    types: dict[str, list[tuple[date, str]]] = field(default_factory=dict)  # by e-mail in lower case
    committed: dict[str, list[tuple[date, int]]] = field(default_factory=dict)  # by seat type
    service_account_emails: frozenset[str] = frozenset()

    def seat_type(self, email: str, day: date) -> str:
        return _in_force(self.types.get(email, ()), day) or STANDARD

    def monthly_price(self, seat_type: str, day: date) -> Decimal | None:
        """What the type costs; None when the company has named no price at all.

        Raises:
            LookupError: there are prices, but none for this type on this day.
        """
        if not any(self.prices.values()):
            return None
        price = _in_force(self.prices.get(seat_type, ()), day)
        if price is None:
            raise LookupError(f"no price for a {seat_type} seat on {day}")
        return price

    def committed_seats(self, day: date) -> dict[str, int]:
        found = {seat_type: _in_force(rows, day) for seat_type, rows in self.committed.items()}
        return {seat_type: count for seat_type, count in found.items() if count is not None}


@dataclass(frozen=True)
class SeatDay:
    """A row of seats: a person's, or the committed ones of a type that nobody took (`email` None)."""

    day: date
    seat_type: str
    status: str  # 'taken', 'held_after_removal' or 'committed_unused'
    email: str | None
    billing_group_id: str
    evidence: str  # 'roster_snapshot', 'carried_forward' or 'audit_log'
    monthly_price_usd: Decimal | None
    seat_count: int
    seat_micro: int | None  # millionths of a cent; None: not priced


@dataclass(frozen=True)
class _Evidence:
    """That somebody was, or was made, something: by a members answer or by an audit event."""

    at_ms: int
    is_answer: bool
    is_removal: bool
    role: str | None
    role_before: str | None = None


@dataclass(frozen=True)
class _Step:
    """From `from_ms` on the person has this role; REMOVED: is not on the team."""

    from_ms: int
    role: str


class SeatTruth:
    """Seats of one team.

    Args:
        answers: the accepted members answers.
        changes: the audit events that were read.
        audit_from: first covered day of the audit log; None: it was never read.
        books: the company's seeds.
        group_at: the group that bears a person's cost at an instant.
        usage_of: the instants of a person's own events, in order.
        cycle_of: start and end (exclusive) of the billing cycle that contains an instant.
        hold_after_removal: whether somebody with usage in the cycle keeps the seat to its end.
    """

    def __init__(
        self,
        answers: Iterable[MembersAnswer],
        changes: Iterable[RosterChange],
        audit_from: date | None,
        books: SeatBooks,
        *,
        group_at: Callable[[str, int], str],
        usage_of: Mapping[str, Sequence[int]],
        cycle_of: Callable[[int], tuple[int, int]],
        hold_after_removal: bool = True,
    ) -> None:
        self._answers = sorted(answers, key=lambda answer: answer.at)
        self._audit_from = audit_from
        self._books = books
        self._group_at, self._usage_of, self._cycle_of = group_at, usage_of, cycle_of
        self._hold_after_removal = hold_after_removal
        self._answer_days = {answer.at.date() for answer in self._answers}
        self._steps = self._work_out_steps(changes)

    @property
    def people(self) -> list[str]:
        return sorted(self._steps)

    def days(self, days: Iterable[date]) -> list[SeatDay]:
        """Every row of these days; each must be over."""
        return [row for day in days for row in self._day(day)]

    def role_at(self, email: str, ms: int) -> str | None:
        """The role at an instant; None before the first evidence and after a removal."""
        step = self._step_at(email, ms)
        return None if step is None or step.role == REMOVED else step.role

    def _work_out_steps(self, changes: Iterable[RosterChange]) -> dict[str, list[_Step]]:
        by_person: dict[str, list[_Evidence]] = defaultdict(list)
        for change in changes:
            is_removal = change.change == REMOVED
            by_person[change.email].append(_Evidence(change.at_ms, False, is_removal, change.role, change.role_before))
        rosters = [
            (to_ms(answer.at), {email: role for email, role, is_removed in answer.rows if not is_removed})
            for answer in self._answers
        ]
        for email in {*by_person, *(email for _, present in rosters for email in present)}:
            by_person[email] += [
                _Evidence(at_ms, True, email not in present, present.get(email)) for at_ms, present in rosters
            ]
        return {email: self._person_steps(sorted(found, key=_in_time)) for email, found in by_person.items()}

    def _person_steps(self, evidence: list[_Evidence]) -> list[_Step]:
        """Each piece of evidence is good until the next one; what repeats the step before it starts none."""
        steps: list[_Step] = []
        for number, one in enumerate(evidence):
            role = REMOVED if one.is_removal else one.role
            if role is None:  # the older vocabulary does not say as what somebody was added
                told = (later.role_before or later.role for later in evidence[number + 1 :])
                role = next(filter(None, told), "member")
            if role == REMOVED and not steps:
                if one.is_answer or self._audit_from is None:
                    continue  # not there yet, or long gone
                steps.append(_Step(to_ms(self._audit_from), "member"))  # who is removed was there before
            if not steps or steps[-1].role != role:
                steps.append(_Step(one.at_ms, role))
        return steps

    def _step_at(self, email: str, ms: int) -> _Step | None:
        steps = self._steps.get(email, [])
        index = bisect_right([step.from_ms for step in steps], ms)
        return steps[index - 1] if index else None

    def _day(self, day: date) -> list[SeatDay]:
        rows: list[SeatDay] = []
        evidence = self._evidence(day)
        taken: dict[str, int] = defaultdict(int)
        for email in self.people:
            status = self._status(email, day)
            if status is not None:
                seat_type = self._books.seat_type(email, day)
                taken[seat_type] += 1
                group_id = self._group_at(email, _last_ms(day))
                rows.append(self._row(day, seat_type, status, email, group_id, evidence, 1))
        for seat_type, committed in sorted(self._books.committed_seats(day).items()):
            if committed > taken[seat_type]:
                unused = committed - taken[seat_type]
                rows.append(self._row(day, seat_type, "committed_unused", None, UNATTRIBUTED_ID, evidence, unused))
        return rows

    def _status(self, email: str, day: date) -> str | None:
        if email in self._books.service_account_emails:
            return None
        step = self._step_at(email, _last_ms(day))
        if step is None:
            return None
        if step.role != REMOVED:
            return "taken" if step.role in SEAT_ROLES else None
        return "held_after_removal" if self._is_held(email, step, day) else None

    def _is_held(self, email: str, removal: _Step, day: date) -> bool:
        before = self._step_at(email, removal.from_ms - 1)
        if not self._hold_after_removal or before is None or before.role not in SEAT_ROLES:
            return False
        start_ms, end_ms = self._cycle_of(removal.from_ms)
        return to_ms(day) < end_ms and any(start_ms <= at < end_ms for at in self._usage_of.get(email, ()))

    def _evidence(self, day: date) -> str:
        if day in self._answer_days:
            return "roster_snapshot"
        return "carried_forward" if any(answered < day for answered in self._answer_days) else "audit_log"

    def _row(
        self, day: date, seat_type: str, status: str, email: str | None, group_id: str, evidence: str, count: int
    ) -> SeatDay:
        price = self._books.monthly_price(seat_type, day)
        micro = None if price is None else count * day_price_micro(price, day)
        return SeatDay(day, seat_type, status, email, group_id, evidence, price, count, micro)


def members_answer(organisation: Organisation, at: datetime) -> MembersAnswer:
    """What the members route said at that moment."""
    rows = [
        (row["email"].strip().lower(), row["role"], row["isRemoved"]) for row in roster_rows(organisation, to_ms(at))
    ]
    return MembersAnswer(at, tuple(rows))


def roster_changes(organisation: Organisation, windows: Iterable[AuditWindow]) -> list[RosterChange]:
    """The audit events about people that these reads were served, in order of time."""
    retention = organisation.behaviour.audit_retention_days
    spans = []
    for window in windows:
        start_ms, at_ms = to_ms(window.start), to_ms(window.at)
        oldest_ms = start_ms if retention is None else max(start_ms, at_ms - retention * DAY_MS)
        spans.append((oldest_ms, min(to_ms(window.end) - 1, at_ms)))
    found = []
    for event in organisation.audit_trail:
        change = _CHANGES.get(event.event_type)
        if change is not None and any(first <= event.at_ms <= last for first, last in spans):
            email = event.data.get("user_email") or event.data["email"]
            role = _role(event.data.get("new_role") or event.data.get("role"))
            before = _role(event.data.get("old_role"))
            found.append(RosterChange(event.at_ms, str(email).strip().lower(), change, role, before))
    return found


def _role(code: object) -> str | None:
    """`FREE_OWNER` as the roster writes it: `free-owner`."""
    return None if code is None else str(code).lower().replace("_", "-")


def _in_time(evidence: _Evidence) -> tuple[int, bool]:
    return evidence.at_ms, evidence.is_answer


def _in_force(rows: Iterable[tuple[date, _T]], day: date) -> _T | None:
    """The value of the last row that is valid from this day or earlier."""
    return max(((since, value) for since, value in rows if since <= day), key=lambda row: row[0], default=(day, None))[
        1
    ]


def _last_ms(day: date) -> int:
    return to_ms(day) + DAY_MS - 1
