"""`chargeback doctor --probe`: what it finds follows the API it asks, and its file names nobody."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pytest
from doctor_findings import EMAIL
from nights import Installation, Outcome, instant

from pipelines.cursor_admin.settings import ALLOWED_READS
from pipelines.runs import run_lock
from pipelines.simulator import Behaviour, Fault, Organisation, SimulatorServer

NIGHT = datetime(2026, 11, 16, 2, tzinfo=UTC)
START = date(2026, 10, 5)  # a whole closed cycle
SHAPE: dict[str, Any] = {
    "seed": 11, "people": 9, "start": START, "end": date(2026, 11, 20), "events_per_person_day": 4.0, "groups": 4
}  # fmt: skip


def company_with(**behaviour: Any) -> Organisation:
    """The same people and events every time, whatever the API shows of them."""
    return Organisation.invent(**SHAPE, behaviour=Behaviour(restated_share=0.4, **behaviour))


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A warehouse with a night two weeks ago and one now, and what the second one published."""
    organisation = company_with()
    first = datetime(2026, 11, 5, 2, tzinfo=UTC)
    with SimulatorServer(organisation, now=first, rate_limited=False) as server:
        place = Installation(tmp_path_factory.mktemp("probe") / "data", server.base_url, server.api_key, START)
        organisation.write_seeds(place.paths.seeds_dir)
        assert place.command("load", "--now", instant(first)) == Outcome(0, "", "")
        server.set_now(NIGHT)
        assert place.command("run", "--now", instant(NIGHT)) == Outcome(0, "", "")
        yield place


def probe(night: Installation, folder: Path, organisation: Organisation, faults: list[Fault] | None = None) -> str:
    """The findings file of a probe of that API beside what `night` stored; it names nobody and shows no key.

    It is asked within the documented limits: the client keeps to them, and the server would say when it did not.
    """
    place = night.copy_to(folder)
    place.more = {"SOURCES__CURSOR_ADMIN__RATE_LIMIT_PER_MINUTE": ""}
    with SimulatorServer(organisation, now=NIGHT, rate_limited=True) as server:
        server.faults = faults or []
        place.base_url, place.api_key = server.base_url, server.api_key
        outcome = place.command("doctor", "--probe")
        assert server.throttled_count == 0
        allowed = {(read.method, re.sub(r"\{\w+}", "[^/]+", read.path)) for read in ALLOWED_READS}
        for request in server.requests:
            assert any(request.method == method and re.fullmatch(path, request.path) for method, path in allowed)
    (file,) = folder.glob("probe-findings-*.md")
    assert f"the findings are in {file}" in outcome.stdout
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    text = file.read_text()
    for shown in (text, outcome.stdout, outcome.stderr):
        assert EMAIL.findall(shown) == []
        assert place.api_key not in shown
        for account in organisation.roster.accounts.values():
            assert account.user_id not in shown
            assert account.name not in shown
    return text


def answer(text: str, question: str) -> str:
    """What stands below a question: the answer and its evidence, or why there is none."""
    found = re.search(rf"^### \d+\. {re.escape(question)}\n\n(.+?)\n(?=\n#|\Z)", text, flags=re.M | re.S)
    assert found is not None, question
    return found[1]


RETENTION = "How far back do events go?"
BASIS = "Which usage is in a group's `spendCents`?"
TOTAL = "Are the groups and Unassigned together the whole team?"


def test_the_usual_tenant_is_described_as_the_simulator_is_made(night: Installation, tmp_path: Path) -> None:
    organisation = company_with()
    text = probe(night, tmp_path / "data", organisation)
    assert answer(text, RETENTION).startswith("Events go back 42 days; whether the API keeps no more")
    assert "Asked without dates, it answers for 30 days." in answer(text, RETENTION)
    assert answer(text, BASIS).startswith("All usage: on demand and included.")
    assert answer(text, TOTAL).startswith("Groups and Unassigned together are the team")
    assert answer(text, "How far back does `billingCycle` go?").startswith("12 of the 12 cycles before this one")
    assert answer(text, "Who is listed in `formerMembers`?").startswith("Those who left in that cycle")
    assert answer(text, "Does Unassigned list its members?").startswith("It counts members and lists none.")
    assert answer(text, "How many days does `dailySpend` hold?").startswith("2 days; per member in the detail alone.")
    assert answer(text, "Is `directoryGroupId` an id of `/teams/directory-groups`?").startswith("Yes: every linked id")
    assert answer(text, "Which headers tell of limits?").startswith("None was seen.")
    roles = answer(text, "Which roles are in the roster?")
    members = organisation.roster.accounts.values()
    joined = [one for one in members if one.joined_ms <= NIGHT.timestamp() * 1000]
    assert f"Evidence: {len(joined)} members;" in roles
    assert sum(map(int, re.findall(r": (\d+)", roles.split("\n")[0]))) == len(joined)
    assert text.count("provokes a 400") == 2


def test_the_length_of_restatement_is_what_the_ledger_saw(night: Installation, tmp_path: Path) -> None:
    reads = night.query(
        "select usage_date, read_at, digest from raw.load_windows order by read_number", night.paths.warehouse
    )
    changes: dict[date, list[tuple[int, int]]] = {}
    for day, read_at, digest in reads:
        end = datetime.combine(day + timedelta(days=1), time.min)
        for other, earlier_at, earlier in reads:
            if other == day and end <= earlier_at < read_at:
                hours = [round((moment - end).total_seconds() / 3600) for moment in (earlier_at, read_at)]
                changes.setdefault(day, []).extend([(hours[0], hours[1])] if digest != earlier else [])
    changed = [pair for pairs in changes.values() for pair in pairs]
    assert 1 <= len(changed) < len(changes)
    wanted = (
        f"{len(changed)} of {len(changes)} days changed after their end; the last change came "
        f"{max(first for first, _ in changed)} to {max(last for _, last in changed)} hours after it."
    )
    text = probe(night, tmp_path / "data", company_with())
    assert answer(text, "How long are prices restated?").startswith(wanted)


def test_kinds_and_duplicates_are_counted_as_the_warehouse_holds_them(night: Installation, tmp_path: Path) -> None:
    text = probe(night, tmp_path / "data", company_with())
    current = """
        select stored.* from raw.usage_events as stored inner join (
            select usage_date, arg_max(batch_id, read_number) as batch_id from raw.load_windows group by usage_date
        ) as newest on stored.batch_id = newest.batch_id
        where stored.usage_date >= (select max(usage_date) from raw.load_windows where row_count > 0) - 30
    """
    kinds = night.query(f"select kind, count(*) from ({current}) group by kind", night.paths.warehouse)
    shown = answer(text, "Which kinds of events are there?").split("\n")[0]
    assert {tuple(one.rsplit(": ", 1)) for one in shown.rstrip(".").split(", ") if ": " in one} >= {
        (kind, str(count)) for kind, count in kinds if "," not in kind
    }
    columns = "occurred_at, user_email, service_account_id, conversation_id, model, kind, charged_cents, input_tokens"
    ((repeats, groups),) = night.query(
        f"select coalesce(sum(n - 1), 0), count(*) from "
        f"(select count(*) as n from ({current}) group by {columns}) where n > 1",
        night.paths.warehouse,
    )
    assert repeats > 0  # the simulator makes twins
    wanted = f"{repeats} events are repeats of {groups} others, equal in every field."
    assert answer(text, "Are there true duplicates?").startswith(wanted)


def test_retention_is_told_from_a_young_team_by_what_the_warehouse_still_holds(
    night: Installation, tmp_path: Path
) -> None:
    text = probe(night, tmp_path / "data", company_with(event_retention_days=20))
    assert answer(text, RETENTION).startswith("Events go back about 20 days: the warehouse holds events 42 days old")


def test_a_spend_on_demand_is_told_from_one_of_all_usage(night: Installation, tmp_path: Path) -> None:
    text = probe(night, tmp_path / "data", company_with(spend_basis="on_demand"))
    assert answer(text, BASIS).startswith("On-demand usage alone.")
    assert answer(text, TOTAL).startswith("Not to be told")


def test_lists_that_hold_more_are_seen(night: Installation, tmp_path: Path) -> None:
    organisation = company_with(unassigned_lists_members=True, wide_former_members=True, daily_spend_in_list=True)
    text = probe(night, tmp_path / "data", organisation)
    assert answer(text, "Does Unassigned list its members?").startswith("It lists its members.")
    assert answer(text, "Who is listed in `formerMembers`?").startswith("Everybody who ever left")
    assert "per member in the list too" in answer(text, "How many days does `dailySpend` hold?")


def test_refused_groups_leave_the_other_questions_their_answers(night: Installation, tmp_path: Path) -> None:
    text = probe(night, tmp_path / "data", company_with(plan="teams"))
    for question in ("How far back does `billingCycle` go?", "Does Unassigned list its members?"):
        assert answer(text, question).startswith(
            "Not answered: billing groups gave no answer (/teams/groups answered 403"
        )
    assert answer(text, RETENTION).startswith("Events go back 42 days")
    assert "no closed cycle was read" in answer(text, BASIS)


def test_one_route_that_fails_costs_its_own_question_alone(night: Installation, tmp_path: Path) -> None:
    refused = [Fault("/teams/directory-groups", "403", times=None)]
    text = probe(night, tmp_path / "data", company_with(), refused)
    found = answer(text, "Is `directoryGroupId` an id of `/teams/directory-groups`?")
    assert found.startswith("The route is refused.")
    assert answer(text, RETENTION).startswith("Events go back 42 days")


def test_headers_of_limits_are_told_when_an_answer_bore_one(night: Installation, tmp_path: Path) -> None:
    throttled = [Fault("/v1/me", "429", retry_after="1"), Fault("/teams/members", "429", after=1, retry_after="0")]
    text = probe(night, tmp_path / "data", company_with(), throttled)
    found = answer(text, "Which headers tell of limits?")
    assert found.startswith("retry-after.")
    assert "1 answered with 429" in found


def test_without_a_warehouse_a_week_of_pages_is_counted(night: Installation, tmp_path: Path) -> None:
    empty = Installation(tmp_path / "empty", night.base_url, night.api_key, START)
    empty.folder.mkdir(mode=0o700)
    organisation = company_with(unknown_kind_share=0.2)
    text = probe(empty, tmp_path / "data", organisation)
    kinds = answer(text, "Which kinds of events are there?")
    assert "events of 2026-11-09 to 2026-11-15, read for this" in kinds
    assert len(re.findall(r": \d+", kinds.split("\n")[0])) > 3
    assert "there is no published file yet" in answer(text, BASIS)
    assert answer(text, "How long are prices restated?").startswith("Not answered: there is no warehouse")


def test_during_a_run_the_warehouse_is_left_alone(night: Installation, tmp_path: Path) -> None:
    busy = night.copy_to(tmp_path / "busy")
    with run_lock(busy.paths, "run"):
        text = probe(busy, tmp_path / "data", company_with())
    assert "read for this" in answer(text, "Which kinds of events are there?")


def test_a_findings_file_that_others_could_read_is_replaced_by_a_private_one(
    night: Installation, tmp_path: Path
) -> None:
    place = night.copy_to(tmp_path / "before")
    file = place.folder / f"probe-findings-{datetime.now(UTC).date()}.md"
    file.write_text("ada@example.com")
    file.chmod(0o644)
    probe(place, tmp_path / "data", company_with())
    assert os.access(file, os.R_OK)  # of the copy alone was the file replaced


def test_a_damaged_file_ends_a_probe_without_a_traceback(night: Installation, tmp_path: Path) -> None:
    place = night.copy_to(tmp_path / "damaged")
    place.paths.published.chmod(0o600)
    place.paths.published.write_bytes(b"no database" * 2000)
    with SimulatorServer(company_with(), now=NIGHT) as server:
        place.base_url = server.base_url
        outcome = place.command("doctor", "--probe")
    assert (outcome.exit_code, outcome.stderr) == (1, "")
    assert "default: not to its end" in outcome.stdout
    assert list(place.folder.glob("probe-findings-*")) == []
