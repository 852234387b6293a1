"""AI code tracking: commits with their AI share, and accepted changes. Times are near real time, paging is flat."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from random import Random
from typing import Any

from pipelines.simulator.answers import Answer, Ask, RefusalError, json_answer, page_of
from pipelines.simulator.instants import DAY_MS, HOUR_MS, day_of, days_between, iso, parse_moment, to_ms
from pipelines.simulator.organisation import Organisation
from pipelines.simulator.people import Person
from pipelines.simulator.words import words

COMMIT_COLUMNS = words("""
    commit_hash commit_source user_id user_email repo_name branch_name is_primary_branch total_lines_added
    total_lines_deleted tab_lines_added tab_lines_deleted composer_lines_added composer_lines_deleted
    non_ai_lines_added non_ai_lines_deleted message commit_ts created_at
""")
CHANGE_COLUMNS = words("""
    change_id user_id user_email source model total_lines_added total_lines_deleted created_at metadata_json
""")
_MESSAGES = (
    "fix rounding",
    'say "no", then explain',
    "parser:\nhandle empty lines",
    "tests, docs and types",
    "bump",
    None,
)
_Row = dict[str, Any]


def commits(ask: Ask) -> Answer:
    """GET /analytics/ai-code/commits."""
    return _paged(ask, _select(ask, _commits_of))


def commits_csv(ask: Ask) -> Answer:
    """GET /analytics/ai-code/commits.csv: the same rows, snake_case columns, in an order not to be relied on."""
    columns = list(COMMIT_COLUMNS)
    if ask.organisation.behaviour.shuffled_csv_columns:
        Random(ask.clock.now_ms).shuffle(columns)
    return _csv(columns, _select(ask, _commits_of))


def changes(ask: Ask) -> Answer:
    """GET /analytics/ai-code/changes."""
    return _paged(ask, _select(ask, _changes_of))


def changes_csv(ask: Ask) -> Answer:
    """GET /analytics/ai-code/changes.csv; `metadata_json` is JSON in a cell."""
    rows = [{**row, "metadataJson": json.dumps(row["metadata"])} for row in _select(ask, _changes_of)]
    return _csv(list(CHANGE_COLUMNS), rows)


def commit_details(ask: Ask) -> Answer:
    """GET /analytics/ai-code/commits/:hash[,hash]: which lines came from which conversation."""
    wanted = [value for value in ask.path_values[0].split(",") if value]
    if len(wanted) > 100:
        raise RefusalError(400, "At most 100 commit hashes")
    organisation, details, conversations = ask.organisation, [], []
    for digest in wanted:
        rng = Random(f"{organisation.seed}/blame/{digest}")
        day = organisation.start.toordinal() + rng.randrange(max(1, (organisation.end - organisation.start).days))
        events = organisation.visible_events(type(organisation.start).fromordinal(day), ask.clock)
        linked = [event for event in events if event.conversation_id is not None]
        if not linked:
            continue
        event = rng.choice(linked)
        first = 1 + rng.randrange(200)
        group = {
            "conversationId": event.conversation_id,
            "model": event.model,
            "operationType": "edit",
            "ranges": [{"start": first, "end": first + rng.randrange(40)}],
        }
        ranges = [{"filePath": "src/main.py", "groups": [group]}]
        details.append({"commitHash": digest, "commitSource": "ide", "rangeAnnotations": ranges})
        about = {"title": "Refactor", "tldr": "Refactor", "overview": "Moved code", "summaryBullets": ["moved code"]}
        conversations.append({"id": event.conversation_id, **about})
    return json_answer({"commits": details, "conversations": conversations})


def _select(ask: Ask, rows_of: Callable[[Organisation, Person, int], list[_Row]]) -> list[_Row]:
    """Rows of the window by `createdAt`, newest first, of everybody or of one user."""
    now_ms = ask.clock.now_ms
    try:
        first_ms = parse_moment(ask.query.get("startDate", "7d"), now_ms)
        last_ms = min(parse_moment(ask.query.get("endDate", "now"), now_ms), now_ms)
    except ValueError:
        raise RefusalError(400, "Invalid startDate or endDate") from None
    user = ask.query.get("user", "").lower()
    organisation, rows = ask.organisation, []
    for day in days_between(
        max(day_of(first_ms - 2 * DAY_MS), organisation.start), min(day_of(last_ms), organisation.end)
    ):
        for person in organisation.roster.persons:
            accounts = [(a.user_id.lower(), str(a.numeric_id)) for a in person.accounts]
            if not user or user == person.email or any(user in ids for ids in accounts):
                rows += [row for row in rows_of(organisation, person, to_ms(day)) if first_ms <= row["_at"] <= last_ms]
    rows.sort(key=lambda row: row["_at"], reverse=True)
    return [{name: value for name, value in row.items() if name != "_at"} for row in rows]


def _commits_of(organisation: Organisation, person: Person, day_ms: int) -> list[_Row]:
    day = day_of(day_ms)
    account = next((account for account in person.accounts if account.is_on_team(day_ms)), None)
    rng = Random(f"{organisation.seed}/commits/{person.index}/{day.isoformat()}")
    if account is None or rng.random() > 0.7 * organisation.usage.day_factor(day):
        return []
    rows = []
    for _ in range(1 + rng.randrange(4)):
        at = day_ms + person.day_starts_hour * HOUR_MS + rng.randrange(9 * HOUR_MS)
        total, deleted = rng.randrange(1, 240), rng.randrange(60)
        tab = rng.randrange(total + 1) // 3
        composer = rng.randrange(total - tab + 1)
        is_primary = rng.choice((True, False, False, None))
        row = {
            "commitHash": f"{rng.getrandbits(160):040x}",
            "userId": account.user_id,
            "userEmail": account.email,
            "repoName": rng.choice((*person.repositories, *person.repositories, None)),
            "branchName": "main" if is_primary else f"feat/{rng.randrange(999)}",
            "isPrimaryBranch": is_primary,
            "commitSource": rng.choice(("ide", "ide", "cli", "cloud")),
            "totalLinesAdded": total,
            "totalLinesDeleted": deleted,
            "tabLinesAdded": tab,
            "tabLinesDeleted": deleted // 5,
            "composerLinesAdded": composer,
            "composerLinesDeleted": deleted // 2,
            "nonAiLinesAdded": max(0, total - tab - composer),
            "nonAiLinesDeleted": max(0, deleted - deleted // 5 - deleted // 2),
            "message": rng.choice(_MESSAGES),
            "commitTs": iso(at),
            "createdAt": iso(at + 21_000),
            "_at": at + 21_000,
        }
        rows.append(row)
        if organisation.behaviour.amended_commits and rng.random() < 0.06:
            seen_again = at + rng.randrange(HOUR_MS, 30 * HOUR_MS)
            rows.append({**row, "createdAt": iso(seen_again), "_at": seen_again})
    return rows


def _changes_of(organisation: Organisation, person: Person, day_ms: int) -> list[_Row]:
    rows = []
    for commit in _commits_of(organisation, person, day_ms):
        for source, added in (("TAB", commit["tabLinesAdded"]), ("COMPOSER", commit["composerLinesAdded"])):
            if added:
                at = commit["_at"] - 600_000
                name = "src/main.py"
                rows.append(
                    {
                        "changeId": str(int(commit["commitHash"][:8], 16) * 2 + (source == "TAB")),
                        "userId": commit["userId"],
                        "userEmail": commit["userEmail"],
                        "source": source,
                        "model": None if source == "TAB" else "claude-4.5-sonnet",
                        "totalLinesAdded": added,
                        "totalLinesDeleted": added // 4,
                        "createdAt": iso(at),
                        "metadata": [
                            {"fileName": name, "fileExtension": "py", "linesAdded": added, "linesDeleted": added // 4}
                        ],
                        "_at": at,
                    }
                )
    return rows


def _paged(ask: Ask, rows: list[_Row]) -> Answer:
    page, size = ask.number("page", 1, 1, 1_000_000), ask.number("pageSize", 100, 1, 1000)
    return json_answer({"items": page_of(rows, page, size), "totalCount": len(rows), "page": page, "pageSize": size})


def _csv(columns: list[str], rows: list[_Row]) -> Answer:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    names = [_camel(column) for column in columns]
    for row in rows:
        writer.writerow([_cell(row[name]) for name in names])
    return Answer(200, text.getvalue().encode(), "text/csv; charset=utf-8")


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def _camel(column: str) -> str:
    first, *rest = column.split("_")
    return first + "".join(word.capitalize() for word in rest)
