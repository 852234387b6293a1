"""Hand-made warehouses for tests of the models: the raw schema as the loader writes it, and real dbt runs over it."""

from __future__ import annotations

import atexit
import functools
import gc
import hashlib
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb

PROJECT_DIR = Path(__file__).resolve().parents[1]
TEAM = "example"

RAW_TABLES: dict[str, str] = {
    "teams": "team varchar, start_date date, first_run_at timestamp",
    "usage_events": """team varchar, batch_id varchar, usage_date date, occurred_at timestamp, user_email varchar,
        service_account_id varchar, service_account_name varchar, cloud_agent_id varchar, automation_id varchar,
        conversation_id varchar, model varchar, kind varchar, is_max_mode boolean, is_token_based boolean,
        is_chargeable boolean, is_headless boolean, request_units decimal(18,6), input_tokens bigint,
        output_tokens bigint, cache_write_tokens bigint, cache_read_tokens bigint, model_cents decimal(18,6),
        discount_percent_off decimal(18,6), charged_cents decimal(18,6), token_fee_cents decimal(18,6),
        extra_json varchar""",
    "load_windows": """team varchar, resource varchar, read_id varchar, read_number bigint, usage_date date,
        batch_id varchar, outcome varchar, announced_count bigint, row_count bigint, charged_cents decimal(18,6),
        digest varchar, read_at timestamp, run_id varchar""",
    "snapshot_reads": """team varchar, resource varchar, cycle_start_at timestamp, cycle_end_at timestamp,
        is_current_cycle boolean, read_id varchar, read_number bigint, snapshot_id varchar, outcome varchar,
        row_count bigint, current_member_count bigint, digest varchar, guard_digest varchar, detail varchar,
        read_at timestamp, run_id varchar""",
    "billing_groups": """team varchar, snapshot_id varchar, billing_group_id varchar, name varchar,
        group_type varchar, directory_group_id varchar, is_unassigned boolean, member_count bigint,
        created_at timestamp, updated_at timestamp, spend_cents decimal(18,6), extra_json varchar""",
    "billing_group_members": """team varchar, snapshot_id varchar, billing_group_id varchar, is_unassigned boolean,
        user_id varchar, user_email varchar, name varchar, is_current boolean, joined_at timestamp,
        left_at timestamp, spend_cents decimal(18,6), extra_json varchar""",
    "members": """team varchar, snapshot_id varchar, user_id varchar, user_email varchar, name varchar,
        role varchar, is_removed boolean, extra_json varchar""",
    "audit_events": """team varchar, batch_id varchar, event_id varchar, occurred_at timestamp, actor varchar,
        event_type varchar, application_type varchar, event_data_json varchar, extra_json varchar""",
    "stream_reads": """team varchar, resource varchar, window_start_at timestamp, window_end_at timestamp,
        read_id varchar, read_number bigint, batch_id varchar, outcome varchar, row_count bigint, detail varchar,
        read_at timestamp, run_id varchar""",
    "member_spend": """team varchar, snapshot_id varchar, user_id varchar, user_email varchar, name varchar,
        role varchar, spend_cents decimal(18,6), overall_spend_cents decimal(18,6), fast_premium_requests bigint,
        limit_override_usd decimal(18,6), monthly_limit_usd decimal(18,6), effective_limit_usd decimal(18,6),
        billing_tier varchar, extra_json varchar""",
    "billing_group_daily_spend": """team varchar, snapshot_id varchar, billing_group_id varchar, user_id varchar,
        spend_date date, spend_cents decimal(18,6)""",
    "directory_groups": """team varchar, snapshot_id varchar, directory_group_id varchar, name varchar,
        member_count bigint, monthly_limit_usd decimal(18,6), created_at timestamp, updated_at timestamp,
        extra_json varchar""",
    "directory_group_members": """team varchar, snapshot_id varchar, directory_group_id varchar, user_id varchar,
        user_email varchar, name varchar, joined_at timestamp, extra_json varchar""",
    "repository_blocklists": """team varchar, snapshot_id varchar, repository_id varchar, url varchar,
        patterns_json varchar, extra_json varchar""",
    "pooled_usage": """team varchar, snapshot_id varchar, api_team_id varchar, is_own_team boolean,
        used_cents decimal(18,6), budget_limit_cents decimal(18,6), pool_limit_cents decimal(18,6),
        pool_used_cents decimal(18,6), pool_remaining_cents decimal(18,6), contract_start_at timestamp,
        contract_end_at timestamp, extra_json varchar""",
    "daily_usage": """team varchar, batch_id varchar, usage_date date, user_id varchar, user_email varchar,
        is_active boolean, total_lines_added bigint, total_lines_deleted bigint, accepted_lines_added bigint,
        accepted_lines_deleted bigint, apply_count bigint, accept_count bigint, reject_count bigint,
        tabs_shown_count bigint, tabs_accepted_count bigint, composer_request_count bigint,
        chat_request_count bigint, agent_request_count bigint, cmdk_usage_count bigint,
        included_request_count bigint, own_key_request_count bigint, usage_based_request_count bigint,
        bugbot_usage_count bigint, most_used_model varchar, apply_most_used_extension varchar,
        tab_most_used_extension varchar, client_version varchar, extra_json varchar""",
    "ai_commits": """team varchar, batch_id varchar, commit_hash varchar, user_id varchar, user_email varchar,
        repository_name varchar, branch_name varchar, is_primary_branch boolean, commit_source varchar,
        total_lines_added bigint, total_lines_deleted bigint, tab_lines_added bigint, tab_lines_deleted bigint,
        composer_lines_added bigint, composer_lines_deleted bigint, non_ai_lines_added bigint,
        non_ai_lines_deleted bigint, committed_at timestamp, created_at timestamp, extra_json varchar""",
    "closed_months": """team varchar, charge_month date, close_id varchar, closed_at timestamp, run_id varchar,
        closed_by varchar, was_forced boolean, detail varchar, daily_line_count bigint, monthly_line_count bigint,
        lines_sha256 varchar""",
    "closed_daily_charges": """close_id varchar, team varchar, charge_date date, charge_month date,
        cycle_start_date date, billing_group_id varchar, billing_group_name varchar, actor_type varchar,
        user_email varchar, service_account_id varchar, model varchar, surface varchar, charge_type varchar,
        usage_category varchar, adjusts_month date, adjusts_charge_type varchar, event_count bigint,
        total_tokens bigint, usage_cents decimal(18,6), billed_cents decimal(18,6), is_estimate boolean,
        is_provisional boolean, is_closed boolean""",
    "closed_monthly_chargeback": """close_id varchar, team varchar, charge_month date, billing_group_id varchar,
        billing_group_name varchar, charge_type varchar, adjusts_month date, adjusts_charge_type varchar,
        usage_cents decimal(18,6), billed_cents decimal(18,6), billed_usd decimal(18,2), billed_share decimal(18,6),
        event_count bigint, seat_days bigint, is_estimate boolean, is_provisional boolean, is_closed boolean""",
}

SEED_HEADERS: dict[str, str] = {
    "plans": "team,plan,valid_from_date,usage_rate",
    "seat_prices": "team,seat_type,monthly_price_usd,valid_from_date",
    "seat_types": "team,user_email,seat_type,valid_from_date",
    "committed_seats": "team,seat_type,seat_count,valid_from_date",
    "service_accounts": (
        "team,service_account_id,name,email,owner,purpose,billing_group_id,key_rotated_on,rotation_days,valid_from_date"
    ),
    "billing_groups": "team,billing_group_id,cost_center,gl_account,owner",
    "budgets": "team,month,owner_type,owner_id,budget_usd",
    "invoices": "team,invoice_number,period_from_date,period_through_date,charge_type,amount_usd",
}

# What a statement is made of: for tests that have nothing to do with the tables beside it.
STATEMENT = ("fct_monthly_chargeback", "mart_group_months", "mart_load_coverage", "mart_restatements")

EVENT_DEFAULTS: dict[str, Any] = {
    "user_email": None,
    "model": "model-one",
    "kind": "Usage-based",
    "is_max_mode": False,
    "is_token_based": True,
    "is_chargeable": True,
    "is_headless": False,
    "input_tokens": 100,
    "output_tokens": 10,
    "cache_write_tokens": 0,
    "cache_read_tokens": 0,
    "model_cents": "1",
    "charged_cents": "1",
}


# A process that has imported dbt once: a run of dbt is forked from it, instead of importing it again.
FORKSERVER = multiprocessing.get_context("forkserver")
FORKSERVER.set_forkserver_preload(["dbt.cli.main", "dbt.adapters.duckdb"])


@functools.cache
def _hand() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="dbt-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _at_hand(name: str) -> Path:
    """A path that is the same for every warehouse of this process, so that dbt need not parse everything for each."""
    return _hand() / name


def _dbt(arguments: list[str], environment: Mapping[str, str], output: Path) -> None:
    """One run of dbt, in a process of its own."""
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager
    from dbt.adapters.factory import reset_adapters
    from dbt.cli.main import dbtRunner

    os.environ.update(environment)
    with output.open("w") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    has_passed = dbtRunner().invoke(arguments).success
    # a forked process ends at once: nobody else would close the files
    reset_adapters()
    DuckDBConnectionManager.close_all_connections()
    gc.collect()
    sys.exit(0 if has_passed else 1)


def instant(text: str) -> datetime:
    """`2026-10-01` or `2026-10-01 12:00`, UTC without zone as raw holds it."""
    return datetime.fromisoformat(text)


class Warehouse:
    """One data folder: raw tables to be filled by a test, seeds, and the marts that dbt builds from them.

    `marts`: the ones a test is about, built with all they rest on; default: every one.
    """

    def __init__(
        self, folder: Path, start_date: str = "2026-10-01", team: str = TEAM, marts: Sequence[str] = ()
    ) -> None:
        self.folder = folder
        self.marts = marts
        self.team = team
        self.path = folder / "warehouse.duckdb"
        self.build_path = folder / ".build" / "chargeback.duckdb"
        self.seeds_path = folder / "seeds"
        self.target = folder  # where dbt left what it made of the models, once it ran
        self._number = 0
        self.build_path.parent.mkdir(parents=True)
        self.seeds_path.mkdir()
        for seed in SEED_HEADERS:
            self.write_seed(seed, [])
        with self.connect() as connection:
            connection.execute("create schema raw")
            for table, columns in RAW_TABLES.items():
                connection.execute(f"create table raw.{table} ({columns})")
        self.insert("teams", [{"team": team, "start_date": start_date, "first_run_at": f"{start_date} 02:00:00"}])

    def connect(self) -> duckdb.DuckDBPyConnection:
        return duckdb.connect(str(self.path))

    def execute(self, statement: str) -> None:
        with self.connect() as connection:
            connection.execute(statement)

    def insert(self, table: str, rows: Iterable[Mapping[str, Any]]) -> None:
        with self.connect() as connection:
            for row in rows:
                names, values = list(row), list(row.values())
                marks = ", ".join("?" for _ in names)
                connection.execute(f"insert into raw.{table} ({', '.join(names)}) values ({marks})", values)

    def write_seed(self, seed: str, rows: Sequence[str]) -> None:
        """Rows are CSV lines in the order of the header."""
        (self.seeds_path / f"{seed}.csv").write_text("\n".join([SEED_HEADERS[seed], *rows]) + "\n")

    def read_events(
        self,
        day: str,
        events: Sequence[Mapping[str, Any]],
        read_at: str,
        outcome: str = "landed",
    ) -> str:
        """A complete read of one day: its rows under a new batch, then the ledger row. An event has `at`, its time."""
        number = self._next_number()
        batch_id = f"batch-{number:04d}"
        rows = []
        for event in events:
            row = {**EVENT_DEFAULTS, **event, "team": self.team, "batch_id": batch_id, "usage_date": day}
            row["occurred_at"] = f"{day} {row.pop('at')}"
            rows.append(row)
        self.insert("usage_events", rows)
        self._ledger(number, day, batch_id, outcome, len(rows), read_at)
        return batch_id

    def confirm_events(self, day: str, batch_id: str, row_count: int, read_at: str) -> None:
        """A read that found the current version again."""
        self._ledger(self._next_number(), day, batch_id, "unchanged", row_count, read_at)

    def _ledger(self, number: int, day: str, batch_id: str, outcome: str, row_count: int, read_at: str) -> None:
        with self.connect() as connection:
            connection.execute(
                """
                insert into raw.load_windows
                select ?, 'usage_events', ?, ?, ?, ?, ?, ?, ?,
                    coalesce((select sum(charged_cents) from raw.usage_events where batch_id = ?), 0), ?, ?, 'run'
                """,
                [self.team, f"read-{number:04d}", number, day, batch_id, outcome, row_count, row_count, batch_id,
                 f"digest-{batch_id}", read_at],
            )  # fmt: skip

    def read_groups(
        self,
        read_at: str,
        groups: Mapping[str, Mapping[str, Any]],
        cycle: tuple[str, str] | None = ("2026-10-01", "2026-11-01"),
        is_current_cycle: bool = True,
        outcome: str = "landed",
    ) -> None:
        """An answer of /teams/groups. A group: `name`, `members` as (user_id, email, joined_at, left_at or None)."""
        number = self._next_number()
        content = json.dumps([groups, cycle, is_current_cycle], sort_keys=True, default=str)
        snapshot_id = "groups-" + hashlib.sha256(content.encode()).hexdigest()[:12]
        with self.connect() as connection:
            known = connection.execute(
                "select count(*) from raw.snapshot_reads where snapshot_id = ? and outcome = 'landed'", [snapshot_id]
            ).fetchone()
        if known == (0,):
            self.insert("billing_groups", [self._group_row(snapshot_id, key, group) for key, group in groups.items()])
            self.insert(
                "billing_group_members",
                [
                    self._member_row(snapshot_id, key, group, member)
                    for key, group in groups.items()
                    for member in group["members"]
                ],
            )
        elif outcome == "landed":
            outcome = "unchanged"
        start, end = cycle or (None, None)
        self._snapshot_read(number, "billing_groups", snapshot_id, outcome, read_at, start, end, is_current_cycle)

    def _group_row(self, snapshot_id: str, key: str, group: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "team": self.team,
            "snapshot_id": snapshot_id,
            "billing_group_id": key,
            "name": group["name"],
            "group_type": "BILLING",
            "directory_group_id": group.get("directory_group_id"),
            "is_unassigned": group.get("is_unassigned", False),
            "member_count": sum(1 for member in group["members"] if member[3] is None),
            "created_at": group.get("created_at", "2026-01-01"),
            "updated_at": group.get("updated_at", "2026-01-01"),
            "spend_cents": 0,
        }

    def _member_row(
        self, snapshot_id: str, key: str, group: Mapping[str, Any], member: Sequence[Any]
    ) -> dict[str, Any]:
        user_id, user_email, joined_at, left_at = member
        return {
            "team": self.team,
            "snapshot_id": snapshot_id,
            "billing_group_id": key,
            "is_unassigned": group.get("is_unassigned", False),
            "user_id": user_id,
            "user_email": user_email,
            "name": user_id,
            "is_current": left_at is None,
            "joined_at": joined_at,
            "left_at": left_at,
            "spend_cents": 0,
        }

    def read_members(
        self, read_at: str, members: Sequence[tuple[str, str, str, bool]], outcome: str = "landed"
    ) -> None:
        """An answer of /teams/members: (user_id, email, role, is_removed)."""
        number = self._next_number()
        snapshot_id = "members-" + hashlib.sha256(json.dumps(list(members)).encode()).hexdigest()[:12]
        with self.connect() as connection:
            known = connection.execute(
                "select count(*) from raw.members where snapshot_id = ?", [snapshot_id]
            ).fetchone()
        if known == (0,):
            self.insert(
                "members",
                [
                    {
                        "team": self.team,
                        "snapshot_id": snapshot_id,
                        "user_id": user_id,
                        "user_email": user_email,
                        "name": user_id,
                        "role": role,
                        "is_removed": is_removed,
                    }
                    for user_id, user_email, role, is_removed in members
                ],
            )
        elif outcome == "landed":
            outcome = "unchanged"
        self._snapshot_read(number, "members", snapshot_id, outcome, read_at, None, None, True)

    def _snapshot_read(
        self,
        number: int,
        resource: str,
        snapshot_id: str,
        outcome: str,
        read_at: str,
        cycle_start_at: str | None,
        cycle_end_at: str | None,
        is_current_cycle: bool,
    ) -> None:
        self.insert(
            "snapshot_reads",
            [
                {
                    "team": self.team,
                    "resource": resource,
                    "cycle_start_at": cycle_start_at,
                    "cycle_end_at": cycle_end_at,
                    "is_current_cycle": is_current_cycle,
                    "read_id": f"read-{number:04d}",
                    "read_number": number,
                    "snapshot_id": snapshot_id,
                    "outcome": outcome,
                    "row_count": 0,
                    "current_member_count": 0,
                    "digest": snapshot_id,
                    "guard_digest": snapshot_id,
                    "read_at": read_at,
                    "run_id": "run",
                }
            ],
        )

    def read_audit_log(self, start: str, end: str, events: Sequence[Mapping[str, Any]], read_at: str) -> None:
        """A complete read of a window of the audit log: `event_id`, `occurred_at`, `event_type` and `data` of each."""
        number = self._next_number()
        batch_id = f"batch-{number:04d}"
        rows = []
        for event in events:
            row = {"actor": "admin@example.com", "application_type": "cursor", **event}
            row["event_data_json"] = json.dumps(row.pop("data", {}), sort_keys=True)
            rows.append({**row, "team": self.team, "batch_id": batch_id})
        self.insert("audit_events", rows)
        self.insert(
            "stream_reads",
            [
                {
                    "team": self.team,
                    "resource": "audit_logs",
                    "window_start_at": start,
                    "window_end_at": end,
                    "read_id": f"read-{number:04d}",
                    "read_number": number,
                    "batch_id": batch_id,
                    "outcome": "landed",
                    "row_count": len(rows),
                    "read_at": read_at,
                    "run_id": "run",
                }
            ],
        )

    def close(self, month: str, with_header: bool = True) -> str:
        """Freezes the lines of a month, such as `2026-10`, as they are in the build file; the header comes last."""
        close_id = f"close-{self._next_number():04d}"
        counts = []
        with self.connect() as connection:
            connection.execute(f"attach '{self.build_path}' as published (read_only)")
            for table, lines in (
                ("closed_daily_charges", "fct_daily_charges"),
                ("closed_monthly_chargeback", "fct_monthly_chargeback"),
            ):
                connection.execute(
                    f"insert into raw.{table} by name select '{close_id}' as close_id, * "
                    f"from published.marts.{lines} where team = ? and charge_month = ?",
                    [self.team, f"{month}-01"],
                )
                counts += connection.execute(
                    f"select count(*) from raw.{table} where close_id = ?", [close_id]
                ).fetchall()[0]
        if with_header:
            self.insert(
                "closed_months",
                [
                    {
                        "team": self.team,
                        "charge_month": f"{month}-01",
                        "close_id": close_id,
                        "closed_at": "2026-11-20 02:00:00",
                        "run_id": "run",
                        "closed_by": "finance",
                        "was_forced": False,
                        "detail": "{}",
                        "daily_line_count": counts[0],
                        "monthly_line_count": counts[1],
                        "lines_sha256": "not checked by the models",
                    }
                ],
            )
        return close_id

    def _next_number(self) -> int:
        self._number += 1
        return self._number

    def dbt(
        self, *arguments: str, plan: str = "enterprise", full_tests: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Runs dbt as the product does: a process of its own, every path in the environment."""
        variables = {
            "run_id": "run",
            "published_at": "2026-11-20 02:00:00",
            "version": "0",
            "model_fingerprint": "test",
            "plan": plan,
        }
        _at_hand("current").unlink(missing_ok=True)
        _at_hand("current").symlink_to(self.folder)
        current = _at_hand("current")
        environment = {
            **({"CHARGEBACK_FULL_TESTS": "true"} if full_tests else {}),
            "CHARGEBACK_BUILD_PATH": str(current / self.build_path.relative_to(self.folder)),
            "CHARGEBACK_WAREHOUSE_PATH": str(current / self.path.relative_to(self.folder)),
            "CHARGEBACK_SEEDS_PATH": os.path.relpath(
                current / self.seeds_path.relative_to(self.folder), PROJECT_DIR / "dbt_project"
            ),
        }
        target = self.target = _at_hand(f"target-{plan}")
        command = [
            "--log-path", str(target / "logs"), "--log-level-file", "none", *arguments,
            "--project-dir", str(PROJECT_DIR / "dbt_project"), "--profiles-dir", str(PROJECT_DIR / "dbt_project"),
            "--target-path", str(target), "--vars", json.dumps(variables),
        ]  # fmt: skip
        output = self.folder / "dbt.log"
        process = FORKSERVER.Process(target=_dbt, args=(command, environment, output))
        process.start()
        process.join()
        return subprocess.CompletedProcess(command, process.exitcode or 0, output.read_text(), "")

    def build(self, *arguments: str, plan: str = "enterprise", full_tests: bool = False) -> str:
        """Builds and tests everything selected (default: all but the unit tests); fails with dbt's own words."""
        chosen = arguments or ("--exclude-resource-type", "unit_test")
        result = self.dbt("build", *self._only(chosen), *chosen, plan=plan, full_tests=full_tests)
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    def _only(self, chosen: Sequence[str]) -> list[str]:
        if not self.marts or "--select" in chosen:
            return []
        # a test that also reads what is not built here has nothing to say
        return ["--select", *(f"+{mart}" for mart in self.marts), "--indirect-selection", "cautious"]

    def table(self, name: str) -> list[tuple[Any, ...]]:
        """Every row of a mart, sorted by all columns."""
        return self.rows(f"select * from marts.{name} order by all")

    def tables(self) -> dict[str, list[tuple[Any, ...]]]:
        """Every row of every mart, sorted by all columns."""
        names = self.rows("select table_name from information_schema.tables where table_schema = 'marts' order by 1")
        return {
            name: self.rows(f"select * from marts.{name} order by all")
            for (name,) in names
            if not name.startswith("__dbt")
        }

    def tables_of_a_full_refresh(self, plan: str = "enterprise") -> dict[str, list[tuple[Any, ...]]]:
        """What the marts would hold if they were built from raw alone; everything is then put back as it was."""
        kept = self.folder / "kept"
        kept.mkdir()
        shutil.copyfile(self.path, kept / "warehouse.duckdb")
        self.build_path.rename(kept / "chargeback.duckdb")
        with self.connect() as connection:
            for schema in ("staging", "intermediate", "seeds"):
                connection.execute(f"drop schema if exists {schema} cascade")
        self.build("--exclude-resource-type", "unit_test", "--exclude-resource-type", "test", plan=plan)
        tables = self.tables()
        shutil.move(kept / "warehouse.duckdb", self.path)
        shutil.move(kept / "chargeback.duckdb", self.build_path)
        kept.rmdir()
        return tables

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Rows of a query over the marts (and `warehouse`, attached read-only)."""
        with duckdb.connect(str(self.build_path), read_only=True) as connection:
            connection.execute(f"attach '{self.path}' as warehouse (read_only)")
            return connection.execute(query).fetchall()


def days(first: str, last: str) -> list[str]:
    """Both ends included."""
    start, end = date.fromisoformat(first), date.fromisoformat(last)
    return [(start + timedelta(days=number)).isoformat() for number in range((end - start).days + 1)]
