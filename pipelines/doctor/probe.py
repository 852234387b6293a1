"""`chargeback doctor --probe`: what the API reference leaves open, answered for this tenant by reading alone.

The file that comes of it holds counts and dates, no name, address or id of anybody, and may be shown to whoever helps.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import duckdb
import pendulum

from pipelines.config import TeamSettings
from pipelines.doctor import probe_files as files
from pipelines.doctor.access import open_client
from pipelines.doctor.configuration import read_configuration
from pipelines.doctor.findings import FAILING, OK, WARNING, Finding, without_addresses
from pipelines.doctor.probe_api import ApiProbe, Cycle, Told
from pipelines.errors import ApiError, AuthError, FileError
from pipelines.paths import DataPaths
from pipelines.runs import Progress, prepare_data_folder, usable

_INTRODUCTION = """\
# What this tenant's API does, {day}

Written by `chargeback doctor --probe`, which reads and never writes. Counts and dates only: no name, address or id.
"""
_NOT_BY_READING = (
    ("How many days may one request for events span?", "Asking for too many provokes a 400; requests stay within 30."),
    ("What is the largest page of spend and of daily usage?", "Asking for too many provokes a 400; 100 and 250 do."),
    ("Do the limits count per route or together?", "Only a 429 would tell; the client stays below both."),
    ("Where does a day of `dailySpend` begin?", "It takes two reads, half an hour before and after midnight UTC."),
    ("Did the API reference change?", "It takes a look at https://cursor.com/docs/account/teams/admin-api."),
)


@dataclass(frozen=True)
class Answered:
    """One question with what came out of it; `told` is None when nothing could."""

    question: str
    told: Told | None
    reason: str = ""


def write_probe(progress: Progress) -> list[Finding]:
    """Asks every team, writes one file, and says where it lies."""
    found, _ = read_configuration()
    if not found.teams:
        return [Finding(FAILING, "probe", "nobody was asked: there is no key", "Set one, then probe again.")]
    text, findings = [_INTRODUCTION.format(day=pendulum.now("UTC").date())], []
    for team in found.teams:
        try:
            answers = list(_probe_team(team, found.paths, progress))
        except (ApiError, FileError, duckdb.Error) as error:  # a file that is damaged: the checks say which
            reason = str(error).splitlines()[0]
            findings.append(Finding(WARNING, "probe", f"{team.team}: not to its end", reason))
            continue
        told = sum(one.told is not None for one in answers)
        findings.append(Finding(OK, "probe", f"{team.team}: {told} of {len(answers)} questions have an answer"))
        text += [f"\n## Team {team.team}\n", *(_section(number, one) for number, one in enumerate(answers, start=1))]
    if len(text) > 1:
        text += ["\n## Not answerable by reading\n\n", *(f"- {question} {why}\n" for question, why in _NOT_BY_READING)]
        findings.append(_write(found.paths, without_addresses("".join(text))))
    return findings


def _section(number: int, one: Answered) -> str:
    if one.told is None:
        return f"\n### {number}. {one.question}\n\nNot answered: {one.reason}\n"
    return f"\n### {number}. {one.question}\n\n{one.told.answer}\n\nEvidence: {one.told.evidence}\n"


def _write(paths: DataPaths, text: str) -> Finding:
    path = paths.data_dir / f"probe-findings-{pendulum.now('UTC').date()}.md"
    try:
        prepare_data_folder(paths)
        with usable(path):
            path.unlink(missing_ok=True)  # a file that others can read would stay so
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
    except FileError as error:
        return Finding(FAILING, "probe", str(error))
    return Finding(OK, "probe", f"the findings are in {path}")


def _probe_team(team: TeamSettings, paths: DataPaths, progress: Progress) -> Iterator[Answered]:
    def asked(question: str, ask: Callable[[], Told | str | None], otherwise: str = "") -> Answered:
        progress.note(f"probe of {team.team}: {question}")
        try:
            told = ask()
        except AuthError as error:
            return Answered(question, None, f"the route is refused ({error.status}).")
        except (ApiError, FileError) as error:
            return Answered(question, None, f"{str(error).split('. ')[0].rstrip('.')}.")
        if told is None or isinstance(told, str):
            return Answered(question, None, f"{told or otherwise}.")
        return Answered(question, told)

    with open_client(team) as client:
        answered_at = client.members().date or datetime.now(UTC)
        api = ApiProbe(client, answered_at)
        ledgers = files.read_ledgers(paths, team.team)
        needs_warehouse = "there is no warehouse that a run does not use right now"
        yield asked("How far back do events go?", lambda: api.retention(ledgers.oldest_day))
        progress.note(f"probe of {team.team}: a year of billing cycles")
        api.read_cycles()
        no_groups = f"billing groups gave no answer ({api.refusal})"

        def with_groups(ask: Callable[[], Told]) -> Callable[[], Told | str]:
            return lambda: ask() if api.cycles else no_groups

        basis, total = _spend(paths, team.team, api.closed_cycle)
        yield asked("Which usage is in a group's `spendCents`?", lambda: basis)
        yield asked("Are the groups and Unassigned together the whole team?", lambda: total)
        yield asked("How far back does `billingCycle` go?", with_groups(api.lookback))
        yield asked("Are several stints several entries?", with_groups(api.stints))
        yield asked("Who is listed in `formerMembers`?", with_groups(api.former_members))
        yield asked("Does Unassigned list its members?", with_groups(api.unassigned))
        yield asked("How many days does `dailySpend` hold?", with_groups(api.daily_spend))
        yield asked("How long is a billing cycle?", with_groups(api.cycle_lengths))
        with files.event_sample(paths, client, team.team, api.now) as sample:
            yield asked("Which events bear no e-mail, and do those of service accounts?", sample.nameless)
            yield asked("Which kinds of events are there?", sample.kinds)
            yield asked("Are there true duplicates?", sample.duplicates)
            account_people = sample.service_account_people()
        yield asked("How long are prices restated?", lambda: ledgers.restatement, needs_warehouse)
        yield asked("Does anybody's e-mail change?", lambda: ledgers.renamed, needs_warehouse)
        yield asked("Which roles are in the roster?", lambda: api.members(account_people))
        yield asked(
            "Is `directoryGroupId` an id of `/teams/directory-groups`?",
            with_groups(lambda: api.directory_groups(ledgers.audit_directory_ids)),
        )
        yield Answered(
            "Which headers tell of limits?",
            Told(
                f"{', '.join(sorted(client.stats.limit_headers)) or 'None was seen'}.",
                f"{client.stats.request_count} requests of this probe, {client.stats.throttled} answered with 429",
            ),
        )


def _spend(paths: DataPaths, team: str, cycle: Cycle | None) -> tuple[Told | str, Told | str]:
    """What a closed cycle's spend is, and whether it is all of it; or twice the reason why that cannot be told."""
    ours = files.published_cost(paths, team, cycle) if cycle else "no closed cycle was read"
    if cycle is None or isinstance(ours, str):
        return str(ours), str(ours)
    basis = files.spend_basis(cycle, ours)
    return basis, files.team_total(cycle, ours, basis)
