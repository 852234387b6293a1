"""What a tenant's API does, as far as its answers tell: cycles, groups, members, retention. Counts only, of nobody."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

from pipelines.cursor_admin.client import CursorAdminClient
from pipelines.cursor_admin.rows import billing_cycle
from pipelines.doctor.access import EVENTS
from pipelines.errors import ApiError, AuthError

DAY_MS = 86_400_000
WINDOW_DAYS = 30  # no route is known to take more
MOST_WINDOWS = 26  # a little over two years
EMPTY_WINDOWS = 3  # so many without an event end the walk: a quarter of holidays is not to be expected
CYCLES = 12
_ID_FORMS = ("dir_group_", "team_group_", "group_")


@dataclass(frozen=True)
class Told:
    """What came out of one question: the answer in a sentence, and what it rests on."""

    answer: str
    evidence: str


@dataclass
class Cycle:
    """One answer about the billing groups: `asked` is the day asked for, `start_at` and `end_at` what it says it is."""

    asked: date | None
    payload: Mapping[str, Any]
    start_at: datetime | None
    end_at: datetime | None

    @property
    def groups(self) -> list[dict[str, Any]]:
        return list(self.payload["groups"])

    @property
    def unassigned(self) -> dict[str, Any]:
        return dict(self.payload["unassignedGroup"])

    def entries(self, key: str = "formerMembers") -> Iterator[tuple[str, dict[str, Any]]]:
        """(group id, entry) of every group; the reserved one is not among them."""
        for group in self.groups:
            for entry in group.get(key) or []:
                yield str(group.get("id")), entry


@dataclass
class ApiProbe:
    """Asks one team's API, and remembers the answers that several questions rest on. `now` is the server's clock."""

    client: CursorAdminClient
    now: datetime
    cycles: list[Cycle] = field(default_factory=list)  # newest first; empty where groups are refused
    refusal: str | None = None

    @property
    def closed_cycle(self) -> Cycle | None:
        return self.cycles[1] if len(self.cycles) > 1 else None

    def read_cycles(self) -> None:
        """The current billing cycle and up to twelve before it, each asked for by its last day."""
        asked: date | None = None
        try:
            for _ in range(CYCLES + 1):
                payload = self.client.billing_groups(asked).payload
                found = billing_cycle(payload) or (None, None)
                self.cycles.append(Cycle(asked, payload, *found))
                if found[0] is None or (len(self.cycles) > 1 and found[0] == self.cycles[-2].start_at):
                    return
                asked = (found[0] - timedelta(days=1)).date()
        except ApiError as error:
            self.refusal = _brief(error)

    def retention(self, oldest_stored: date | None) -> Told:
        """Walks back by windows of 30 days with pages of one event, then halves the oldest window down to a day."""
        counts: list[int] = []
        end_ms = int(self.now.timestamp() * 1000)
        while len(counts) < MOST_WINDOWS and not (any(counts) and not any(counts[-EMPTY_WINDOWS:])):
            if len(counts) >= EMPTY_WINDOWS and not any(counts):
                return Told("no events at all", f"{len(counts)} windows of {WINDOW_DAYS} days, all empty")
            start_ms = end_ms - WINDOW_DAYS * DAY_MS
            counts.append(self._count(start_ms, end_ms - 1))
            end_ms = start_ms
        number = max(index for index, count in enumerate(counts) if count)
        now_ms = int(self.now.timestamp() * 1000)
        low = now_ms - (number + 1) * WINDOW_DAYS * DAY_MS
        first, last = 0, WINDOW_DAYS - 1  # the oldest event lies in the day `low` + first .. last
        while first < last:
            middle = (first + last) // 2
            if self._count(low, low + (middle + 1) * DAY_MS - 1):
                last = middle
            else:
                first = middle + 1
        oldest = datetime.fromtimestamp((low + (first + 1) * DAY_MS) / 1000 - 1, UTC).date()
        age = (self.now.date() - oldest).days
        if number == MOST_WINDOWS - 1:
            answer = f"at least {age} days: the walk ended there"
        elif oldest_stored is not None and oldest_stored < oldest - timedelta(days=1):
            older = (self.now.date() - oldest_stored).days
            answer = f"about {age} days: the warehouse holds events {older} days old that are no longer served"
        else:
            answer = f"{age} days; whether the API keeps no more or the team began then, a later probe will tell"
        shown = f"events by window of {WINDOW_DAYS} days, newest first: {', '.join(map(str, counts))}"
        return Told(f"Events go back {answer}.", f"{shown}. {self._without_dates()}")

    def _count(self, start_ms: int, end_ms: int) -> int:
        return self.client.usage_event_page(start_ms, end_ms, 1, 1).total_count

    def _without_dates(self) -> str:
        try:
            payload = self.client.request("POST", EVENTS, body={"page": 1, "pageSize": 1}).payload
            period = payload.get("period") or {}
            days = (int(period["endDate"]) - int(period["startDate"])) / DAY_MS
        except ApiError as error:
            return f"Asked without dates: {_brief(error)}."
        except (KeyError, TypeError, ValueError):
            return "Asked without dates, it answers and does not say for which period."
        return f"Asked without dates, it answers for {days:.0f} days."

    def lookback(self) -> Told:
        past = self.cycles[1:]
        right = [
            one
            for one in past
            if one.asked and one.start_at and one.end_at and one.start_at.date() <= one.asked < one.end_at.date()
        ]
        spent = sum(any(group.get("spendCents") for group in one.groups) for one in right)
        entries = sum(sum(1 for key in ("currentMembers", "formerMembers") for _ in one.entries(key)) for one in right)
        stopped = f" It ended with: {self.refusal}." if self.refusal else ""
        return Told(
            f"{len(right)} of the {CYCLES} cycles before this one are answered as what they are.{stopped}",
            f"{len(past)} answers, {spent} of them with spend, {entries} entries of members. Whether a past cycle is "
            "frozen shows only when somebody has moved and it is asked again.",
        )

    def stints(self) -> Told:
        several = twice = people = 0
        for one in self.cycles:
            found: Counter[str] = Counter()
            inside: Counter[tuple[str, str]] = Counter()
            for key in ("currentMembers", "formerMembers"):
                for group_id, entry in one.entries(key):
                    found[str(entry.get("userId"))] += 1
                    inside[(group_id, str(entry.get("userId")))] += 1
            people += len(found)
            several += sum(count > 1 for count in found.values())
            twice += sum(count > 1 for count in inside.values())
        if twice:
            answer = "Yes: each stint in one group is an entry of its own."
        elif several:
            answer = "Stints in different groups are entries of their own; of two stints in one group there is no case."
        else:
            answer = "No case: nobody moved in the cycles that were read. It takes a move to see."
        evidence = (
            f"{people} people in {len(self.cycles)} answers, {several} with several entries, {twice} within one group"
        )
        return Told(answer, evidence)

    def former_members(self) -> Told:
        former = early = 0
        for one in self.cycles:
            for _, entry in one.entries():
                former += 1
                left_at = _instant(entry.get("leftAt"))
                early += left_at is not None and one.start_at is not None and left_at < one.start_at
        answer = {
            True: "Everybody who ever left: some left before the cycle began.",
            False: "Those who left in that cycle: nobody listed left before it began.",
        }[early > 0]
        return Told(
            answer if former else "No case: nobody is listed as a former member.",
            f"{former} entries, {early} with leftAt before cycleStart",
        )

    def unassigned(self) -> Told:
        listed = dated = counted = 0
        for one in self.cycles:
            entries = [*(one.unassigned.get("currentMembers") or []), *(one.unassigned.get("formerMembers") or [])]
            listed += len(entries)
            dated += sum(bool(entry.get("joinedAt")) for entry in entries)
            counted += int(one.unassigned.get("memberCount") or 0)
        if listed:
            answer = "It lists its members." if dated == listed else "It lists its members, not all with joinedAt."
        else:
            answer = "It counts members and lists none." if counted else "No case: nobody is in Unassigned."
        return Told(
            answer, f"memberCount {counted} over {len(self.cycles)} answers, {listed} entries, {dated} with joinedAt"
        )

    def daily_spend(self) -> Told:
        groups = self.cycles[0].groups
        days = {str(row.get("date")) for group in groups for row in group.get("dailySpend") or []}
        in_list = sum("dailySpend" in entry for _, entry in self.cycles[0].entries("currentMembers"))
        in_detail = 0
        if groups:
            detail = self.client.billing_group(str(groups[0].get("id"))).payload["group"]
            in_detail = sum("dailySpend" in entry for entry in detail.get("currentMembers") or [])
        where = "in the list too" if in_list else "in the detail alone" if in_detail else "nowhere"
        return Told(
            f"{len(days)} days; per member {where}.",
            f"{len(groups)} groups; {in_list} members with it in the list, {in_detail} in one detail",
        )

    def cycle_lengths(self) -> Told:
        lengths = Counter(
            (one.end_at - one.start_at).days
            for one in self.cycles
            if one.start_at is not None and one.end_at is not None
        )
        shown = ", ".join(f"{days} days ({count} times)" for days, count in sorted(lengths.items()))
        return Told(
            shown or "The answers do not say.",
            f"{len(self.cycles)} answers; contract dates come with pooled usage alone",
        )

    def members(self, service_account_people: set[str]) -> Told:
        rows = self.client.members().payload["teamMembers"]
        roles = Counter((str(row.get("role")), bool(row.get("isRemoved"))) for row in rows)
        shown = ", ".join(
            f"{role}{' (removed)' if gone else ''}: {count}" for (role, gone), count in sorted(roles.items())
        )
        shared = {str(row.get("email")).strip().lower() for row in rows} & service_account_people
        return Told(
            f"Roles: {shown}.",
            f"{len(rows)} members; {len(shared)} of them bear an e-mail that is also on events of service accounts",
        )

    def directory_groups(self, audit_ids: set[str]) -> Told:
        linked = {str(group["directoryGroupId"]) for group in self.cycles[0].groups if group.get("directoryGroupId")}
        listed: set[str] = set()
        page = 1
        try:
            while True:
                answer = self.client.directory_group_page(page)
                listed |= {str(row.get("id")) for row in answer.rows if isinstance(row, dict)}
                if not answer.has_next_page:
                    break
                page += 1
        except AuthError as error:
            return Told("The route is refused.", _brief(error))
        both = len(linked & listed)
        if not linked or not listed:
            answer_text = "No case: " + (
                "no directory group is listed." if linked else "no billing group is linked to one."
            )
        elif both == len(linked):
            answer_text = "Yes: every linked id is listed."
        else:
            answer_text = f"No: {len(linked) - both} of {len(linked)} linked ids are not listed."
        return Told(
            answer_text,
            f"{len(linked)} linked ({_forms(linked)}), {len(listed)} listed ({_forms(listed)}), {both} in both; "
            f"{len(audit_ids)} in the audit log, {len(audit_ids & listed)} of them listed",
        )


def _forms(ids: set[str]) -> str:
    found = Counter(next((form for form in _ID_FORMS if one.startswith(form)), "another form") for one in ids)
    return ", ".join(f"{form} {count}" for form, count in sorted(found.items())) or "none"


def _instant(value: Any) -> datetime | None:
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment


def _brief(error: ApiError) -> str:
    """The first sentence of a message: what was answered, without what to do."""
    return str(error).split(". ")[0].rstrip(".")
