"""Hand-made warehouses with what the optional routes leave: snapshots without a cycle, and streams read in windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tests.warehouse import Warehouse

CONTROLS = (
    "stg_cursor_admin__daily_usage",
    "stg_cursor_admin__ai_commits",
    "int_ai_lines_by_day",
    "int_person_activity_days",
    "int_person_directory_groups",
    "int_stream_days_read",
    "int_user_ids",
    "dim_users",
    "dim_models",
    "dim_billing_groups",
    "dim_service_accounts",
    "mart_repository_costs",
    "mart_service_account_findings",
    "mart_unassigned_spend",
    "mart_unused_seats",
)


class OptionalRoutes(Warehouse):
    """A warehouse whose loader also read directory groups, the blocklist, spend, daily usage and commits."""

    def read_snapshot(
        self,
        resource: str,
        read_at: str,
        tables: Mapping[str, Sequence[Mapping[str, Any]]],
        outcome: str = "landed",
    ) -> None:
        """An answer of an optional route: rows by raw table, then the ledger row that points to them."""
        number = self._next_number()
        snapshot_id = f"{resource}-{number:04d}"
        for table, rows in tables.items():
            self.insert(table, [{"team": self.team, "snapshot_id": snapshot_id, **row} for row in rows])
        self._snapshot_read(number, resource, snapshot_id, outcome, read_at, None, None, True)

    def read_stream(self, resource: str, start: str, end: str, rows: Sequence[Mapping[str, Any]], read_at: str) -> None:
        """A complete read of a window [start, end) of `daily_usage` or `ai_commits`: rows, then the ledger row."""
        number = self._next_number()
        batch_id = f"batch-{number:04d}"
        self.insert(resource, [{"team": self.team, "batch_id": batch_id, **row} for row in rows])
        self.insert(
            "stream_reads",
            [
                {
                    "team": self.team,
                    "resource": resource,
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

    def build_untested(self) -> None:
        self.build("--exclude-resource-type", "unit_test", "--exclude-resource-type", "test")

    def build_and_test_controls(self) -> None:
        """What the optional routes lead to is tested over all of history."""
        self.build("--exclude-resource-type", "unit_test", full_tests=True)
