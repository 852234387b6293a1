"""The shrink guard: a glitch is refused, a real departure is not."""

from __future__ import annotations

import pytest

from pipelines.guard import WHOLE_ANSWER, Roster, judge


def roster(**groups: int | list[str]) -> Roster:
    current = {
        name: frozenset(f"{name}-{n}" for n in range(people)) if isinstance(people, int) else frozenset(people)
        for name, people in groups.items()
    }
    return Roster(current, elsewhere=frozenset(user for users in current.values() for user in users))


def members(count: int, removed: int = 0) -> Roster:
    people = frozenset(f"p{n}" for n in range(count))
    gone = frozenset((WHOLE_ANSWER, f"p{n}") for n in range(count, count + removed))
    return Roster({WHOLE_ANSWER: people}, gone, people)


def test_the_very_first_answer_may_be_empty() -> None:
    assert judge(roster(), None).reason is None


def test_an_answer_without_anybody_is_refused_after_one_with_somebody() -> None:
    assert judge(members(0), members(1)).reason == "no current members, 1 before"
    assert judge(roster(), roster(a=3)).reason == "no current members, 3 before"


@pytest.mark.parametrize(("before", "after", "refused"), [(12, 6, False), (12, 5, True), (11, 5, True), (9, 4, False)])
def test_fewer_than_half_and_at_least_six_fewer_is_refused(before: int, after: int, refused: bool) -> None:
    assert (judge(members(after), members(before)).reason is not None) == refused


def test_people_whom_the_answer_shows_as_removed_are_not_missing() -> None:
    assert judge(members(2, removed=10), members(12)).reason is None


def test_one_emptied_group_is_refused_though_the_others_are_whole() -> None:
    verdict = judge(roster(a=20, b=0), roster(a=20, b=3))
    assert verdict.reason == "group b: 0 current members, 3 before"


def test_a_group_whose_last_member_moved_is_not_empty_by_mistake() -> None:
    assert judge(roster(a=["x", "y"], b=[]), roster(a=["x"], b=["y"])).reason is None


def test_a_group_whose_last_member_left_with_a_date_is_not_empty_by_mistake() -> None:
    answer = Roster({"a": frozenset({"x"}), "b": frozenset()}, frozenset({("b", "y")}), frozenset({"x"}))
    assert judge(answer, roster(a=["x"], b=["y"])).reason is None


def test_a_group_that_is_absent_was_deleted() -> None:
    assert judge(roster(a=3), roster(a=3, b=20)).reason is None


def test_the_same_refused_content_has_the_same_digest_whatever_the_other_groups_do() -> None:
    before = roster(a=["x", "y"], b=["z"])
    one = judge(roster(a=["x", "y"], b=[]), before)
    two = judge(roster(a=["x", "y", "w"], b=[]), before)
    assert one.digest is not None
    assert one.digest == two.digest
    assert one.digest != judge(roster(a=[], b=["z"]), before).digest
