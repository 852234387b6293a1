"""Which days a run reads: derived from the ledger and nothing else."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from pathlib import Path

import duckdb
import pytest

from pipelines.errors import FileError
from pipelines.ledger import DayState, Ledger, SnapshotRead, Version, closed_cycle_days, days_to_read, read_ledger

TODAY = date(2026, 11, 16)
VERSION = Version("b", 10, "d")


def read_all(start: date, at: datetime) -> Ledger:
    days = [start + timedelta(days=n) for n in range((at.date() - start).days + 1)]
    return Ledger(exists=True, days={day: DayState(VERSION, at) for day in days})


def test_the_first_run_reads_every_day_newest_first() -> None:
    wanted = days_to_read(Ledger(), start_date=date(2026, 11, 13), today=TODAY, lookback_days=3)
    assert wanted == [date(2026, 11, 16), date(2026, 11, 15), date(2026, 11, 14), date(2026, 11, 13)]


def test_a_night_reads_the_open_day_what_is_not_final_and_the_lookback() -> None:
    ledger = read_all(date(2026, 11, 1), datetime(2026, 11, 15, 2))
    wanted = days_to_read(ledger, start_date=date(2026, 11, 1), today=TODAY, lookback_days=1)
    # on the 15th at two o'clock, the 12th was over for 50 hours and the 13th for 26
    assert wanted == [date(2026, 11, day) for day in (16, 15, 14, 13)]
    assert days_to_read(ledger, start_date=date(2026, 11, 1), today=TODAY, lookback_days=6)[-1] == date(2026, 11, 10)


def test_days_after_missed_nights_are_all_read() -> None:
    ledger = read_all(date(2026, 11, 1), datetime(2026, 11, 9, 2))
    wanted = days_to_read(ledger, start_date=date(2026, 11, 1), today=TODAY, lookback_days=3)
    assert wanted == [date(2026, 11, day) for day in range(16, 6, -1)]


def test_a_day_is_final_48_hours_after_its_end_to_the_second() -> None:
    day = date(2026, 11, 10)
    assert not DayState(VERSION, datetime(2026, 11, 12, 23, 59, 59)).is_final(day)
    assert DayState(VERSION, datetime(2026, 11, 13)).is_final(day)


def test_since_reads_back_to_that_day_also_before_the_start() -> None:
    ledger = read_all(date(2026, 11, 1), datetime(2026, 11, 16, 2))
    wanted = days_to_read(ledger, start_date=date(2026, 11, 10), today=TODAY, lookback_days=3, since=date(2026, 11, 8))
    assert wanted == [date(2026, 11, day) for day in range(16, 7, -1)]


CYCLES = [(datetime(2026, 10, 5), datetime(2026, 11, 5)), (datetime(2026, 11, 5), datetime(2026, 12, 5))]


def test_a_closed_cycle_is_read_whole_once_after_48_hours() -> None:
    ledger = read_all(date(2026, 10, 1), datetime(2026, 11, 6, 23))
    start = date(2026, 10, 20)
    before = closed_cycle_days(ledger, cycles=CYCLES, start_date=start, now=datetime(2026, 11, 6, 23, 59))
    after = closed_cycle_days(ledger, cycles=CYCLES, start_date=start, now=datetime(2026, 11, 7))
    assert before == []
    assert after == [date(2026, 11, 4) - timedelta(days=n) for n in range(16)]
    done = read_all(date(2026, 10, 1), datetime(2026, 11, 7))
    assert closed_cycle_days(done, cycles=CYCLES, start_date=start, now=datetime(2026, 11, 8)) == []


def test_without_a_known_cycle_calendar_months_are_assumed() -> None:
    wanted = closed_cycle_days(Ledger(), cycles=[], start_date=date(2026, 10, 30), now=datetime(2026, 11, 16))
    assert wanted == [date(2026, 10, 31), date(2026, 10, 30)]


def test_where_groups_tell_no_cycle_member_spend_tells_where_one_starts() -> None:
    def read(
        resource: str, start: datetime | None, end: datetime | None = None, outcome: str = "landed"
    ) -> SnapshotRead:
        return SnapshotRead(start, end, True, 1, "s", outcome, 1, 1, None, None, None, datetime(2026, 11, 16))

    spend = [
        read("member_spend", datetime(2026, 10, 5)),
        read("member_spend", datetime(2026, 11, 3)),
        read("member_spend", datetime(2026, 9, 1), outcome="failed"),
    ]
    groups = [read("billing_groups", *CYCLES[0]), read("billing_groups", None)]
    assert Ledger(snapshots={"member_spend": spend, "billing_groups": groups[1:]}).cycles() == [
        (datetime(2026, 9, 5), datetime(2026, 10, 5)),
        (datetime(2026, 10, 5), datetime(2026, 11, 3)),
        (datetime(2026, 11, 3), datetime(2026, 12, 3)),
    ]
    assert Ledger(snapshots={"member_spend": spend, "billing_groups": groups}).cycles() == [CYCLES[0]]
    assert Ledger().cycles() == []


def test_a_warehouse_that_is_no_database_or_somebody_elses_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "warehouse.duckdb"
    broken.write_bytes(b"not a database" * 100)
    with pytest.raises(FileError, match=r"warehouse\.duckdb is not a DuckDB file"):
        read_ledger(broken, "default")
    foreign = tmp_path / "foreign.duckdb"
    with duckdb.connect(str(foreign)) as connection:
        connection.execute("create table salaries (n integer)")
    with pytest.raises(FileError, match=r"foreign\.duckdb is a DuckDB file of something else"):
        read_ledger(foreign, "default")
    assert foreign.exists()


def test_a_folder_without_a_warehouse_is_a_first_run(tmp_path: Path) -> None:
    assert read_ledger(tmp_path / "warehouse.duckdb", "default") == Ledger()
