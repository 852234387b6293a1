"""What random nights do with seats and closed months, and the published tables against `seat_oracle.py`."""

from __future__ import annotations

import csv
import signal
import time
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from oracle import ExpectedEvent, Oracle
from seat_oracle import (
    CHARGE_COLUMNS,
    LINE_COLUMNS,
    SEAT_COLUMNS,
    SeatOracle,
    seat_books,
    unsettled_days,
)

from pipelines.simulator.instants import from_ms, to_ms
from pipelines.simulator.seat_truth import AuditWindow

if TYPE_CHECKING:
    from nights import Installation, Life


def seat_oracle(place: Installation, oracle: Oracle, expected: Mapping[date, list[ExpectedEvent]]) -> SeatOracle:
    """What must be published of seats, from the ledgers of this warehouse."""
    warehouse = place.paths.warehouse
    windows = place.query(
        "select window_start_at, window_end_at, read_at from raw.stream_reads "
        "where resource = 'audit_logs' and outcome = 'landed'",
        warehouse,
    )
    cycles = place.query(
        "select distinct cycle_start_at, cycle_end_at from raw.snapshot_reads where resource = 'billing_groups' "
        "and outcome in ('landed', 'unchanged') and cycle_start_at < cycle_end_at",
        warehouse,
    )
    if not cycles:  # a plan without groups: spend tells where a cycle starts, and the invented company's are months
        cycles = [
            tuple(from_ms(edge_ms).replace(tzinfo=None) for edge_ms in oracle.organisation.cycle(to_ms(start)))
            for (start,) in place.query(
                "select distinct cycle_start_at from raw.snapshot_reads where resource = 'member_spend' "
                "and outcome in ('landed', 'unchanged')",
                warehouse,
            )
        ]
    last_read = max(read.at for read in oracle.reads)
    return SeatOracle(
        oracle,
        expected,
        seat_books(place.paths.seeds_dir),
        windows=[AuditWindow(*(moment.replace(tzinfo=UTC) for moment in window)) for window in windows],
        cycles=[(start.replace(tzinfo=UTC), end.replace(tzinfo=UTC)) for start, end in cycles],
        covered=(_first_covered(place, oracle), last_read.date() - timedelta(days=1)),
    )


def check_seats(place: Installation, today: SeatOracle) -> tuple[int, int]:
    """Every row of seats, every daily charge and every line of a statement; answers how many seats and adjustments."""
    found = Counter(place.query(f"select {SEAT_COLUMNS} from marts.fct_daily_seat_costs"))
    _same("fct_daily_seat_costs", today.seat_rows(), found)
    amount = "sum(case when charge_type <> 'adjustment' then {} end)"
    charges = place.query(
        f"select {CHARGE_COLUMNS}, {amount.format('event_count')}, {amount.format('usage_cents')}, "
        "sum(billed_cents) from marts.fct_daily_charges group by all"
    )
    expected_charges = {(*key, *values): 1 for key, values in today.charges(place.closings).items()}
    _same("fct_daily_charges", Counter(expected_charges), Counter(charges))
    lines = place.query(f"select {LINE_COLUMNS}, billed_cents, billed_usd, is_closed from marts.fct_monthly_chargeback")
    expected_lines = [(*line, *values) for line, values in today.statement(place.closings).items()]
    _same("fct_monthly_chargeback", Counter(expected_lines), Counter(lines))
    return found.total(), sum(line[2] == "adjustment" for line in lines)


def close_a_month(life: Life, night: datetime, expected: Mapping[date, list[ExpectedEvent]]) -> None:
    """Closes the first open month where it is over: refused while a day is not final, forced or left open then."""
    rng, place, oracle = life.random, life.here, life.oracle(life.here)
    first = _first_covered(place, oracle)
    month = place.closings.months.first_open_month or first.replace(day=1)
    if (month + timedelta(days=31)).replace(day=1) > night.date():
        return
    today = seat_oracle(place, oracle, expected)
    words = ["close", f"{month:%Y-%m}", "--now", night.strftime("%Y-%m-%dT%H:%M:%SZ")]
    if unsettled := unsettled_days(oracle, month, first):
        refused = place.command(*words)
        assert refused.exit_code == 1, refused
        assert str(unsettled[0]) in refused.stderr, refused
        words.append("--force")
        if rng.random() < 0.3:
            return
    if rng.random() < 0.3:
        life.tally.kills += _killed(place, words, rng)
    closed = place.command(*words)
    assert (closed.exit_code, closed.stderr) == (0, ""), closed
    assert place.query("select count(*) from raw.closed_months", place.paths.warehouse)[0][0] >= 1
    place.closings.close(month, today)
    life.tally.months_closed += 1
    # and then the price list turns out to have been wrong
    price = Decimal(rng.randrange(5_000, 10_000)).scaleb(-2)
    _write_row(place.paths.seeds_dir / "seat_prices.csv", ["", "standard", str(price), str(max(month, first))])


def edit_seat_seeds(rng: Random, seeds_dir: Path, emails: list[str], day: date) -> None:
    """Finance changes its mind about a price, what kind of seat somebody has, or how many are committed."""
    seat_type = rng.choice(("standard", "premium"))
    name, key, value = rng.choice(
        (
            ("seat_prices", seat_type, rng.choice(("31.99", "40.00", "55.50", "0.07"))),
            ("seat_types", rng.choice(emails), seat_type),
            ("committed_seats", seat_type, str(rng.randrange(12))),
        )
    )
    _write_row(seeds_dir / f"{name}.csv", ["", key, value, str(day)])


def _write_row(path: Path, columns: list[str]) -> None:
    """Adds a row of (team, key, value, day), in place of one with the same key and day."""
    with path.open(newline="") as file:
        kept = [row for row in csv.reader(file) if (row[1].lower(), row[3]) != (columns[1].lower(), columns[3])]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([*kept, columns])


def _killed(place: Installation, words: list[str], rng: Random) -> bool:
    """Starts the command and kills it, if it is still there after a while."""
    process = place.start(*words)
    deadline = time.monotonic() + rng.random() * 25
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return process.returncode == -signal.SIGKILL


def _first_covered(place: Installation, oracle: Oracle) -> date:
    return min([place.start_date, *oracle.days])


def _same(table: str, expected: Counter[tuple], found: Counter[tuple]) -> None:
    missing, surplus = expected - found, found - expected
    shown = [f"  expected {row}" for row in sorted(missing, key=repr)[:6]]
    shown += [f"  found    {row}" for row in sorted(surplus, key=repr)[:6]]
    counts = f"{table}: {missing.total()} rows missing, {surplus.total()} surplus"
    assert not shown, "\n".join([counts, *shown])
