"""A first night with every optional route of the simulator, killed on its way, run again, and run once more."""

from __future__ import annotations

import signal
import time
from datetime import UTC, date, datetime
from pathlib import Path

from nights import Installation, Outcome, instant

from pipelines.landing import BATCH_COLUMNS
from pipelines.simulator import Behaviour, Fault, Organisation, SimulatorServer
from pipelines.streams import STREAM_TABLES

NOW = datetime(2026, 11, 16, 2, tzinfo=UTC)
START = date(2026, 11, 8)
LEDGER = """
    select team, resource, outcome, snapshot_id as batch, row_count, read_number from raw.snapshot_reads
    union all
    select team, resource, outcome, batch_id, row_count, read_number from raw.stream_reads
"""
SNAPSHOT_TABLES = {
    "members": ["members"],
    "billing_groups": ["billing_groups", "billing_group_members"],
    "member_spend": ["member_spend"],
    "billing_group_details": ["billing_group_daily_spend"],
    "directory_groups": ["directory_groups", "directory_group_members"],
    "repository_blocklists": ["repository_blocklists"],
    "pooled_usage": ["pooled_usage"],
}
TABLES = SNAPSHOT_TABLES | {resource: [table] for resource, table in STREAM_TABLES.items()}


def stored_rows(here: Installation) -> dict[str, int]:
    return {
        table: here.query(f"select count(*) from raw.{table}", here.paths.warehouse)[0][0] for table in BATCH_COLUMNS
    }


def contradictions(here: Installation) -> list[tuple[str, int, int]]:
    """Accepted reads whose batch does not hold exactly the rows that the ledger says."""
    found = []
    for _, resource, outcome, batch, row_count, _ in here.query(LEDGER, here.paths.warehouse):
        assert outcome in ("landed", "unchanged"), (resource, outcome)
        held = sum(
            here.query(
                f"select count(*) from raw.{table} where {BATCH_COLUMNS[table]} = '{batch}'", here.paths.warehouse
            )[0][0]
            for table in TABLES[resource]
        )
        if held != row_count:
            found.append((resource, row_count, held))
    return found


def test_a_killed_night_is_continued_and_the_same_night_once_more_stores_no_snapshot(tmp_path: Path) -> None:
    organisation = Organisation.invent(
        seed=31, people=6, groups=3, start=START, end=date(2026, 11, 20), events_per_person_day=1.0,
        behaviour=Behaviour(shuffled_csv_columns=True, numeric_member_ids=True),
    )  # fmt: skip
    with SimulatorServer(organisation, now=NOW, rate_limited=False) as server:
        here = Installation(tmp_path / "data", server.base_url, server.api_key, START)
        here.more |= {
            "SOURCES__CURSOR_ADMIN__ORGANIZATION_API_KEY": organisation.organization_key,
            "SOURCES__CURSOR_ADMIN__ORGANIZATION_ID": organisation.organization_id,
        }
        server.faults.append(Fault("/teams/directory-groups", "stall", times=1, seconds=60))
        run = here.start("load", "--now", instant(NOW))
        deadline = time.monotonic() + 60
        while not any(one.fault == "stall" for one in server.requests) and time.monotonic() < deadline:
            time.sleep(0.01)
        run.send_signal(signal.SIGKILL)
        assert run.wait() == -signal.SIGKILL
        server.faults.clear()

        assert here.command("load", "--now", instant(NOW)) == Outcome(0, "", "")
        assert contradictions(here) == []
        read = {resource for _, resource, *_ in here.query(LEDGER, here.paths.warehouse)}
        assert read == TABLES.keys()
        once = stored_rows(here)
        assert all(once[table] for table in BATCH_COLUMNS if not table.startswith("closed_")), once
        expected = len(organisation.roster.accounts)
        assert 0 < once["member_spend"] <= expected

        assert here.command("load", "--now", instant(NOW)) == Outcome(0, "", "")
        twice = stored_rows(here)
        assert contradictions(here) == []
        snapshots = [table for tables in SNAPSHOT_TABLES.values() for table in tables]
        assert {table: twice[table] for table in snapshots} == {table: once[table] for table in snapshots}
        newest = f"select resource, arg_max(outcome, read_number) from ({LEDGER}) group by resource"
        outcomes = dict(here.query(newest, here.paths.warehouse))
        assert {outcomes[resource] for resource in SNAPSHOT_TABLES} == {"unchanged"}
