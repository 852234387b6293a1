"""Billing groups, members, spend and directory groups: what the API shows of the roster at a clock."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from datetime import date
from typing import Any

from pipelines.simulator.answers import Answer, Ask, RefusalError, json_answer, page_count, page_of
from pipelines.simulator.behaviour import Behaviour
from pipelines.simulator.instants import DAY_MS, day_of, iso, iso_or_none, to_ms
from pipelines.simulator.organisation import NO_STINT, Activity, Organisation, Totals
from pipelines.simulator.people import UNASSIGNED_ID, Account, Group, Stint
from pipelines.simulator.prices import cents_number
from pipelines.simulator.views import Clock

_Row = dict[str, Any]


def billing_groups(ask: Ask) -> Answer:
    """GET /teams/groups: every billing group in the cycle that contains `billingCycle` (default: now)."""
    book = _CycleBook(ask)
    groups = [book.group(group, detail=False) for group in ask.organisation.roster.groups if book.lists(group)]
    return json_answer({"groups": groups, "unassignedGroup": book.unassigned(detail=False), **book.cycle_key()})


def billing_group(ask: Ask) -> Answer:
    """GET /teams/groups/:groupId: the same for one group, members with `dailySpend`."""
    book, wanted = _CycleBook(ask), ask.path_values[0]
    if wanted == UNASSIGNED_ID:
        return json_answer({"group": book.unassigned(detail=True), **book.cycle_key()})
    for group in ask.organisation.roster.groups:
        if group.group_id == wanted and book.lists(group):
            return json_answer({"group": book.group(group, detail=True), **book.cycle_key()})
    raise RefusalError(404, "Resource not found")


class _CycleBook:
    """One billing cycle as the API shows it now: who was where, and what they spent there."""

    def __init__(self, ask: Ask) -> None:
        self._organisation, self._clock = ask.organisation, ask.clock
        self._behaviour = ask.organisation.behaviour
        if self._behaviour.plan == "teams":
            raise RefusalError(403, "Enterprise access required")
        self._now_ms = ask.clock.now_ms
        moment = self._now_ms
        if "billingCycle" in ask.query:
            try:
                moment = to_ms(date.fromisoformat(ask.query["billingCycle"]))
            except ValueError:
                raise RefusalError(400, "billingCycle must be YYYY-MM-DD") from None
        self._start_ms, self._end_ms = self._organisation.cycle(moment)
        roster = ask.organisation.roster
        gone = {group.group_id for group in roster.groups if not group.exists_at(self._now_ms)}
        self._gone = {index for index, stint in enumerate(roster.stints) if stint.group_id in gone}
        self._spend: dict[int, Activity] = defaultdict(Activity)  # by stint
        self._unassigned_spend: dict[str, Activity] = defaultdict(Activity)  # by user id or service account id
        self._add(self._organisation.period_totals(self._start_ms, self._end_ms, self._clock))
        today = day_of(self._now_ms)
        recent = [date.fromordinal(today.toordinal() - 1), today]
        self._recent = [
            (day, self._organisation.totals(day, self._clock))
            for day in recent
            if self._start_ms <= to_ms(day) < self._end_ms
        ]
        self._glitches = [
            glitch for glitch in self._behaviour.glitches if glitch.target == "groups" and glitch.on == today
        ]

    def lists(self, group: Group) -> bool:
        """A deleted group is gone from every cycle, also past ones; one created later is not in earlier cycles."""
        return group.exists_at(self._now_ms) and group.created_ms < self._end_ms

    def cycle_key(self) -> _Row:
        if not self._behaviour.send_billing_cycle:
            return {}
        return {"billingCycle": {"cycleStart": iso(self._start_ms), "cycleEnd": iso(self._end_ms)}}

    def group(self, group: Group, *, detail: bool) -> _Row:
        current: list[_Row] = []
        former: list[_Row] = []
        stints = self._organisation.stints_by_group[group.group_id]
        for index, stint in stints:
            shown = self._organisation.stint_as_shown(stint, self._now_ms, self._start_ms, self._end_ms)
            if shown is not None:
                is_current = shown == "current"
                (current if is_current else former).append(self._member(index, stint, is_current, detail))
        current = self._glitched(group.group_id, current)
        touched = [group.created_ms, *(since for since, _ in group.names if since <= self._now_ms)]
        for _, stint in stints:
            touched += [ms for ms in (stint.joined_ms, stint.left_ms) if ms is not None and ms <= self._now_ms]
        spent = sum(self._amount(self._spend[index]) for index, _ in stints)
        own = {index for index, _ in stints}
        return {
            "id": group.group_id,
            "name": group.name_at(self._now_ms),
            "type": "BILLING",
            "directoryGroupId": group.directory_group_id,
            "memberCount": len(current),
            "createdAt": iso(group.created_ms),
            "updatedAt": iso(max(touched)),
            "spendCents": cents_number(spent),
            "currentMembers": current,
            "formerMembers": former,
            "dailySpend": self._daily(lambda index, _: index in own),
        }

    def unassigned(self, *, detail: bool) -> _Row:
        """Everybody without a group, service accounts, and what deleted groups spent."""
        since = self._people_without_group()
        members = []
        if self._behaviour.unassigned_lists_members:
            for account, joined_ms in since:
                member: _Row = {
                    "userId": account.user_id,
                    "name": account.name,
                    "email": account.email,
                    "joinedAt": iso(joined_ms),
                    "leftAt": None,
                    "spendCents": cents_number(self._amount(self._unassigned_spend[account.user_id])),
                }
                if detail or self._behaviour.daily_spend_in_list:
                    member["dailySpend"] = self._daily_without_group(account.user_id)
                members.append(member)
        spent = sum(self._amount(activity) for activity in self._unassigned_spend.values())
        created = to_ms(date(self._organisation.start.year, 1, 1))
        return {
            "id": UNASSIGNED_ID,
            "name": "Unassigned",
            "type": "BILLING",
            "directoryGroupId": None,
            "memberCount": len(since),
            "createdAt": iso(created),
            "updatedAt": iso(created),
            "spendCents": cents_number(spent),
            "currentMembers": members,
            "formerMembers": [],
            "dailySpend": self._daily(lambda index, _: index == NO_STINT or index in self._gone),
        }

    def _member(self, index: int, stint: Stint, is_current: bool, detail: bool) -> _Row:
        account = self._organisation.roster.accounts[stint.user_id]
        member: _Row = {
            "userId": account.user_id,
            "name": account.name,
            "email": account.email,
            "joinedAt": iso(stint.joined_ms),
            "leftAt": None if is_current else iso_or_none(stint.left_ms),
            "spendCents": cents_number(self._amount(self._spend[index])),
        }
        if is_current and (detail or self._behaviour.daily_spend_in_list):
            member["dailySpend"] = self._daily(lambda other, _: other == index)
        return member

    def _glitched(self, group_id: str, members: list[_Row]) -> list[_Row]:
        for glitch in self._glitches:
            if glitch.group_id in (None, group_id):
                members = glitch.spoil(members)
        return members

    def _add(self, totals: Totals) -> None:
        for (actor, index), activity in totals.items():
            if index == NO_STINT or index in self._gone:
                self._unassigned_spend[actor].add(activity)
            else:
                self._spend[index].add(activity)

    def _amount(self, activity: Activity) -> int:
        return activity.on_demand if self._behaviour.spend_basis == "on_demand" else activity.overall

    def _daily(self, belongs: Callable[[int, str], bool]) -> list[_Row]:
        """The two newest days; a day without spend is left out."""
        rows = []
        for day, totals in self._recent:
            spent = sum(self._amount(activity) for (actor, index), activity in totals.items() if belongs(index, actor))
            if spent:
                rows.append({"date": day.isoformat(), "spendCents": cents_number(spent)})
        return rows

    def _daily_without_group(self, user_id: str) -> list[_Row]:
        return self._daily(lambda index, actor: index == NO_STINT and actor == user_id)

    def _people_without_group(self) -> list[tuple[Account, int]]:
        moment = min(self._now_ms, self._end_ms - 1)
        found = []
        for account in self._organisation.roster.accounts.values():
            if account.is_on_team(moment) and self._organisation.stint_index_at(account.user_id, moment) == NO_STINT:
                ends = [
                    s.left_ms
                    for s in self._organisation.stints_of(account.user_id)
                    if s.left_ms and s.left_ms <= moment
                ]
                found.append((account, max([account.joined_ms, *ends])))
        return found


def members(ask: Ask) -> Answer:
    """GET /teams/members: the roster now. Removed people carry a flag or are missing, by the switch."""
    return json_answer({"teamMembers": roster_rows(ask.organisation, ask.clock.now_ms)})


def roster_rows(organisation: Organisation, now_ms: int) -> list[_Row]:
    """What the members route answers at that moment, glitches included."""
    rows = []
    for account in organisation.roster.accounts.values():
        removed = account.removed_ms is not None and account.removed_ms <= now_ms
        if account.joined_ms <= now_ms and not (removed and organisation.behaviour.removed_members == "vanish"):
            rows.append(
                {
                    "id": account.numeric_id if organisation.behaviour.numeric_member_ids else account.user_id,
                    "name": account.name,
                    "email": account.email,
                    "role": account.role_at(now_ms),
                    "isRemoved": removed,
                }
            )
    for glitch in organisation.behaviour.glitches:
        if glitch.target == "members" and glitch.on == day_of(now_ms):
            rows = glitch.spoil(rows)
    return rows


def spend(ask: Ask) -> Answer:
    """POST /teams/spend: per member, the current cycle only, from the same events."""
    organisation, now_ms = ask.organisation, ask.clock.now_ms
    page = ask.number("page", 1, 1, 1_000_000)
    size = ask.number("pageSize", 100, 1, 1000)
    start_ms, end_ms = organisation.cycle(now_ms)
    by_user: dict[str, Activity] = defaultdict(Activity)
    for (actor, _), activity in organisation.period_totals(start_ms, end_ms, ask.clock).items():
        by_user[actor].add(activity)
    term = str(ask.body.get("searchTerm") or "").lower()
    rows = []
    tiers = organisation.behaviour.billing_tiers
    for number, account in enumerate(organisation.roster.accounts.values()):
        gone = account.removed_ms is not None and account.removed_ms <= now_ms
        if account.joined_ms > now_ms or (gone and by_user[account.user_id].overall == 0):
            continue
        if term and term not in account.email.lower() and term not in account.name.lower():
            continue
        tier = tiers[number % len(tiers)]
        rows.append(_spend_row(account, by_user[account.user_id], now_ms, organisation.behaviour, tier))
    sort_by, ascending = ask.body.get("sortBy", "date"), ask.body.get("sortDirection", "desc") == "asc"
    if sort_by not in ("amount", "date", "user"):
        raise RefusalError(400, "Invalid sortBy")
    order = {
        "amount": lambda row: row["overallSpendCents"],
        "user": lambda row: row["email"].lower(),
        "date": lambda row: str(row["userId"]),
    }
    rows.sort(key=order[sort_by], reverse=not ascending)
    extra = {"limitedUsersCount": 0} if organisation.behaviour.undocumented_spend_fields else {}
    return json_answer(
        {
            "teamMemberSpend": page_of(rows, page, size),
            "subscriptionCycleStart": start_ms,
            "totalMembers": len(rows),
            "totalPages": page_count(len(rows), size),
            **extra,
        }
    )


def _spend_row(account: Account, activity: Activity, now_ms: int, behaviour: Behaviour, tier: str) -> _Row:
    undocumented = behaviour.undocumented_spend_fields
    removed = account.removed_ms is not None and account.removed_ms <= now_ms
    row: _Row = {
        "userId": account.numeric_id if behaviour.numeric_member_ids else account.user_id,
        "name": account.name,
        "email": account.email,
        "role": "removed" if removed and undocumented else account.role_at(now_ms),
        "spendCents": cents_number(activity.on_demand),
        "overallSpendCents": cents_number(activity.overall),
        "fastPremiumRequests": 0,
        "hardLimitOverrideDollars": 0,
        "monthlyLimitDollars": None,
        "effectivePerUserLimitDollars": 150,
    }
    if undocumented:
        row |= {"includedSpendCents": cents_number(activity.overall - activity.on_demand), "billingTier": tier}
        row |= {"removedAt": iso_or_none(account.removed_ms if removed else None)}
    return row


def directory_groups(ask: Ask) -> Answer:
    """GET /teams/directory-groups: the groups of the identity provider (not billing groups)."""
    rows = [_directory_row(ask.clock, group, len(_directory_members(ask, group))) for group in _directory(ask)]
    return json_answer(_paged(ask, "groups", rows))


def directory_group(ask: Ask) -> Answer:
    group = _directory_group(ask)
    return json_answer({"group": _directory_row(ask.clock, group, len(_directory_members(ask, group)))})


def directory_group_members(ask: Ask) -> Answer:
    return json_answer(_paged(ask, "members", _directory_members(ask, _directory_group(ask))))


def _directory(ask: Ask) -> list[Group]:
    now_ms = ask.clock.now_ms
    return [g for g in ask.organisation.roster.groups if g.directory_group_id is not None and g.exists_at(now_ms)]


def _directory_group(ask: Ask) -> Group:
    for group in _directory(ask):
        if group.directory_group_id == ask.path_values[0]:
            return group
    raise RefusalError(404, "Resource not found")


def _directory_row(clock: Clock, group: Group, count: int) -> _Row:
    return {
        "id": group.directory_group_id,
        "name": group.name_at(clock.now_ms).lower().replace(" ", "-"),
        "memberCount": count,
        "monthlySpendingLimitDollars": 500,
        "createdAt": iso(group.created_ms - DAY_MS),
        "updatedAt": iso(group.created_ms - DAY_MS),
    }


def _directory_members(ask: Ask, group: Group) -> list[_Row]:
    now_ms, rows = ask.clock.now_ms, []
    for stint in ask.organisation.roster.stints:
        if (
            stint.group_id == group.group_id
            and stint.joined_ms <= now_ms
            and (stint.left_ms is None or stint.left_ms > now_ms)
        ):
            account = ask.organisation.roster.accounts[stint.user_id]
            joined = iso(stint.joined_ms)
            rows.append({"userId": account.user_id, "name": account.name, "email": account.email, "joinedAt": joined})
    return rows


def _paged(ask: Ask, key: str, rows: list[_Row]) -> _Row:
    page, size = ask.number("page", 1, 1, 1_000_000), ask.number("pageSize", 100, 1, 500)
    pages = page_count(len(rows), size)
    flags = {"hasNextPage": page < pages, "hasPreviousPage": page > 1}
    pagination = {"page": page, "pageSize": size, "totalCount": len(rows), "totalPages": pages, **flags}
    return {key: page_of(rows, page, size), "pagination": pagination}
