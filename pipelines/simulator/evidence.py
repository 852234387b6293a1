"""What can be known about memberships from the snapshots that were taken, where that is less than what is true.

The API tells `joinedAt` and `leftAt` only for what it still lists. A stay that vanished ended somewhere between two
answers, a deleted group is known only to those who asked in time, and a departure from the company shows in the members
answer. The inputs are the organisation's own history, never an answer of the API.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime

from pipelines.simulator.instants import to_ms
from pipelines.simulator.organisation import Organisation
from pipelines.simulator.people import UNASSIGNED_ID, Stint

FOR_EVER_MS = 1 << 62


@dataclass(frozen=True)
class SnapshotRead:
    """One accepted answer: 'members', or 'billing_groups' for the cycle of `cycle_date` (None: the current one)."""

    resource: str
    at: datetime
    cycle_date: date | None = None


@dataclass(frozen=True)
class KnownStay:
    """A stay as far as the reads tell, `[from_ms, until_ms)`."""

    billing_group_id: str
    joined_ms: int
    until_ms: int
    is_inferred: bool


@dataclass(frozen=True)
class _Listing:
    """One groups answer: the cycle it is about, and the moment up to which it speaks."""

    now_ms: int
    cycle_start_ms: int
    cycle_end_ms: int

    @property
    def speaks_until_ms(self) -> int:
        return min(self.now_ms, self.cycle_end_ms)


class Evidence:
    """Attribution of people's usage as the reads allow it."""

    def __init__(self, organisation: Organisation, reads: Iterable[SnapshotRead]) -> None:
        self._organisation = organisation
        self._listings: list[_Listing] = []
        self._roster_reads: list[int] = []
        for read in reads:
            now_ms = to_ms(read.at)
            if read.resource == "members":
                self._roster_reads.append(now_ms)
            else:
                cycle = organisation.cycle(now_ms if read.cycle_date is None else to_ms(read.cycle_date))
                self._listings.append(_Listing(now_ms, *cycle))
        self._roster_reads.sort()
        self._listings.sort(key=lambda listing: (listing.speaks_until_ms, listing.now_ms))
        self._stays: dict[str, list[KnownStay]] = defaultdict(list)
        self._listed: set[str] = set()
        accounts = organisation.roster.accounts
        for stint in organisation.roster.stints:
            stay = self._known_stay(stint)
            if stay is not None:
                self._stays[accounts[stint.user_id].email.lower()].append(stay)
        for account in accounts.values():
            if any(self._is_listed(account.joined_ms, account.removed_ms, at_ms) for at_ms in self._roster_reads):
                self._listed.add(account.email.lower())

    def attribution(self, email: str, at_ms: int) -> tuple[str, str]:
        """Group and method for a person's usage at an instant."""
        containing = [stay for stay in self._stays[email] if stay.joined_ms <= at_ms < stay.until_ms]
        if containing:
            stay = max(containing, key=lambda known: (known.joined_ms, known.billing_group_id))
            return stay.billing_group_id, "inferred_interval" if stay.is_inferred else "reported_interval"
        stay_at_departure = self._stay_at_departure(email, at_ms)
        if stay_at_departure is not None:
            return stay_at_departure.billing_group_id, "last_known_group"
        known = email in self._listed or bool(self._stays[email])
        return UNASSIGNED_ID, "unassigned_gap" if known else "unknown_user"

    def stays(self, email: str) -> list[KnownStay]:
        return sorted(self._stays[email], key=lambda stay: stay.joined_ms)

    def _known_stay(self, stint: Stint) -> KnownStay | None:
        group = next(group for group in self._organisation.roster.groups if group.group_id == stint.group_id)
        newest: _Listing | None = None
        shown: str | None = None
        for listing in sorted(self._listings, key=lambda each: (each.now_ms, each.cycle_start_ms)):
            found = self._shown(stint, group.exists_at(listing.now_ms), listing)
            if found is not None:
                newest, shown = listing, found
        if newest is None:
            return None
        if shown == "former" and stint.left_ms is not None:
            return KnownStay(stint.group_id, stint.joined_ms, stint.left_ms, is_inferred=False)
        for later in self._listings:
            if later.speaks_until_ms <= newest.speaks_until_ms:
                continue
            if self._shown(stint, group.exists_at(later.now_ms), later) is None:
                is_next_cycle = later.cycle_start_ms > newest.cycle_start_ms
                at_start = is_next_cycle and later.cycle_start_ms >= newest.speaks_until_ms
                until = later.cycle_start_ms if at_start else later.speaks_until_ms
                return KnownStay(stint.group_id, stint.joined_ms, until, is_inferred=True)
        return KnownStay(stint.group_id, stint.joined_ms, FOR_EVER_MS, is_inferred=False)

    def _shown(self, stint: Stint, group_exists: bool, listing: _Listing) -> str | None:
        if not group_exists:
            return None
        cycle = (listing.cycle_start_ms, listing.cycle_end_ms)
        return self._organisation.stint_as_shown(stint, listing.now_ms, *cycle)

    def _stay_at_departure(self, email: str, at_ms: int) -> KnownStay | None:
        """The stay that ended as part of the latest departure before the instant, if a members answer showed one."""
        accounts = [a for a in self._organisation.roster.accounts.values() if a.email.lower() == email]
        ended = [stay for stay in self._stays[email] if stay.until_ms <= at_ms]
        if not ended:
            return None
        last = max(ended, key=lambda stay: stay.until_ms)
        if any(stay.joined_ms > last.joined_ms and stay.joined_ms <= at_ms for stay in self._stays[email]):
            return None
        on_team = [read for read in self._roster_reads if any(account.is_on_team(read) for account in accounts)]
        off_team = [read for read in self._roster_reads if read not in set(on_team) and read >= accounts[0].joined_ms]
        absent = [read for read in off_team if read >= last.until_ms]
        if not absent:
            return None
        seen_before = [read for read in on_team if read < absent[0]]
        return last if not seen_before or last.until_ms > seen_before[-1] else None

    def _is_listed(self, joined_ms: int, removed_ms: int | None, at_ms: int) -> bool:
        gone = removed_ms is not None and removed_ms <= at_ms
        return joined_ms <= at_ms and not (gone and self._organisation.behaviour.removed_members == "vanish")
