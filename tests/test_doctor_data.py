"""`chargeback doctor` finds what is wrong with seed files, the warehouse and the published file."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import pytest
from doctor_findings import doctor, texts
from nights import Installation

from pipelines.config import Settings
from pipelines.doctor import warehouse
from pipelines.doctor.company import check_seeds
from pipelines.doctor.configuration import Configuration
from pipelines.doctor.findings import FAILING, HINT, LEVELS, WARNING
from pipelines.doctor.warehouse import Known
from pipelines.paths import data_paths
from pipelines.seeds import create_missing_seeds


def write(place: Installation, sql: str) -> None:
    """What no run of ours would ever do to the warehouse."""
    with duckdb.connect(str(place.paths.warehouse)) as connection:
        connection.execute(sql)


# --- seed files -------------------------------------------------------------------------------------------------------


@pytest.fixture
def company_folder(tmp_path: Path) -> Configuration:
    paths = data_paths(tmp_path / "data")
    create_missing_seeds(paths)
    return Configuration(paths, Settings(paths, "enterprise", 36, "https://api.cursor.com"))


def add(found: Configuration, name: str, *lines: str) -> None:
    path = found.paths.seeds_dir / f"{name}.csv"
    path.write_text(path.read_text() + "".join(f"{line}\n" for line in lines))


KNOWN = Known(True, {"acme"}, {"group_search"}, {"ada@example.com"}, {"sa_1", "sa_2"})


def test_seed_rows_that_name_nothing_cursor_knows_are_warned_about(company_folder: Configuration) -> None:
    add(company_folder, "seat_types", ",ADA@example.com,standard,", ",bob@example.com,standard,")
    add(company_folder, "billing_groups", ",group_search,CC-1,,", ",group_serach,CC-2,,")
    add(company_folder, "service_accounts", ",sa_1,ci,,,,group_search,,,")
    add(
        company_folder,
        "budgets",
        ",2026-11-01,billing_group,group_gone,10",
        ",2026-11-01,billing_group,unattributed,10",
        ",2026-11-01,service_account,sa_1,10",
        ",2026-11-01,service_account,sa_3,10",
    )
    found = list(check_seeds(company_folder, KNOWN))
    assert [text.split(":")[0] for text in texts(found, "seeds", WARNING)] == [
        "billing_groups.csv, line 3, column billing_group_id",
        "seat_types.csv, line 3, column user_email",
        "budgets.csv, line 2, column owner_id",
        "budgets.csv, line 5, column owner_id",
    ]
    assert texts(found, "seeds", HINT) == [
        "1 service accounts with usage are not in service_accounts.csv: sa_2 "
        "Their cost stays in Unassigned until a row gives each a billing group."
    ]


def test_seed_files_that_cannot_be_used_fail_line_by_line(company_folder: Configuration) -> None:
    (company_folder.paths.seeds_dir / "plans.csv").write_text("team,plan\n")
    add(company_folder, "seat_prices", ",standard,cheap,")
    found = texts(list(check_seeds(company_folder, KNOWN)), "seeds", *LEVELS)
    assert [text.split(":")[0].split(" in ")[0] for text in found] == ["plans.csv", "seat_prices.csv"]


def test_a_team_without_a_plan_fails_and_missing_files_are_a_hint(company_folder: Configuration) -> None:
    company_folder.settings = None
    (company_folder.paths.seeds_dir / "budgets.csv").unlink()
    found = list(check_seeds(company_folder, KNOWN))
    assert texts(found, "seeds", FAILING)[0].startswith("No plan is set for team acme")
    assert texts(found, "seeds", HINT)[0].endswith("yet: budgets.csv The next run makes them, with their headers.")
    add(company_folder, "plans", "acme,enterprise,,")
    assert texts(list(check_seeds(company_folder, KNOWN)), "seeds", FAILING) == []


# --- the two files ----------------------------------------------------------------------------------------------------

SPOILED = {
    "delete from raw.usage_events where rowid in (select min(rowid) from raw.usage_events)": (
        "raw.load_windows and its rows disagree: usage_events",
    ),
    "insert into raw.members select * from raw.members limit 1": ("raw.snapshot_reads and its rows disagree: members",),
    "delete from raw.audit_events": ("raw.stream_reads and its rows disagree: audit_logs",),
    "insert into raw.load_windows select * from raw.load_windows limit 1": (
        "raw.load_windows and its rows disagree: the read",
        "reads that bear the same number: ",
    ),
    "alter table raw.members drop column role": ("other columns than declared in members",),
    "drop table raw.load_windows": ("lacks our raw tables",),
}


@pytest.mark.parametrize("sql", SPOILED)
def test_a_warehouse_that_does_not_hold_what_its_ledger_says_fails(tonight: Installation, sql: str) -> None:
    write(tonight, sql)
    exit_code, findings = doctor(tonight)
    failing = texts(findings, "warehouse", FAILING)
    assert exit_code == 1
    assert len(failing) == len(SPOILED[sql])
    for text, wanted in zip(failing, SPOILED[sql], strict=True):
        assert wanted in text


def test_a_warehouse_of_an_earlier_version_is_told_from_a_damaged_one(tonight: Installation) -> None:
    write(tonight, "drop table raw.ai_commits")
    exit_code, findings = doctor(tonight)
    assert exit_code == 0
    assert texts(findings, "warehouse", HINT) == [
        "of an earlier version: lacks ai_commits The next run adds them, empty."
    ]


def test_a_closed_month_that_somebody_edited_fails(tonight: Installation) -> None:
    write(
        tonight,
        "insert into raw.closed_months (team, charge_month, close_id, daily_line_count, monthly_line_count, "
        "lines_sha256) values ('default', '2026-10-01', 'close-1', 1, 1, 'x')",
    )
    _, findings = doctor(tonight)
    assert texts(findings, "warehouse", FAILING)[0].startswith(
        "The close ledger of team default was changed for 2026-10"
    )


def test_a_file_that_is_no_database_fails(tonight: Installation) -> None:
    for path in (tonight.paths.warehouse, tonight.paths.published):
        path.chmod(0o600)
        path.write_bytes(b"no database at all, and long enough for a header" * 200)
    _, findings = doctor(tonight)
    assert "is not a DuckDB file" in texts(findings, "warehouse", FAILING)[0]
    assert "is not a DuckDB file" in texts(findings, "published", FAILING)[0]


def test_a_published_file_with_a_spoiled_block_fails_wherever_the_block_lies(tonight: Installation) -> None:
    path = tonight.paths.published
    path.chmod(0o600)
    sound = path.read_bytes()
    told = []
    for offset in range(16_384, len(sound), 262_144):  # a byte in each block behind the headers
        path.write_bytes(sound[:offset] + bytes([sound[offset] ^ 0xFF]) + sound[offset + 1 :])
        told += texts(list(warehouse.check_published(tonight.paths)), "published", FAILING)
    assert len(told) > 3  # of a free block nobody reads the checksum
    assert sum("cannot be read to its end" in text for text in told) > 1
    path.write_bytes(sound)
    assert texts(list(warehouse.check_published(tonight.paths)), "published", FAILING) == []


def test_a_published_file_that_no_run_made_fails(tonight: Installation) -> None:
    lines = tonight.paths.runs.read_text().splitlines()
    last = json.loads(lines[-1]) | {"run_id": "20261117T020000-other"}
    tonight.paths.runs.write_text("\n".join([*lines, json.dumps(last)]) + "\n")
    _, findings = doctor(tonight)
    assert "but the last run that published was 20261117T020000-other" in texts(findings, "published", FAILING)[0]
    tonight.paths.runs.unlink()
    _, findings = doctor(tonight)
    assert "knows of no run that published" in texts(findings, "published", WARNING)[0]


def test_a_published_file_that_is_gone_fails_and_a_log_beside_one_warns(tonight: Installation) -> None:
    wal = tonight.paths.published.with_name("chargeback.duckdb.wal")
    tonight.paths.published.unlink()
    wal.write_bytes(b"")
    exit_code, findings = doctor(tonight)
    assert exit_code == 1
    assert "somebody opened it for writing" in texts(findings, "published", WARNING)[0]
    assert texts(findings, "published", FAILING)[0].startswith(f"{tonight.paths.published} is gone; the last run")
