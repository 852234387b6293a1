"""Random lives of a data folder: nights with faults, kills, glitches and edited seeds, held against the oracle.

Everything follows from the seed but the moments of kills, which no seed can fix: a life is the same in what the API
answers and what is run, and any moment must do.
"""

from __future__ import annotations

import contextlib
import copy
import csv
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from types import MappingProxyType

import duckdb
from oracle import AcceptedAnswer, Books, DayRead, Oracle
from seat_nights import check_seats, close_a_month, edit_seat_seeds, seat_oracle
from seat_oracle import Closings

from pipelines.cli import run_command
from pipelines.cursor_admin.client import CursorAdminClient
from pipelines.cursor_admin.settings import find_read
from pipelines.paths import DataPaths, data_paths
from pipelines.simulator import Behaviour, Fault, Glitch, Organisation, SimulatorServer

PROJECT_DIR = Path(__file__).resolve().parents[1]
RETRIED = ("500", "502", "503", "reset", "truncated_json", "html", "short_body", "429")
FATAL = ("401", "403", "missing_key", "changed_type")
ROUTES = ("/teams/filtered-usage-events", "/teams/groups", "/teams/members", "/teams/audit-logs")
LOOKBACK_DAYS = 3
# what a table says of the run itself, and not of the data
OF_THE_RUN = {"mart_publication": ("published_at", "run_id", "full_tests_at")}
# and what it says of single reads, whose names differ between two lives
OF_THE_READS = OF_THE_RUN | {"mart_load_coverage": ("batch_id", "day_fingerprint"), "mart_restatements": ("read_id",)}
EVENT_COLUMNS = """
    occurred_at, user_email, service_account_id, cloud_agent_id, automation_id, conversation_id, model, kind,
    is_max_mode, input_tokens, output_tokens, cache_write_tokens, cache_read_tokens, usage_cents, billed_cents,
    is_unpriced, usage_category, billing_group_id, billing_group_name, attribution_method, is_provisional
"""


@contextlib.contextmanager
def quick_client(page_size: int) -> Iterator[None]:
    """Waits between attempts are thousandths of seconds; how often is tried stays as it is. Pages hold `page_size`."""
    retries, paging = CursorAdminClient.__init__.__kwdefaults__, CursorAdminClient.usage_event_page
    seconds, defaults = retries["backoff_base_seconds"], paging.__defaults__
    retries["backoff_base_seconds"], paging.__defaults__ = 0.002, (page_size,)
    try:
        yield
    finally:
        retries["backoff_base_seconds"], paging.__defaults__ = seconds, defaults


@dataclass(frozen=True)
class Outcome:
    """What a command left behind. `exit_code` is negative when it was killed."""

    exit_code: int
    stdout: str
    stderr: str


@dataclass
class Installation:
    """A data folder and the command line, pointed at a simulator."""

    folder: Path
    base_url: str
    api_key: str
    start_date: date
    more: dict[str, str] = field(default_factory=dict)
    page_size: int = 1000
    closings: Closings = field(default_factory=Closings)

    @property
    def paths(self) -> DataPaths:
        return data_paths(self.folder)

    @property
    def settings(self) -> dict[str, str]:
        return {
            "CHARGEBACK__DATA_DIR": str(self.folder),
            "SOURCES__CURSOR_ADMIN__BASE_URL": self.base_url,
            "SOURCES__CURSOR_ADMIN__API_KEY": self.api_key,
            "SOURCES__CURSOR_ADMIN__START_DATE": self.start_date.isoformat(),
            "SOURCES__CURSOR_ADMIN__RATE_LIMIT_PER_MINUTE": "0",
        } | self.more

    def command(self, *arguments: str) -> Outcome:
        """A command line in this process: the same code, without the seconds that starting Python takes."""
        stdout, stderr, before = io.StringIO(), io.StringIO(), dict(os.environ)
        os.environ.update(self.settings)
        try:
            with quick_client(self.page_size), contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
                exit_code = run_command(list(arguments))
        finally:
            os.environ.clear()
            os.environ.update(before)
        return Outcome(exit_code, stdout.getvalue(), stderr.getvalue())

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """The same as a process of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "pipelines.cli", *arguments],
            cwd=PROJECT_DIR,
            env=os.environ | self.settings | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self, *arguments: str, **environment: str) -> Outcome:
        process = self.start(*arguments, **environment)
        stdout, stderr = process.communicate()
        return Outcome(process.returncode, stdout, stderr)

    def copy_to(self, folder: Path) -> Installation:
        shutil.copytree(self.folder, folder)
        copied = replace(self, folder=folder, more=dict(self.more))
        copied.closings = copy.deepcopy(self.closings)
        return copied

    def published_digest(self) -> str | None:
        path = self.paths.published
        return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None

    def query(self, sql: str, path: Path | None = None) -> list[tuple]:
        with duckdb.connect(str(path or self.paths.published), read_only=True) as connection:
            connection.execute("set TimeZone = 'UTC'")
            return connection.execute(sql).fetchall()


def differences(
    left: Path, right: Path, apart_from: Mapping[str, tuple[str, ...]] = MappingProxyType(OF_THE_RUN)
) -> dict[str, int]:
    """Rows that are in one published file only, by table; empty when every table of the two is equal."""
    found: dict[str, int] = {}
    with duckdb.connect() as connection:
        for name, path in (("one", left), ("other", right)):
            connection.execute(f"attach '{path}' as {name} (read_only)")
        tables = "select database_name, table_name from duckdb_tables() where schema_name = 'marts' order by all"
        names = connection.execute(tables).fetchall()
        assert [table for base, table in names if base == "one"] == [table for base, table in names if base == "other"]
        for table in sorted({table for _, table in names}):
            excluded = apart_from.get(table)
            columns = f"* exclude ({', '.join(excluded)})" if excluded else "*"
            for a, b in (("one", "other"), ("other", "one")):
                sql = (
                    f"select count(*) from (select {columns} from {a}.marts.{table} "
                    f"except all select {columns} from {b}.marts.{table})"
                )
                count = connection.execute(sql).fetchone()[0]
                if count:
                    found[f"{table} ({a} only)"] = count
    return found


def instant(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class Tally:
    """What a life, or many of them, went through."""

    nights: int = 0
    runs: int = 0
    kills: int = 0
    faults: int = 0
    failed_runs: int = 0
    refused_answers: int = 0
    builds: int = 0
    events_compared: int = 0
    seat_rows_compared: int = 0
    months_closed: int = 0
    adjustments_compared: int = 0
    excused: Counter[str] = field(default_factory=Counter)

    def add(self, other: Tally) -> None:
        for name in self.__dataclass_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def __str__(self) -> str:
        excused = "; ".join(f"{count} {why}" for why, count in sorted(self.excused.items()))
        return (
            f"{self.nights} nights, {self.runs} runs, {self.kills} killed, {self.faults} faults served, "
            f"{self.failed_runs} failed as they should, {self.refused_answers} answers refused, {self.builds} builds, "
            f"{self.months_closed} months closed, {self.adjustments_compared} adjustments, "
            f"{self.seat_rows_compared} rows of seats and {self.events_compared} events compared; "
            f"not knowable: {excused or 'nothing'}"
        )


class Life:
    """One data folder and one organisation, drawn from a seed."""

    def __init__(self, seed: int, folder: Path, nights: int) -> None:
        self.random = Random(f"{seed}/life")
        self.seed, self.folder, self.night_count = seed, folder, nights
        self.tally = Tally()
        rng = self.random
        first_night = datetime(2026, rng.choice((5, 9, 11)), 1, 2, tzinfo=UTC) + timedelta(days=rng.randrange(28))
        self.start = (first_night - timedelta(days=rng.randrange(20, 41))).date()
        self.nights = list(self._draw_nights(first_night))
        self.behaviour = self._draw_behaviour()
        self.organisation = Organisation.invent(
            seed=seed,
            people=rng.randrange(6, 16),
            start=self.start - timedelta(days=rng.choice((0, 0, 10))),
            end=self.nights[-1].date() + timedelta(days=2),
            events_per_person_day=rng.choice((2.0, 5.0, 9.0)),
            groups=rng.randrange(2, 7),
            behaviour=self.behaviour,
        )
        self.server = SimulatorServer(self.organisation, now=self.nights[0], rate_limited=False)
        self.here = Installation(folder / "data", self.server.base_url, self.server.api_key, self.start)
        self.here.page_size = rng.choice((1000, 97, 23))  # in this process; a process of its own has the real one
        accounts = self.organisation.roster.service_accounts
        plan_from = self.organisation.start - timedelta(days=365)
        self.books = Books(
            plans=[(plan_from, self.behaviour.plan, Decimal(1))],
            mappings={one.service_account_id: list(one.mappings) for one in accounts},
        )

    def _draw_nights(self, night: datetime) -> Iterator[datetime]:
        for _ in range(self.night_count):
            yield night
            night += timedelta(days=self.random.choice((0, 1, 1, 1, 1, 1, 2, 3, 5)))  # repeated, nightly, skipped
            night += timedelta(minutes=self.random.randrange(90), seconds=self.random.randrange(60))

    def _draw_behaviour(self) -> Behaviour:
        rng = self.random
        pick = rng.choice
        days = [night.date() for night in self.nights]
        glitches = [
            Glitch(pick(days), pick(("groups", "groups", "members")), pick(("empty", "halved", "thinned")))
            for _ in range(rng.randrange(3))
        ]
        return Behaviour(
            hourly_freshness=pick((True, True, False)),
            restated_share=pick((0.05, 0.3)),
            late_share=pick((0.01, 0.15)),
            sibling_share=0.05,
            twin_share=pick((0.02, 0.1)),
            nameless_share=pick((0.0, 0.05)),
            blank_leavers=pick((True, True, False)),
            unknown_kind_share=pick((0.0, 0.03)),
            null_charge_share=pick((0.0, 0.03)),
            extra_fields=pick((True, False)),
            drift=pick((True, False)),
            event_retention_days=pick((None, None, 75)),
            plan=pick(("enterprise",) * 7 + ("teams",)),
            cycle_anchor_day=pick((1, 5, 14, 28)),
            wide_former_members=pick((True, False)),
            ended_stints_vanish=pick(("never", "never", "leavers", "always")),
            removed_members=pick(("flag", "vanish")),
            unassigned_lists_members=pick((True, False)),
            send_billing_cycle=pick((True, True, True, False)),
            numeric_member_ids=pick((True, False, False)),
            glitches=tuple(glitches),
            audit_vocabulary=pick(("current", "current", "spring")),
            audit_newest_first=pick((True, False)),
            audit_retention_days=pick((None, None, 30)),
        )

    def live(self) -> None:
        """Every night, then the checks that end a life. Raises AssertionError on the first difference."""
        rng = self.random
        closed_on = rng.randrange(len(self.nights))
        built_on = set(rng.sample(range(1, len(self.nights)), k=max(1, len(self.nights) // 5)))
        backup_on = rng.randrange(len(self.nights) - 1)
        with self.server:
            self.here.folder.mkdir(mode=0o700, parents=True)
            self.organisation.write_seeds(self.here.paths.seeds_dir)
            for number, night in enumerate(self.nights):
                self.server.set_now(night)
                self.tally.nights += 1
                if number and rng.random() < 0.35:
                    self._edit_seeds()
                if rng.random() < 0.4:
                    self._faulty_run(night)
                if rng.random() < 0.4:
                    self._killed_run(night, "run" if self.here.paths.published.exists() else "load")
                self._good_run("run" if number in built_on else "load", night)
                if number in built_on:
                    self.check_published(self.here)
                    self._lose_something()
                if number == closed_on:
                    close_a_month(self, night, self.oracle(self.here).events())
                if number == backup_on:
                    backup = self.here.copy_to(self.folder / "backup")
            self._end(backup)
        assert all(find_read(one.method, one.path) for one in self.server.requests)

    def _end(self, backup: Installation) -> None:
        night = self.nights[-1]
        self._good_run("build", night)
        self.check_published(self.here)
        incremental = self.folder / "incremental.duckdb"
        shutil.copyfile(self.here.paths.published, incremental)
        self._good_run("build", night, "--full-refresh")
        assert differences(incremental, self.here.paths.published) == {}, "an incremental life differs from a full one"
        shutil.rmtree(backup.paths.seeds_dir)
        shutil.copytree(self.here.paths.seeds_dir, backup.paths.seeds_dir)
        restored = backup.command("run", "--now", instant(night))
        assert restored == Outcome(0, "", ""), restored
        self.check_published(backup)
        # a day that was final in the backup is not read again, and one that is, says the same in both
        days = "select usage_date, count(*), sum(usage_cents) from marts.fct_usage_events group by all order by all"
        if self.behaviour.event_retention_days is None:
            assert backup.query(days) == self.here.query(days), "a restored backup does not lead to the same days"

    # what happens at night

    def _good_run(self, verb: str, night: datetime, *options: str) -> None:
        if verb != "build" and self.random.random() < 0.1:
            options = (*options, "--accept-shrink")
        outcome = self.here.command(verb, "--now", instant(night), *options)
        self.tally.runs += 1
        self.tally.builds += verb != "load"
        assert outcome == Outcome(0, "", ""), outcome
        if verb != "build":
            self.check_loaded(night)

    def _faulty_run(self, night: datetime) -> None:
        """A load with faults: either all is well in the end, or it says so in one line and can be run again."""
        rng = self.random
        is_fatal = rng.random() < 0.4
        faults = []
        for _ in range(1 if is_fatal else rng.randrange(1, 5)):
            path = rng.choice(ROUTES)
            after = rng.randrange(6) if path == ROUTES[0] else 0
            kind = rng.choice(FATAL if is_fatal else RETRIED)
            # a date long over and a second that is capped: both are waited for as briefly as any other
            retry_after = rng.choice((None, "Mon, 01 Jan 2024 00:00:00 GMT")) if kind == "429" else None
            faults.append(Fault(path, kind, after=after, times=1 if is_fatal else rng.randrange(1, 3)))
            faults[-1].retry_after = retry_after
        self.server.faults[:] = faults
        before = self.here.published_digest()
        outcome = self.here.command("load", "--now", instant(night))
        self.server.faults.clear()
        struck = [fault for fault in faults if fault.seen > fault.after]
        self.tally.runs += 1
        self.tally.faults += len(struck)
        self.tally.failed_runs += outcome.exit_code == 1
        assert self.here.published_digest() == before
        if is_fatal and outcome.exit_code != 0:
            assert outcome.exit_code == 1, outcome
            assert any(fault.path in outcome.stderr for fault in struck), outcome
            assert "Traceback" not in outcome.stderr, outcome
            assert "@example.com" not in outcome.stderr, outcome
            assert self.server.api_key not in outcome.stderr, outcome
        else:
            assert outcome == Outcome(0, "", ""), (faults, outcome)
            self.check_loaded(night)

    def _killed_run(self, night: datetime, verb: str) -> None:
        """SIGKILL while it loads, while dbt builds, or while the build is verified and moved into place."""
        rng = self.random
        phase = rng.choice(("load", "build", "publish")) if verb == "run" else "load"
        asked, wait = len(self.server.requests) + rng.randrange(1, 12), rng.random()
        results = self.here.paths.build_dir / "target" / "run_results.json"
        before = self.here.published_digest()
        process = self.here.start(verb, "--now", instant(night))
        results_before = results.stat().st_mtime_ns if results.exists() else 0

        def reached() -> bool:
            if phase == "load":
                return len(self.server.requests) >= asked
            if phase == "build":
                return self.here.paths.build_file.exists()
            return results.exists() and results.stat().st_mtime_ns != results_before

        while process.poll() is None and not reached():
            time.sleep(0.005)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(wait * {"load": 1.0, "build": 6.0, "publish": 0.4}[phase])
        process.send_signal(signal.SIGKILL)
        process.communicate()
        self.tally.runs += 1
        self.tally.kills += process.returncode == -signal.SIGKILL
        if self.here.published_digest() != before:
            assert verb == "run"
            assert self.here.query("select count(*) from marts.mart_publication") == [(1,)]

    def _edit_seeds(self) -> None:
        """Finance changes its mind: a service account gets another owner, the plan changes, or what a seat costs."""
        rng, seeds = self.random, self.here.paths.seeds_dir
        day = self.start + timedelta(days=rng.randrange(40))
        if rng.random() < 0.5:
            emails = [person.email for person in self.organisation.roster.persons]
            edit_seat_seeds(rng, seeds, emails, day)
            return
        if rng.random() < 0.5:
            account = rng.choice(self.organisation.roster.service_accounts).service_account_id
            group = rng.choice(self.organisation.roster.groups).group_id
            rows = self.books.mappings[account]
            rows[:] = [row for row in rows if row[0] != day] + [(day, group)]
            path, columns = seeds / "service_accounts.csv", ["", account, "", "", "", "", group, "", "", str(day)]
        else:
            rate = Decimal(rng.choice(("1", "0.8333", "0.5")))
            plan = rng.choice(("enterprise", "enterprise", "teams"))
            rows = self.books.plans
            rows[:] = [row for row in rows if row[0] != day] + [(day, plan, rate)]
            path, columns = seeds / "plans.csv", ["", plan, str(day), str(rate)]
        key = 1 if path.name == "service_accounts.csv" else None
        with path.open(newline="") as file:
            kept = [
                row for row in csv.reader(file) if str(day) not in row or (key is not None and row[key] != columns[key])
            ]
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([*kept, columns])

    def _lose_something(self) -> None:
        """What may be lost without harm: the working folder, or the newest generation of the published file."""
        draw, paths = self.random.random(), self.here.paths
        if draw < 0.25:
            shutil.rmtree(paths.build_dir)
        elif draw < 0.5 and paths.previous.exists():
            paths.published.unlink()
            shutil.copy2(paths.previous, paths.published)

    # what must be true

    def oracle(self, place: Installation) -> Oracle:
        warehouse = place.paths.warehouse
        reads = place.query(
            "select usage_date, read_number, read_at, batch_id, row_count from raw.load_windows "
            "where outcome in ('landed', 'unchanged')",
            warehouse,
        )
        answers = place.query(
            "select resource, read_at, cycle_start_at, is_current_cycle from raw.snapshot_reads "
            "where outcome in ('landed', 'unchanged') and resource in ('billing_groups', 'members')",
            warehouse,
        )
        return Oracle(
            self.organisation,
            [DayRead(day, number, at.replace(tzinfo=UTC), batch, rows) for day, number, at, batch, rows in reads],
            [
                AcceptedAnswer(resource, at.replace(tzinfo=UTC), start and start.replace(tzinfo=UTC), is_current)
                for resource, at, start, is_current in answers
            ],
            self.books,
        )

    def check_loaded(self, night: datetime) -> None:
        """What had to be read was read tonight, and every stored day is the API's as of its last complete read."""
        warehouse = self.here.paths.warehouse
        oracle = self.oracle(self.here)
        tonight = {
            row[0]
            for row in self.here.query(
                f"select usage_date from raw.load_windows where read_at = timestamp '{night:%Y-%m-%d %H:%M:%S}'",
                warehouse,
            )
        }
        today = night.date()
        for offset in range((today - self.start).days + 1):
            day = self.start + timedelta(days=offset)
            final_from = datetime.combine(day, datetime.min.time(), UTC) + timedelta(days=3)
            reads = [read for read in oracle.reads if read.day == day and read.at < night]
            is_final = any(read.at >= final_from for read in reads)
            if not is_final or offset >= (today - self.start).days - LOOKBACK_DAYS:
                assert day in tonight or day == today, f"{day} was not read at {night}"
        stored = self.here.query(
            "with newest as (select usage_date, max(read_number) as read_number from raw.load_windows "
            "where outcome in ('landed', 'unchanged') group by 1) "
            "select load_windows.usage_date, count(usage_events.batch_id), "
            "coalesce(sum(usage_events.charged_cents), 0) "
            "from raw.load_windows join newest using (read_number) "
            "left join raw.usage_events on usage_events.batch_id = load_windows.batch_id group by 1 order by 1",
            warehouse,
        )
        for day, count, cents in stored:
            events, now = oracle.shown(oracle.current(day))
            true_cents = Decimal(sum(event.price_at(now).charged or 0 for event in events)) / 1_000_000
            assert (count, cents) == (len(events), true_cents), f"{day}: {count} events of {cents} cents are stored"
        self.tally.refused_answers = self.here.query(
            "select count(*) from raw.snapshot_reads where outcome = 'refused'", warehouse
        )[0][0]

    def check_published(self, place: Installation) -> None:
        """Every row of every day, and the group of every single event."""
        oracle = self.oracle(place)
        published: dict[date, Counter[tuple]] = {}
        rows = place.query(f"select usage_date, {EVENT_COLUMNS} from marts.fct_usage_events")
        for day, *row in rows:
            published.setdefault(day, Counter())[tuple(row)] += 1
        expected = oracle.events()
        for day in sorted({*published, *expected}):
            wanted = Counter(one.row for one in expected.get(day, []))
            found = published.get(day, Counter())
            assert found == wanted, _explained(day, wanted, found)
        for day_events in expected.values():
            for one in day_events:
                if one.row[17] != oracle.true_group(one.event):
                    why = oracle.excuse(one)
                    assert why, f"{one.row} belongs to {oracle.true_group(one.event)}, and nothing hides it"
                    self.tally.excused[why] += 1
        self.tally.events_compared += len(rows)
        keys = place.query("select count(*), count(distinct usage_event_id) from marts.fct_usage_events")
        assert keys == [(len(rows), len(rows))]
        seats, adjustments = check_seats(place, seat_oracle(place, oracle, expected))
        self.tally.seat_rows_compared += seats
        self.tally.adjustments_compared += adjustments


def _explained(day: date, wanted: Counter[tuple], found: Counter[tuple]) -> str:
    missing, surplus = wanted - found, found - wanted
    shown = [f"  expected {row}" for row in sorted(missing, key=repr)[:4]]
    shown += [f"  found    {row}" for row in sorted(surplus, key=repr)[:4]]
    return f"{day}: {sum(missing.values())} rows missing, {sum(surplus.values())} surplus\n" + "\n".join(shown)


def last_run(place: Installation) -> dict:
    return json.loads(place.paths.runs.read_text().splitlines()[-1])
