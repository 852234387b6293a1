"""The command line: what it prints, where, and with which exit code."""

from __future__ import annotations

import csv
import functools
import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pendulum
import pytest
from click.testing import CliRunner
from published import make_published

from pipelines import cli as command_line
from pipelines.cli import cli, run_command, scrub
from pipelines.paths import data_paths
from pipelines.runs import RunRecord, append_run, read_runs, run_lock
from pipelines.simulator import Organisation, SimulatorServer

PROJECT_DIR = Path(__file__).resolve().parents[1]
KEY = "crsr_0123456789abcdef"
MONTH = {"team": "acme", "charge_month": "2026-10-01"}
GROUPS = [
    {
        **MONTH,
        "billing_group_id": "group_b",
        "billing_group_name": "=HYPERLINK(x)",
        "member_count": 1,
        "active_member_count": 1,
        "usage_cents": 5000,
        "included_cents": 1000,
        "on_demand_cents": 4000,
        "automation_cents": "0.4",
        "billed_usd": "40.00",
        "billed_usd_previous_month": "50.00",
    },
    {
        **MONTH,
        "billing_group_id": "group_a",
        "billing_group_name": "Search & <Relevance> [red]",
        "member_count": 2,
        "active_member_count": 2,
        "average_seats": "1.548387",
        "usage_cents": 12345,
        "included_cents": 0,
        "on_demand_cents": "12345.5",
        "automation_cents": 100,
        "billed_usd": "120.00",
        "billed_usd_previous_month": None,
    },
]
LINE = {**MONTH, "is_provisional": True, "is_closed": False}
CHARGES = [
    {**LINE, "billing_group_id": "group_a", "charge_type": "usage", "billed_usd": "90.00", "billed_share": "0.5625"},
    {**LINE, "billing_group_id": "group_a", "charge_type": "seat", "billed_usd": "30.00", "billed_share": "0.1875"},
    {**LINE, "billing_group_id": "group_b", "charge_type": "usage", "billed_usd": "41.00", "billed_share": "0.25625"},
    {
        **LINE,
        "billing_group_id": "group_b",
        "charge_type": "adjustment",
        "adjusts_month": "2026-09-01",
        "adjusts_charge_type": "usage",
        "billed_usd": "-1.00",
        "billed_share": "-0.00625",
    },
]
SEAT = {"team": "acme", "seat_date": "2026-10-31", "seat_type": "standard", "seat_price_status": "priced"}
SEATS = [
    {**SEAT, "billing_group_id": "group_a", "seat_status": "taken", "seat_evidence": "roster_snapshot",
     "seat_count": 1, "seat_cents": 1500},
    {**SEAT, "billing_group_id": "group_a", "seat_status": "held_after_removal", "seat_evidence": "carried_forward",
     "seat_count": 1, "seat_cents": 1500},
    {**SEAT, "billing_group_id": "group_b", "seat_status": "committed_unused", "seat_count": 3, "seat_cents": 4500},
    {**SEAT, "billing_group_id": "group_b", "seat_status": "taken", "seat_evidence": "audit_log",
     "seat_price_status": "not_priced", "seat_count": 1},
    {**SEAT, "billing_group_id": "group_a", "seat_status": "taken", "seat_evidence": "audit_log",
     "seat_date": "2026-11-01", "seat_count": 1, "seat_cents": 1500},
]  # fmt: skip


@pytest.fixture(autouse=True)
def paths(tmp_path, monkeypatch):
    """An own data folder, and no setting of whoever runs the tests."""
    for name in [name for name in os.environ if name.startswith(("CHARGEBACK__", "SOURCES__"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CHARGEBACK__DATA_DIR", str(tmp_path / "data"))
    return data_paths(tmp_path / "data")


@pytest.fixture
def month(paths):
    """October as published: two groups, one person in both, one unpriced event, provisional."""
    people = [("ada", "group_a", "u1"), ("bob", "group_a", "u2"), ("ada", "group_b", "u1")]
    make_published(
        paths.published,
        {
            "mart_group_months": GROUPS,
            "fct_monthly_chargeback": CHARGES,
            "fct_daily_seat_costs": SEATS,
            "dim_billing_groups": [
                {
                    "team": "acme",
                    "billing_group_id": "group_a",
                    "cost_center": "CC-1010",
                    "gl_account": "640100",
                    "owner": "+ada@example.com",
                },
                {"team": "acme", "billing_group_id": "group_b", "cost_center": "CC-1020"},
            ],
            "mart_load_coverage": [
                {
                    "team": "acme",
                    "resource": "usage_events",
                    "coverage_date": day,
                    "status": "final" if day < "2026-10-30" else "provisional",
                }
                for day in ("2026-10-29", "2026-10-30", "2026-10-31", "2026-11-01")
            ],
            "dim_group_memberships": [
                {
                    "team": "acme",
                    "user_email": f"{name}@example.com",
                    "billing_group_id": group,
                    "valid_from_at": "2026-10-01" if group == "group_a" else "2026-10-20",
                    "valid_to_at": "9999-12-31",
                }
                for name, group, _ in people
            ],
            "dim_users": [
                {"team": "acme", "user_email": f"{name}@example.com", "user_id": user_id}
                for name, _, user_id in people[:2]
            ],
            "fct_daily_charges": [
                {
                    **MONTH,
                    "billing_group_id": group,
                    "actor_type": "member",
                    "user_email": f"{name}@example.com",
                    "model": "model-one",
                    "surface": "interactive",
                    "charge_type": "usage",
                    "event_count": 1,
                    "usage_cents": "6000.5",
                    "billed_cents": "4500",
                }
                for name, group, _ in people
            ]
            + [
                {
                    **MONTH,
                    "billing_group_id": "group_a",
                    "actor_type": "member",
                    "user_email": "bob@example.com",
                    "charge_type": "seat",
                    "event_count": 0,
                    "usage_cents": 0,
                    "billed_cents": "3000",
                }
            ]
            + [
                {
                    **MONTH,
                    "billing_group_id": "group_b",
                    "charge_type": charge_type,
                    "event_count": events,
                    "model": model,
                    "surface": model,
                    "usage_cents": 0,
                    "billed_cents": cents,
                }
                for charge_type, model, events, cents in (
                    ("seat", None, 0, 300),
                    ("adjustment", None, 0, -100),
                    ("usage", "model-one", 1, 200),
                )
            ],
            "fct_usage_events": [
                {"team": "acme", "usage_month": "2026-10-01", "billing_group_id": "group_a", "is_unpriced": True}
            ],
        },
    )


def chargeback(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pipelines.cli", *arguments],
        cwd=PROJECT_DIR,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def told(capsys, *arguments: str) -> tuple[int, str, str]:
    code = run_command(list(arguments))
    out, err = capsys.readouterr()
    return code, out, err


# -- report ----------------------------------------------------------------------------------------------------------


def test_a_month_is_a_table_with_a_total_and_what_must_be_known_about_it(capsys, month):
    code, out, err = told(capsys, "report", "--month", "2026-10")
    lines = [re.split(r"\s{2,}", line.strip()) for line in out.splitlines() if line.strip()]
    assert (code, err) == (0, "")
    assert lines[0] == ["Chargeback 2026-10"]
    assert lines[1] == [
        "Billing group", "Cost centre", "GL account", "Owner", "Members", "Active", "Seats", "On demand", "Included",
        "Automation", "Usage USD", "Seat USD", "Adjusted USD", "Billed USD", "Share", "Change",
    ]  # fmt: skip
    assert lines[3:6] == [
        ["Search & <Relevance> [red]", "CC-1010", "640100", "+ada@example.com", "2", "2", "1.5", "123.46", "0.00",
         "1.00", "90.00", "30.00", "120.00", "75.0 %"],
        ["=HYPERLINK(x)", "CC-1020", "1", "1", "40.00", "10.00", "0.00", "41.00", "-1.00", "40.00", "25.0 %", "-10.00"],
        ["Total", "2", "2", "1.5", "163.46", "10.00", "1.00", "131.00", "30.00", "-1.00", "160.00", "100.0 %",
         "-10.00"],
    ]  # fmt: skip
    assert [line[0] for line in lines[7:]] == [
        "Provisional: 2 days of 2026-10 (2026-10-30, 2026-10-31) can still change. Complete through 2026-11-15.",
        "1 event without a price yet: counted as 0.",
        "Seats are an estimate from the prices in seat_prices.csv: 3 seat-days, 1 on a roster read that day, 1 carried "
        "forward from an earlier one, 1 on the audit log alone.",
        "1 seat-day without a price: seat_prices.csv has no row for the team, so seats cost nothing here.",
        "Committed seats not taken: 3 seat-days, 45.00 USD, on Unattributed.",
        "Adjusts usage of 2026-09, which is closed, by -1.00 USD.",
    ]


def test_a_closed_month_says_that_it_is_closed_and_seats_that_nothing_shows_are_said_too(capsys, paths):
    closed = [{**CHARGES[0], "is_provisional": False, "is_closed": True}]
    make_published(paths.published, {"mart_group_months": GROUPS[1:], "fct_monthly_chargeback": closed})
    code, out, _ = told(capsys, "report", "--month", "2026-10")
    assert code == 0
    assert out.splitlines()[-2:] == [
        "Closed: these lines do not change any more; what is found later adjusts the first open month.",
        "Seats: nothing shows who held one this month; none is in it.",
    ]


def test_one_group_is_shown_by_model_surface_and_person(capsys, month):
    code, out, _ = told(capsys, "report", "--month", "2026-10", "--group", "group_a")
    lines = [re.split(r"\s{2,}", line.strip()) for line in out.splitlines() if line.strip()]
    start = lines.index(["By model", "Events", "Value USD", "Billed USD"])
    assert code == 0
    assert [line for line in lines[start:] if len(line) == 4] == [
        ["By model", "Events", "Value USD", "Billed USD"],
        ["model-one", "2", "120.01", "90.00"],
        ["(seat)", "0", "0.00", "30.00"],
        ["By surface", "Events", "Value USD", "Billed USD"],
        ["interactive", "2", "120.01", "90.00"],
        ["(seat)", "0", "0.00", "30.00"],
        ["By person", "Events", "Value USD", "Billed USD"],
        ["bob@example.com", "1", "60.00", "75.00"],
        ["ada@example.com", "1", "60.00", "45.00"],
    ]
    code, out, _ = told(capsys, "report", "--month", "2026-10", "--group", "group_a", "--format", "json")
    assert json.loads(out)["parts"][1] == {
        "breakdown": "model",
        "name": "(seat)",
        "event_count": 0,
        "usage_cents": "0.000000",
        "billed_cents": "3000.000000",
    }
    code, out, _ = told(capsys, "report", "--month", "2026-10", "--group", "group_a", "--format", "html")
    assert '<tr><td class="text">bob@example.com</td><td>1</td><td>60.00</td><td>75.00</td></tr>' in out


def test_what_no_person_caused_has_a_name_in_the_parts_too(capsys, month):
    code, out, _ = told(capsys, "report", "--month", "2026-10", "--group", "group_b", "--format", "json")
    parts = [(part["breakdown"], part["name"], part["billed_cents"]) for part in json.loads(out)["parts"]]
    assert code == 0
    assert [(name, cents) for breakdown, name, cents in parts if breakdown == "person"] == [
        ("ada@example.com", "4500.000000"),
        ("(committed seats not taken)", "300.000000"),
        ("(nobody named)", "200.000000"),
        ("(adjustment)", "-100.000000"),
    ]


def test_csv_has_no_total_and_no_cell_that_a_spreadsheet_would_run(capsys, month):
    code, out, _ = told(capsys, "report", "--month", "2026-10", "--format", "csv")
    assert code == 0
    assert list(csv.reader(io.StringIO(out)))[1:] == [
        ["2026-10-01", "acme", "group_a", "Search & <Relevance> [red]", "CC-1010", "640100", "'+ada@example.com", "2",
         "2", "1.548387", "123.46", "0.00", "1.00", "90.00", "30.00", "", "120.00", "0.750000", ""],
        ["2026-10-01", "acme", "group_b", "'=HYPERLINK(x)", "CC-1020", "", "", "1", "1", "", "40.00", "10.00", "0.00",
         "41.00", "", "-1.00", "40.00", "0.250000", "-10.00"],
    ]  # fmt: skip


def test_html_is_escaped(capsys, month):
    code, out, _ = told(capsys, "report", "--month", "2026-10", "--format", "html")
    assert code == 0
    assert '<td class="text">Search &amp; &lt;Relevance&gt; [red]</td><td class="text">CC-1010</td>' in out
    assert '<tr class="total"><td class="text">Total</td>' in out


def test_json_keeps_money_exact_and_one_group_can_be_asked_for(capsys, month):
    code, out, _ = told(capsys, "report", "--month", "2026-10", "--format", "json", "--group", "GROUP_B")
    document = json.loads(out)
    assert code == 0
    assert document["charge_month"] == "2026-10-01"
    assert [(line["billing_group_id"], line["billed_usd"], line["change_usd"]) for line in document["groups"]] == [
        ("group_b", "40.00", "-10.00")
    ]
    assert document["total"]["billed_usd"] == "40.00"


def test_a_report_can_go_to_a_file(capsys, month, tmp_path):
    target = tmp_path / "october.csv"
    assert told(capsys, "report", "--month", "2026-10", "--format", "csv", "--output", str(target)) == (0, "", "")
    assert target.read_text().startswith(
        "charge_month,team,billing_group_id,billing_group_name,cost_center,gl_account,owner,"
    )


def test_what_is_not_there_is_said_with_what_is(capsys, month):
    assert told(capsys, "report", "--month", "2026-08") == (
        1, "", "No data for 2026-08: the published file holds 2026-10 to 2026-10.\n",
    )  # fmt: skip
    assert told(capsys, "report", "--month", "2026-10", "--group", "Payments") == (
        1, "", "No group 'Payments' in 2026-10. There are: =HYPERLINK(x), Search & <Relevance> [red].\n",
    )  # fmt: skip


def test_before_the_first_run_there_is_nothing_to_report(capsys, paths):
    assert told(capsys, "report", "--month", "2026-10") == (
        1, "", f"Nothing is published yet at {paths.published}. Run `chargeback run` first.\n",
    )  # fmt: skip


# -- status ----------------------------------------------------------------------------------------------------------


def record(**values: object) -> RunRecord:
    now = pendulum.now("UTC").to_iso8601_string()
    defaults = {"run_id": "run-1", "command": "run", "now": now, "started_at": now, "ended_at": now, "published": True}
    return RunRecord(**{**defaults, "result": "ok", "exit_code": 0, "load": {}, **values})


def covered(paths, **row: object) -> None:
    paths.published.unlink(missing_ok=True)
    day = {"team": "acme", "resource": "usage_events", "coverage_date": "2026-11-14", "status": "final"}
    make_published(paths.published, {"mart_load_coverage": [{**day, "suspect_read_count": 0, **row}]})


def test_status_is_well_after_a_good_night(capsys, paths):
    covered(paths)
    append_run(paths, record())
    code, out, err = told(capsys, "status")
    assert (code, err) == (0, "")
    assert out.startswith("All is well: last good run 0.0 hours ago.\n")


def test_status_exits_1_for_everything_that_needs_a_person(capsys, paths):
    covered(paths, status="missing", suspect_read_count=2)
    append_run(paths, record(ended_at="2026-01-01T02:00:00Z"))
    append_run(
        paths,
        record(
            run_id="run-2",
            result="failed",
            published=False,
            error="The build did not pass",
            failing=["unique_grain_x"],
            refused_snapshots=["acme: the answer for members shrank"],
        ),
    )
    code, out, _ = told(capsys, "status", "--format", "json")
    found = json.loads(out)
    assert (code, found["is_well"], found["failing"]) == (1, False, ["unique_grain_x"])
    severities = [one["severity"] for one in found["attention"]]
    assert severities == ["run", "checks", "missing", "missing", "kept_aside", "kept_aside"]
    failed, checks, stale, missing, refused, suspect = (one["message"] for one in found["attention"])
    assert re.match(r"The last good run is \d+ hours old \(CHARGEBACK__STALE_HOURS is 36\)\.", stale)
    assert failed == "The last run (run, run-2) failed: The build did not pass"
    assert checks == "Checks that did not pass: unique_grain_x."
    assert refused == "acme: the answer for members shrank"
    assert missing == ("acme: 1 days were never read completely (2026-11-14). Run `chargeback run --since 2026-11-14`.")
    assert suspect == (
        "acme: 1 final days answered far fewer events and are kept as they were (2026-11-14). "
        "If that is right, run `chargeback run --accept-shrink --since 2026-11-14`."
    )


def test_the_open_day_may_be_missing(capsys, paths):
    covered(paths, status="missing", coverage_date="2026-11-16")
    append_run(paths, record())
    assert told(capsys, "status")[0] == 0


def test_a_refused_snapshot_shows_as_long_as_it_is_the_last_answer(capsys, paths):
    covered(paths, resource="members", status="refused")
    append_run(paths, record())
    code, out, _ = told(capsys, "status")
    assert code == 1
    assert out.startswith("! acme: the last answer for members shrank sharply and was refused;")


def test_status_reports_a_broken_published_file_and_an_empty_folder(capsys, paths):
    code, out, _ = told(capsys, "status")
    assert (code, out) == (1, "! Nothing has run yet. Run `chargeback run`, or `chargeback demo` for sample data.\n")
    paths.published.parent.mkdir()
    paths.published.write_bytes(b"not a database")
    append_run(paths, record())
    code, out, _ = told(capsys, "status")
    assert code == 1
    assert out.startswith(f"! The published file {paths.published} is not a DuckDB file that can be read")


# -- wrong use and errors --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["report", "--month", "2026-13"], "'2026-13' is not a month. Write it as 2026-10."),
        (["report"], "Missing option '--month'."),
        (["run", "--since", "01.10.2026"], "'01.10.2026' is not a date. Write it as 2026-11-01."),
        (["run", "--since", "2026-02-30"], "'2026-02-30' is not a date. Write it as 2026-11-01."),
        (["run", "--now", "tomorrow"], "'tomorrow' is not an instant. Write it as 2026-11-16T02:00:00Z."),
        (["run", "--now", "12:00"], "'12:00' is not an instant. Write it as 2026-11-16T02:00:00Z."),
        (["reopen"], "No such command 'reopen'."),
    ],
)
def test_wrong_arguments_are_exit_2_and_say_what_is_wanted(capsys, arguments, message):
    code, out, err = told(capsys, *arguments)
    assert (code, out) == (2, "")
    assert message in err


def test_without_a_key_nothing_is_tried(capsys, paths):
    code, out, err = told(capsys, "run")
    assert (code, out) == (2, "")
    assert err.startswith("No API key. Set api_key under [sources.cursor_admin] in .dlt/secrets.toml,")


@pytest.fixture
def simulator():
    organisation = Organisation.invent(people=6, events_per_person_day=1.0)
    with SimulatorServer(organisation, now=pendulum.datetime(2026, 11, 16, 2), rate_limited=False) as server:
        yield server


@pytest.fixture
def settings(simulator, monkeypatch):
    monkeypatch.setenv("SOURCES__CURSOR_ADMIN__API_KEY", simulator.api_key)
    monkeypatch.setenv("SOURCES__CURSOR_ADMIN__BASE_URL", simulator.base_url)
    monkeypatch.setenv("SOURCES__CURSOR_ADMIN__RATE_LIMIT_PER_MINUTE", "0")
    monkeypatch.setenv("SOURCES__CURSOR_ADMIN__START_DATE", "2026-11-13")


def test_without_a_plan_no_request_is_made(capsys, paths, simulator, settings):
    code, out, err = told(capsys, "run", "--now", "2026-11-16T02:00:00Z")
    assert (code, out) == (2, "")
    assert err.startswith("No plan is set for team default, and it decides what included usage costs:")
    assert simulator.requests == []
    assert read_runs(paths)[-1].exit_code == 2


def test_a_broken_seed_is_wrong_use_before_any_request(capsys, paths, simulator, settings):
    paths.seeds_dir.mkdir(parents=True)
    (paths.seeds_dir / "plans.csv").write_text("team,plan,valid_from_date,usage_rate\n,gold,,\n")
    code, _, err = told(capsys, "run", "--now", "2026-11-16T02:00:00Z")
    assert code == 2
    assert err == (f"plans.csv in {paths.seeds_dir}, line 2, column plan: 'gold' is not one of teams, enterprise.\n")
    assert simulator.requests == []


def test_now_is_for_loopback_only(capsys, monkeypatch):
    monkeypatch.setenv("SOURCES__CURSOR_ADMIN__API_KEY", KEY)
    for command in (["run"], ["load"], ["build"], ["close", "2026-10"]):
        code, _, err = told(capsys, *command, "--now", "2026-11-16")
        assert code == 2
        assert err.startswith("--now stands in for the clock only against a server on loopback")


def test_a_night_says_nothing_and_a_past_now_and_a_second_run_are_refused(paths, settings):
    night = ("--now", "2026-11-16T02:00:00Z")
    assert chargeback("load", *night).returncode == 0
    done = chargeback("run", *night, CHARGEBACK__PLAN="enterprise")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    refused = chargeback("load", "--now", "2026-11-16T01:59:59Z")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr == (
        "--now 2026-11-16T01:59:59Z is earlier than the last run, at 2026-11-16T02:00:00Z: what was read then cannot "
        "be unread. Give a later instant, or another CHARGEBACK__DATA_DIR.\n"
    )
    with run_lock(paths, "run"):
        locked = chargeback("load", *night)
    assert (locked.returncode, locked.stdout) == (75, "")
    assert locked.stderr.startswith(f"`chargeback run` (process {os.getpid()}, since ")
    logs = "".join(path.read_text() for path in paths.logs_dir.iterdir())
    assert "passed" in logs
    assert os.environ["SOURCES__CURSOR_ADMIN__API_KEY"] not in logs
    assert all(path.stat().st_mode & 0o077 == 0 for path in paths.data_dir.iterdir() if path != paths.published)


def test_an_unexpected_error_is_one_line_and_its_traceback_is_scrubbed(capsys, paths, monkeypatch):
    monkeypatch.setenv("SOURCES__CURSOR_ADMIN__API_KEY", KEY)

    def broken(*_: object) -> None:
        raise ZeroDivisionError(f"key {KEY} of ada.lovelace@example.com")

    monkeypatch.setattr(command_line.statuses, "read_status", broken)
    code, out, err = told(capsys, "status")
    (log,) = paths.logs_dir.iterdir()
    assert (code, out) == (1, "")
    assert err == (
        "Unexpected ZeroDivisionError; what is published stays as it was. "
        f"The traceback is in {log}. Please report it.\n"
    )
    assert "ZeroDivisionError: key *** of ***@***" in log.read_text()
    assert KEY not in log.read_text()


def test_a_key_is_scrubbed_in_the_form_that_travels_too(monkeypatch):
    monkeypatch.setenv("SOURCES__CURSOR_ADMIN__API_KEY", "k")
    assert scrub("Basic azo=") == "Basic ***"


def test_every_help_ends_with_an_example_of_its_command():
    names = {"demo", "run", "load", "build", "report", "close", "backup", "restore", "status", "doctor", "simulate"}
    for name in names:
        text = CliRunner().invoke(cli, [name, "--help"]).output
        example, command = text.rstrip().splitlines()[-2:]
        assert (example.strip(), command.split()[:2]) == ("Example:", ["chargeback", name])
    assert set(cli.commands) == names


def test_the_simulator_says_how_to_use_it_and_ends_with_ctrl_c(tmp_path):
    command = [sys.executable, "-m", "pipelines.cli", "simulate", "--people", "5", "--seeds-dir", str(tmp_path / "s")]
    # in the background of a script, Ctrl-C is ignored by what inherits it
    ctrl_c_heeded = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(command, cwd=PROJECT_DIR, stdout=subprocess.PIPE, text=True, preexec_fn=ctrl_c_heeded)
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(8)]
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 0
    assert re.match(r"Serving on http://127\.0\.0\.1:\d+ at 2026-11-16T02:00:00Z\. Stop with Ctrl-C\.", lines[0])
    assert lines[4].startswith("  export SOURCES__CURSOR_ADMIN__API_KEY=crsr_")
    assert lines[7] == "  chargeback run --now 2026-11-16T02:00:00Z\n"
    assert (tmp_path / "s" / "plans.csv").exists()
