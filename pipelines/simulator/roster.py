"""Invents people, groups and what happens to them: joiners, leavers, moves, a rename, a deletion, a re-invitation."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from random import Random

from pipelines.simulator.behaviour import Behaviour
from pipelines.simulator.instants import DAY_MS, HOUR_MS, to_ms
from pipelines.simulator.people import Account, Group, Person, Roster, ServiceAccount, Stint
from pipelines.simulator.words import FIRST_NAMES, GROUP_NAMES, LAST_NAMES, REPOSITORIES

_ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789"


@dataclass
class _Draft:
    """What happens to one person: `moves` are (instant, group or None), in order of time."""

    joined_ms: int
    removed_ms: int | None = None
    returns_ms: int | None = None  # re-invited with a new id
    roles: list[tuple[int, str]] = field(default_factory=list)
    moves: list[tuple[int, str | None]] = field(default_factory=list)


class RosterInventor:
    """Draws one roster from a seed; the same arguments give the same roster."""

    def __init__(self, seed: int, people: int, groups: int, start: date, end: date, behaviour: Behaviour) -> None:
        self._random = Random(f"{seed}/roster")
        self._people, self._group_count = people, max(1, groups)
        self._start_ms, self._end_ms = to_ms(start), to_ms(end) + DAY_MS
        self._start = start
        self._behaviour = behaviour
        self._names: dict[tuple[str, str], int] = {}
        self._lasting: set[str] = set()

    def invent(self) -> Roster:
        groups = self._invent_groups()
        self._lasting = {group.group_id for group in groups if group.deleted_ms is None}
        drafts = self._invent_drafts(groups)
        persons, stints = [], []
        for index, draft in enumerate(drafts):
            person = self._person(index, draft)
            persons.append(person)
            stints += self._stints(draft, person.accounts)
        stints.sort(key=lambda stint: (stint.joined_ms, stint.user_id))
        return Roster(tuple(persons), tuple(groups), tuple(stints), self._invent_service_accounts(groups, persons))

    def _moment(self, from_share: float = 0.05, to_share: float = 0.95) -> int:
        """An instant in office hours of a weekday, in this part of the covered time."""
        span = self._end_ms - self._start_ms
        ms = self._start_ms + int(span * (from_share + (to_share - from_share) * self._random.random()))
        day = ms - ms % DAY_MS
        while (day // DAY_MS + 3) % 7 >= 5:  # 1970-01-01 was a Thursday; 5 and 6 are the weekend
            day -= DAY_MS
        return max(day + 8 * HOUR_MS + self._random.randrange(9 * HOUR_MS), self._start_ms + 1)

    def _before_start(self, days: int) -> int:
        return self._start_ms - self._random.randrange(2 * DAY_MS, days * DAY_MS)

    def _token(self, length: int) -> str:
        return "".join(self._random.choices(_ALPHABET, k=length))

    def _invent_groups(self) -> list[Group]:
        groups = []
        for index in range(self._group_count):
            name = GROUP_NAMES[index % len(GROUP_NAMES)] + (
                f" {index // len(GROUP_NAMES) + 1}" if index >= len(GROUP_NAMES) else ""
            )
            slug = "".join(letter for letter in name.lower() if letter.isalnum())[:8]
            created = self._start_ms - (400 - index) * DAY_MS
            groups.append(Group(f"group_{slug}{index:02d}", ((created, name),), None, created, None))
        if len(groups) >= 2:
            groups[1] = replace(groups[1], directory_group_id=f"dir_{groups[1].group_id}")
        if len(groups) >= 3:
            renamed = groups[2]
            groups[2] = replace(
                renamed, names=(*renamed.names, (self._moment(0.3, 0.7), f"{renamed.names[0][1]} & Relevance"))
            )
        if len(groups) >= 5:
            created = self._moment(0.2, 0.4)
            groups[3] = replace(groups[3], created_ms=created, names=((created, groups[3].names[0][1]),))
        if len(groups) >= 4:
            groups[-1] = replace(groups[-1], deleted_ms=self._moment(0.6, 0.85))
        return groups

    def _invent_drafts(self, groups: list[Group]) -> list[_Draft]:
        drafts = [self._settled(groups) for _ in range(self._people)]
        pool = list(range(3, self._people))
        self._random.shuffle(pool)

        def take(share: float, at_least: int) -> list[_Draft]:
            count = max(at_least, round(share * self._people))
            return [drafts[pool.pop()] for _ in range(min(count, len(pool)))]

        for draft in take(0.04, 1):
            self._leave_and_rejoin_group(draft)
        for draft in take(0.02, 1):
            self._double_move(draft, groups)
        for draft in take(0.02, 1):
            self._reinvite(draft)
        for draft in take(0.10, 1):
            self._move(draft, groups)
        for draft in take(0.04, 1):
            self._found_new_group(draft, groups)
        for draft in take(0.08, 1):
            draft.removed_ms = self._moment(0.15, 0.9)
        for draft in take(0.08, 1):
            self._join_late(draft, groups)
        for draft in take(0.03, 1):
            draft.moves = []  # never in any group
        for draft in take(0.02, 1):
            draft.moves.append((self._moment(0.1, 0.4), None))  # a gap before the departure stays a gap
            draft.removed_ms = self._moment(0.5, 0.9)
        for draft in take(0.02, 1):
            draft.roles.append((self._moment(), "owner"))
        self._owners(drafts)
        deleted = next((group for group in groups if group.deleted_ms is not None), None)
        if deleted is not None:
            self._survive_deletion(drafts, deleted, groups)
        return drafts

    def _settled(self, groups: list[Group]) -> _Draft:
        """Somebody who was there before the covered time and stays in one group."""
        old = [group for group in groups if group.created_ms < self._start_ms]
        weights = [1.0 / (rank + 2) for rank in range(len(old))]
        group = self._random.choices(old, weights)[0]
        joined = self._before_start(380)
        return _Draft(
            joined, roles=[(joined, "member")], moves=[(joined + self._random.randrange(DAY_MS), group.group_id)]
        )

    def _owners(self, drafts: list[_Draft]) -> None:
        """Two from the beginning; the third was a member, becomes an owner, and later gives up the seat."""
        for draft, role in zip(drafts, ("owner", "free-owner"), strict=False):
            draft.roles = [(draft.joined_ms, role)]
        for draft in drafts[2:3]:
            span = self._end_ms - self._start_ms
            promoted, unpaid = self._start_ms + span * 2 // 5, self._start_ms + span * 7 // 10
            draft.roles = [(draft.joined_ms, "member"), (promoted, "owner"), (unpaid, "free-owner")]

    def _other_group(self, groups: list[Group], now_in: str | None, at_ms: int) -> str:
        """A group that exists from `at_ms` on and is not the one they are in (unless there is no other)."""
        lasting = [group for group in groups if group.created_ms < at_ms and group.deleted_ms is None]
        others = [group.group_id for group in lasting if group.group_id != now_in]
        return self._random.choice(others or [group.group_id for group in lasting])

    def _move(self, draft: _Draft, groups: list[Group]) -> None:
        at = self._moment()
        if self._random.random() < 0.3:  # by API: through Unassigned
            draft.moves.append((at, None))
            at += 1000 + self._random.randrange(5 * 60_000)
        draft.moves.append((at, self._other_group(groups, draft.moves[0][1], at)))

    def _double_move(self, draft: _Draft, groups: list[Group]) -> None:
        first = self._moment(0.2, 0.8)
        second = first + 2 * HOUR_MS + self._random.randrange(30 * HOUR_MS)
        middle = self._other_group(groups, draft.moves[0][1], first)
        draft.moves += [(first, middle), (second, None)]
        draft.moves.append((second + 180_000, self._other_group(groups, middle, second)))

    def _leave_and_rejoin_group(self, draft: _Draft) -> None:
        left = self._moment(0.2, 0.7)
        draft.moves += [(left, None), (left + self._random.randrange(2 * HOUR_MS, 9 * DAY_MS), draft.moves[0][1])]

    def _found_new_group(self, draft: _Draft, groups: list[Group]) -> None:
        """Joins the group that is created on the way, where there is one."""
        young = next((group for group in groups if group.created_ms > self._start_ms), None)
        if young is not None:
            draft.moves.append((young.created_ms + self._random.randrange(HOUR_MS, 3 * DAY_MS), young.group_id))

    def _reinvite(self, draft: _Draft) -> None:
        draft.removed_ms = self._moment(0.2, 0.5)
        draft.returns_ms = draft.removed_ms + self._random.randrange(10 * DAY_MS, 25 * DAY_MS)

    def _join_late(self, draft: _Draft, groups: list[Group]) -> None:
        joined = self._moment()
        assigned = joined if self._random.random() < 0.4 else joined + self._random.randrange(HOUR_MS, 3 * DAY_MS)
        draft.joined_ms, draft.roles = joined, [(joined, "member")]
        draft.moves = [(assigned, self._other_group(groups, None, joined))]

    def _survive_deletion(self, drafts: list[_Draft], deleted: Group, groups: list[Group]) -> None:
        """Members of the deleted group fall to Unassigned; most are placed elsewhere within days."""
        assert deleted.deleted_ms is not None
        if self._people >= 8 and all(
            draft.moves[-1:] != [(at, deleted.group_id)] for draft in drafts for at, _ in draft.moves[-1:]
        ):
            quiet = [
                draft
                for draft in drafts[3:]
                if len(draft.moves) == 1 and draft.removed_ms is None and draft.joined_ms < self._start_ms
            ]
            for draft in quiet[:2]:
                draft.moves = [(draft.moves[0][0], deleted.group_id)]
        for draft in drafts:
            kept = []
            for index, (at, group_id) in enumerate(draft.moves):
                until = draft.moves[index + 1][0] if index + 1 < len(draft.moves) else None
                if group_id == deleted.group_id and at >= deleted.deleted_ms:
                    group_id = self._other_group(groups, deleted.group_id, at)  # there is nothing left to join
                kept.append((at, group_id))
                if group_id == deleted.group_id and (until is None or until > deleted.deleted_ms):
                    kept.append((deleted.deleted_ms, None))
                    if until is None and self._random.random() < 0.7:
                        later = deleted.deleted_ms + self._random.randrange(HOUR_MS, 4 * DAY_MS)
                        kept.append((later, self._other_group(groups, None, later)))
            draft.moves = kept

    def _person(self, index: int, draft: _Draft) -> Person:
        rng = self._random
        first = FIRST_NAMES[index % len(FIRST_NAMES)]
        last = LAST_NAMES[(index * 7 + index // len(FIRST_NAMES)) % len(LAST_NAMES)]
        number = self._names.get((first, last), 0)
        self._names[first, last] = number + 1
        local = f"{first}.{last}" + (str(number + 1) if number else "")
        email = f"{local}@example.com" if rng.random() < 0.15 else f"{local.lower()}@example.com"
        blanked = None
        if self._behaviour.blank_leavers and draft.removed_ms is not None and index % 2 == 0:
            blanked = draft.removed_ms + 36 * HOUR_MS
        spans = [(draft.joined_ms, draft.removed_ms, tuple(draft.roles), blanked)]
        if draft.returns_ms is not None:
            spans[0] = (draft.joined_ms, draft.removed_ms, tuple(draft.roles), None)
            spans.append((draft.returns_ms, None, ((draft.returns_ms, "member"),), None))
        accounts = tuple(
            Account(
                f"user_{self._token(12)}",
                700_000 + index * 2 + order,
                f"{first} {last}",
                email,
                joined,
                removed,
                roles,
                blank,
            )
            for order, (joined, removed, roles, blank) in enumerate(spans)
        )
        weight = 0.05 if index == 1 else min(12.0, max(0.03, rng.lognormvariate(-0.6, 1.1)))
        if not draft.moves:
            weight = min(weight, 0.6)
        repositories = tuple(f"acme/{name}" for name in rng.sample(REPOSITORIES, k=1 + rng.randrange(3)))
        starts = rng.choice((6, 7, 8, 13, 14))
        return Person(index, f"{first} {last}", email.lower(), weight, starts, repositories, accounts)

    def _stints(self, draft: _Draft, accounts: tuple[Account, ...]) -> list[Stint]:
        stints = []
        for index, (at, group_id) in enumerate(draft.moves):
            until = draft.moves[index + 1][0] if index + 1 < len(draft.moves) else None
            if draft.removed_ms is not None:
                if at >= draft.removed_ms:
                    break
                until = draft.removed_ms if until is None else min(until, draft.removed_ms)
            if group_id is not None and (until is None or until > at):
                stints.append(Stint(group_id, accounts[0].user_id, at, until))
        if draft.returns_ms is not None and stints:
            back = draft.returns_ms + self._random.randrange(HOUR_MS)
            before = stints[-1].group_id
            group_id = before if before in self._lasting else min(self._lasting)
            stints.append(Stint(group_id, accounts[1].user_id, back, None))
        return stints

    def _invent_service_accounts(self, groups: list[Group], persons: list[Person]) -> tuple[ServiceAccount, ...]:
        """Four: with e-mail, without, with its creator's e-mail, and one that nobody mapped."""
        lasting = [group.group_id for group in groups if group.deleted_ms is None and group.created_ms < self._start_ms]
        creator = persons[0].email
        before, midway = self._start_ms - 100 * DAY_MS, self._moment(0.3, 0.5)
        valid = self._start - timedelta(days=60)
        moved = self._start + timedelta(days=(self._end_ms - self._start_ms) // DAY_MS // 2)
        drawn = (
            (
                "nightly-ci",
                "ci-runner@example.com",
                "regression runs",
                before,
                None,
                14,
                ((valid, lasting[0]), (moved, lasting[-1])),
            ),
            ("review-bot", None, "pull request reviews", before, None, 22, ((valid, lasting[1 % len(lasting)]),)),
            ("doc-writer", creator, "documentation updates", before, None, 6, ((valid, lasting[2 % len(lasting)]),)),
            ("release-notes", None, "release notes", midway, None, 4, ()),
        )
        return tuple(
            ServiceAccount(
                f"sa_{self._token(6).lower()}", name, email, creator, purpose, created, archived, per_day, mappings
            )
            for name, email, purpose, created, archived, per_day, mappings in drawn
        )
