"""The shrink guards: an answer that lost its people, or a final day its events, is a glitch until repeated."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date

import pyarrow as pa

from pipelines.cursor_admin.windows import WindowRead
from pipelines.ledger import DayState

WHOLE_ANSWER = ""
FEWER_AT_LEAST = 6


@dataclass(frozen=True)
class Roster:
    """Who an answer of one route shows. Keys of `current` are group ids (`WHOLE_ANSWER` for the members route).

    `accounted`: (group, user) that the answer itself explains: former members with `leftAt`, removed people.
    `elsewhere`: users who are current in any group, the reserved one among them.
    """

    current: Mapping[str, frozenset[str]]
    accounted: frozenset[tuple[str, str]] = frozenset()
    elsewhere: frozenset[str] = frozenset()

    @property
    def member_count(self) -> int:
        return len(_people(self.current))


@dataclass(frozen=True)
class Verdict:
    """`reason` is None when the answer is accepted.

    `digest` stands for who is missing: the same content, as far as the refusal goes, while everybody else may move on.
    """

    reason: str | None = None
    digest: str | None = None


def group_roster(groups: pa.Table, entries: pa.Table) -> Roster:
    """The roster of an answer of GET /teams/groups. The reserved group is nobody's group: it has no members here."""
    current: dict[str, set[str]] = {
        row["billing_group_id"]: set() for row in groups.to_pylist() if not row["is_unassigned"]
    }
    accounted: set[tuple[str, str]] = set()
    elsewhere: set[str] = set()
    for row in entries.to_pylist():
        if row["is_current"]:
            elsewhere.add(row["user_id"])
            if not row["is_unassigned"]:
                current[row["billing_group_id"]].add(row["user_id"])
        elif row["left_at"] is not None:
            accounted.add((row["billing_group_id"], row["user_id"]))
    return Roster(
        {group: frozenset(users) for group, users in current.items()}, frozenset(accounted), frozenset(elsewhere)
    )


def member_roster(members: pa.Table) -> Roster:
    """The roster of an answer of GET /teams/members: people who are not removed, by e-mail."""
    rows = members.to_pylist()
    people = frozenset((row["user_email"] or "").strip().lower() for row in rows if not row["is_removed"])
    removed = frozenset((row["user_email"] or "").strip().lower() for row in rows if row["is_removed"])
    return Roster({WHOLE_ANSWER: people}, frozenset((WHOLE_ANSWER, person) for person in removed), people)


def judge(answer: Roster, last: Roster | None) -> Verdict:
    """Compare an answer with the last accepted one; the very first may be empty.

    Refused: no current members where there were some, or fewer than half and at least six fewer, of the whole answer or
    of one group. Whom the answer explains is not missing, and a group that is absent was deleted, not emptied.
    """
    if last is None:
        return Verdict()
    reasons: list[str] = []
    missing: set[tuple[str, str]] = set()
    still_there = {group: users for group, users in last.current.items() if group in answer.current}
    before = _people(still_there)
    people = _people(answer.current)
    explained = {user for _, user in answer.accounted} | answer.elsewhere
    lost = before - people - explained
    if not people and not _people(last.current) <= explained:
        reasons.append(f"no current members, {last.member_count} before")
        missing |= {(WHOLE_ANSWER, user) for user in _people(last.current) - explained}
    elif _shrank(len(before), len(people | (before & explained))):
        reasons.append(f"{len(people)} current members, {len(before)} before")
        missing |= {(WHOLE_ANSWER, user) for user in lost}
    for group, users in sorted(still_there.items()):
        if group == WHOLE_ANSWER:
            continue
        there = answer.current[group]
        gone = {user for user in users - there if (group, user) in answer.accounted or user in answer.elsewhere}
        if _shrank(len(users), len(there) + len(gone)):
            reasons.append(f"group {group}: {len(there)} current members, {len(users)} before")
            missing |= {(group, user) for user in users - there - gone}
    if not reasons:
        return Verdict()
    lines = [f"{group}:{user}" for group, user in sorted(missing)]
    return Verdict("; ".join(reasons), hashlib.sha256("\n".join(lines).encode()).hexdigest()[:32])


def judge_day(
    read: WindowRead,
    read_on: date,
    state: DayState | None,
    *,
    accept_shrink: bool,
    is_history_served: Callable[[], bool],
) -> tuple[str, str]:
    """What becomes of a complete read of a day: its outcome, and the batch that holds its rows.

    `landed`: new content. `unchanged`: the current version, no data is written. `suspect`: a final day that answers
    nothing, or fewer than half of its rows; not current until a read on another date has the same content. Nothing at
    all is believed then only if `is_history_served`: an API that keeps no days that old answers nothing on every date.
    """
    if state is None or state.current is None:
        return "landed", read.batch_id
    current = state.current
    if (read.digest, read.row_count) == (current.digest, current.row_count):
        return "unchanged", current.batch_id
    has_shrunk = current.row_count > 0 and (read.row_count == 0 or read.row_count * 2 < current.row_count)
    if not has_shrunk or accept_shrink or not state.is_final(read.window.day):
        return "landed", read.batch_id
    same = [(on, seen) for on, seen in state.suspects if (seen.digest, seen.row_count) == (read.digest, read.row_count)]
    agreed = any(on != read_on for on, _ in same) and (read.row_count > 0 or is_history_served())
    return "landed" if agreed else "suspect", same[-1][1].batch_id if same else read.batch_id


def nearest_earlier_day(days: Mapping[date, DayState], day: date) -> date | None:
    """The last day before `day` whose current version has rows: if the API serves that one, it serves `day` too."""
    return max(
        (one for one, state in days.items() if one < day and state.current and state.current.row_count), default=None
    )


def _people(current: Mapping[str, frozenset[str]]) -> frozenset[str]:
    return frozenset(user for users in current.values() for user in users)


def _shrank(before: int, now: int) -> bool:
    return before > 0 and (now == 0 or (now * 2 < before and before - now >= FEWER_AT_LEAST))
