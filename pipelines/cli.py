"""The command line: reads arguments, calls one function per command, and turns errors into exit codes.

Results go to stdout, progress to stderr, and only on a terminal. Exit codes: 0 done, 1 failed, 2 wrong use, 75 another
run holds the lock.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
import traceback
from base64 import b64encode
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import click
import pendulum
from rich.console import Console

from pipelines import backup as backups
from pipelines import close as closing
from pipelines import doctor as doctors
from pipelines import report as reports
from pipelines import status as statuses
from pipelines import status_text
from pipelines.config import Settings, TeamSettings, configured_keys, load_settings, load_team_settings
from pipelines.errors import ApiError, ChargebackError, ConfigError, LockedError, RefusedRequestError
from pipelines.nightly import RunOptions
from pipelines.nightly import run as run_night
from pipelines.paths import data_paths
from pipelines.runs import Clock, Progress, file_error_message, new_run_id, usable

OK, FAILED, WRONG_USE, LOCKED = 0, 1, 2, 75
WIDTH_WITHOUT_TERMINAL = 160
EMAIL = re.compile(r"[\w.+'-]+@[\w-]+(?:\.[\w-]+)+")


def _instant(_: click.Context, __: click.Parameter, value: str | None) -> pendulum.DateTime | None:
    """An ISO instant; UTC when it names no zone."""
    if value is None:
        return None
    with contextlib.suppress(ValueError):
        moment = pendulum.parse(value, exact=True)
        if isinstance(moment, pendulum.DateTime):
            return moment.in_timezone("UTC")
        if isinstance(moment, pendulum.Date):
            return pendulum.datetime(moment.year, moment.month, moment.day)
    raise click.BadParameter(f"{value!r} is not an instant. Write it as 2026-11-16T02:00:00Z.")


def _date(_: click.Context, __: click.Parameter, value: str | None) -> date | None:
    if value is None:
        return None
    with contextlib.suppress(ValueError):
        day = date.fromisoformat(value)
        if day.isoformat() == value:
            return day
    raise click.BadParameter(f"{value!r} is not a date. Write it as 2026-11-01.")


def _month(_: click.Context, __: click.Parameter, value: str) -> date:
    with contextlib.suppress(ValueError):
        if re.fullmatch(r"\d{4}-\d{2}", value):
            return date.fromisoformat(f"{value}-01")
    raise click.BadParameter(f"{value!r} is not a month. Write it as 2026-10.")


def _month_argument(context: click.Context, parameter: click.Parameter, value: str | None) -> date | None:
    return None if value is None else _month(context, parameter, value)


def _example(text: str) -> str:
    return f"\b\nExample:\n  {text}"


def _options(*options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def decorate(function: Any) -> Any:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


NOW = click.option(
    "--now", metavar="INSTANT", callback=_instant, help="Stand in for the clock; only against a server on loopback."
)
READING = _options(
    click.option("--since", metavar="DATE", callback=_date, help="Read the API again back to that day."),
    click.option("--accept-shrink", is_flag=True, help="Believe answers that hold far less than before."),
    click.option("--new-team", is_flag=True, help="Allow a team that is new to a warehouse holding data."),
)
FULL_REFRESH = click.option("--full-refresh", is_flag=True, help="Rebuild every table from raw.")


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=_example("chargeback demo"),
)
@click.version_option(package_name="cursor-chargeback", prog_name="chargeback")
def cli() -> None:
    """Who caused Cursor's bill: per month and billing group, to the cent."""


@cli.command(epilog=_example("chargeback demo"))
@NOW
def demo(now: pendulum.DateTime | None) -> None:
    """Run the whole path on an invented company; needs no key. Its files are in data/demo/."""
    from pipelines.demo import run_demo  # the simulator is nobody else's business

    paths = data_paths("data/demo")
    now = run_demo(paths, now)
    month = now.date().replace(day=1).subtract(days=1).replace(day=1)  # the last one that is over
    _print_report(reports.read_report(paths, month))
    shown = paths.published.relative_to(Path.cwd()) if paths.published.is_relative_to(Path.cwd()) else paths.published
    click.echo(f"\nOpen it read-only with any DuckDB client: {shown}")
    click.echo("For example, who spent most on one day:\n")
    click.echo(
        "  select charge_date, billing_group_name, user_email, sum(billed_cents) / 100 as billed_usd\n"
        "  from marts.fct_daily_charges\n"
        "  group by all order by billed_usd desc limit 10;"
    )


@cli.command(epilog=_example("chargeback run --since 2026-10-01"))
@READING
@FULL_REFRESH
@NOW
def run(
    since: date | None, accept_shrink: bool, new_team: bool, full_refresh: bool, now: pendulum.DateTime | None
) -> None:
    """Load, build, test and publish: the nightly job. Says nothing when all is well and nobody looks."""
    options = RunOptions("run", since=since, accept_shrink=accept_shrink, new_team=new_team, full_refresh=full_refresh)
    _run(options, now)


@cli.command(epilog=_example("chargeback load --since 2026-10-01"))
@READING
@NOW
def load(since: date | None, accept_shrink: bool, new_team: bool, now: pendulum.DateTime | None) -> None:
    """Read the API into the warehouse, and no more."""
    _run(RunOptions("load", builds=False, since=since, accept_shrink=accept_shrink, new_team=new_team), now)


@cli.command(epilog=_example("chargeback build --full-refresh"))
@FULL_REFRESH
@NOW
def build(full_refresh: bool, now: pendulum.DateTime | None) -> None:
    """Build, test and publish from what is in the warehouse; sends no request."""
    _run(RunOptions("build", loads=False, full_refresh=full_refresh), now)


@cli.command(epilog=_example("chargeback report --month 2026-10 --format csv --output october.csv"))
@click.option("--month", metavar="MONTH", callback=_month, required=True, help="Such as 2026-10.")
@click.option("--group", help="One billing group, by name or id.")
@click.option("--format", "form", type=click.Choice(list(reports.FORMATS)), default="table", show_default=True)
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write to this file, not to stdout.")
def report(month: date, group: str | None, form: str, output: Path | None) -> None:
    """Print one month per billing group."""
    found = reports.read_report(load_settings().paths, month, group)
    if output is not None:
        with usable(output):
            output.write_text(reports.FORMATS[form](found), encoding="utf-8")
    elif form == "table":
        _print_report(found)
    else:
        click.echo(reports.FORMATS[form](found), nl=False)


@cli.command("close", epilog=_example("chargeback close 2026-10"))
@click.argument("month", metavar="MONTH", callback=_month_argument, required=False)
@click.option("--team", metavar="SLUG", help="One team; default: every team.")
@click.option("--list", "lists", is_flag=True, help="Show what is closed, and close nothing.")
@click.option("--force", is_flag=True, help="Close although days are missing or provisional; recorded with your name.")
@NOW
def close_month(month: date | None, team: str | None, lists: bool, force: bool, now: pendulum.DateTime | None) -> None:
    """Freeze MONTH (such as 2026-10) as it is published; what is found later becomes an adjustment."""
    settings = load_settings()
    if lists:
        if month is not None or force or now is not None:
            raise click.UsageError("--list shows what is closed, and takes --team alone.")
        _stdout().print(closing.closed_table(closing.list_closed(settings.paths, team)))
        return
    if month is None:
        raise click.UsageError("Missing argument 'MONTH', such as 2026-10; or say --list.")
    _refuse_clock([settings], now)
    for line in closing.close(settings, month, team=team, is_forced=force, clock=Clock(now)):
        click.echo(line)


FOLDER = click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))


@cli.command(epilog=_example("chargeback backup /mnt/backup/chargeback"))
@FOLDER
@click.option("--keep", type=click.IntRange(1, 1000), default=7, show_default=True, help="How many backups DIR holds.")
def backup(folder: Path, keep: int) -> None:
    """Write what cannot be fetched again to a new folder in DIR: Parquet, your seed files, and their checksums."""
    backups.backup(load_settings().paths, folder, keep)


@cli.command(epilog=_example("chargeback restore /mnt/backup/chargeback"))
@FOLDER
def restore(folder: Path) -> None:
    """Fill an empty data folder from the newest backup in DIR, or from the one that DIR is. Then `chargeback run`."""
    click.echo(backups.restore(load_settings().paths, folder))


@cli.command(epilog=_example("chargeback status --format json"))
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
def status(form: str) -> int:
    """Say how fresh and complete the numbers are; exit 1 when something needs a person."""
    found = statuses.read_status(load_settings())
    if form == "json":
        click.echo(status_text.as_json(found), nl=False)
    else:
        status_text.print_status(found, _stdout())
    return OK if found.is_well else FAILED


@cli.command(epilog=_example("chargeback doctor --probe"))
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.option("--probe", is_flag=True, help="Ask the API what its reference leaves open; writes a file of findings.")
def doctor(form: str, probe: bool) -> int:
    """Check key, routes, settings, seeds, permissions and files, and say what to fix; exit 1 when something fails."""
    with Progress() as progress:
        found = doctors.examine(progress)
        if probe:
            found += doctors.write_probe(progress)
    if form == "json":
        click.echo(doctors.as_json(found), nl=False)
    else:
        doctors.print_findings(found, _stdout())
    return OK if doctors.is_well(found) else FAILED


@cli.command(epilog=_example("chargeback simulate --port 8377 --now 2026-11-16T02:00:00Z"))
@click.option("--seed", type=int, default=7, show_default=True, help="Another seed, another company.")
@click.option("--people", type=click.IntRange(1, 100_000), default=60, show_default=True)
@click.option(
    "--now",
    metavar="INSTANT",
    callback=_instant,
    default="2026-11-16T02:00:00Z",
    show_default=True,
    help="Its clock, which stands.",
)
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Default: any free port.")
@click.option("--rate-limited", is_flag=True, help="Answer 429 beyond the documented rates.")
@click.option(
    "--seeds-dir", type=click.Path(file_okay=False, path_type=Path), help="Write the company's seed files here."
)
def simulate(
    seed: int, people: int, now: pendulum.DateTime, port: int, rate_limited: bool, seeds_dir: Path | None
) -> None:
    """Serve an invented company on loopback, until Ctrl-C. Its usage runs from 2026-07-01 to 2026-12-31."""
    from pipelines.simulator import Organisation, SimulatorServer

    organisation = Organisation.invent(seed=seed, people=people)
    if seeds_dir is not None:
        with usable(seeds_dir):
            organisation.write_seeds(seeds_dir)
    try:
        server = SimulatorServer(organisation, now=now, port=port, rate_limited=rate_limited)
    except OSError as error:
        raise ConfigError(f"Cannot serve on port {port}: {error.strerror or error}. Choose another --port.") from error
    with contextlib.suppress(KeyboardInterrupt):  # the way to stop it, whatever it is doing
        click.echo(f"Serving on {server.base_url} at {now.to_iso8601_string()}. Stop with Ctrl-C. In another shell:\n")
        click.echo("  export CHARGEBACK__DATA_DIR=data/simulated")
        click.echo(f"  export SOURCES__CURSOR_ADMIN__BASE_URL={server.base_url}")
        click.echo(f"  export SOURCES__CURSOR_ADMIN__API_KEY={server.api_key}")
        if not rate_limited:
            click.echo("  export SOURCES__CURSOR_ADMIN__RATE_LIMIT_PER_MINUTE=0")
        click.echo(
            f"  export CHARGEBACK__SEEDS_DIR={seeds_dir.resolve()}"
            if seeds_dir
            else "  export CHARGEBACK__PLAN=enterprise"
        )
        click.echo(f"  chargeback run --now {now.to_iso8601_string()}")
        sys.stdout.flush()
        server.serve_forever()


def _run(options: RunOptions, now: pendulum.DateTime | None) -> None:
    settings = load_settings()
    teams = load_team_settings() if options.loads else []
    _refuse_clock(teams or [settings], now)
    run_night(settings, teams, options, Clock(now))


def _refuse_clock(addressed: Sequence[Settings | TeamSettings], now: pendulum.DateTime | None) -> None:
    if now is not None and not all(one.is_loopback for one in addressed):
        raise ConfigError(
            "--now stands in for the clock only against a server on loopback, where nights can be replayed. "
            "SOURCES__CURSOR_ADMIN__BASE_URL names another host."
        )


def _stdout() -> Console:
    return Console(width=None if sys.stdout.isatty() else WIDTH_WITHOUT_TERMINAL)


def _print_report(found: reports.Report) -> None:
    if sys.stdout.isatty():
        reports.print_table(found, _stdout())
    else:
        click.echo(reports.as_text(found), nl=False)


def main() -> None:
    """The command `chargeback`."""
    os.umask(0o077)  # what is private is 0600 from the first byte on
    signal.signal(signal.SIGTERM, _interrupt)  # a stopped service leaves a line in runs.jsonl, as Ctrl-C does
    sys.exit(run_command(sys.argv[1:]))


def run_command(arguments: list[str]) -> int:
    """Run one command line; answers the exit code. Prints a message for a person, never a traceback."""
    try:
        code = cli.main(arguments, prog_name="chargeback", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else OK
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return _fail("Interrupted. What is published stays as it was, and the next run goes on from here.", FAILED)
    except LockedError as error:
        return _fail(str(error), LOCKED)
    except (ConfigError, RefusedRequestError) as error:
        return _fail(str(error), WRONG_USE)
    except (ChargebackError, ApiError) as error:
        return _fail(str(error), FAILED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # whoever read our output has had enough
        return FAILED
    except OSError as error:
        return _fail(file_error_message(error), FAILED)
    except Exception as error:
        return _fail(_unexpected(error), FAILED)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _fail(message: str, code: int) -> int:
    click.echo(message, err=True)
    return code


def _unexpected(error: Exception) -> str:
    """One line; the traceback goes to the logs folder, with keys and e-mails taken out."""
    name = f"error-{new_run_id(pendulum.now('UTC'))}.log"
    try:
        logs = load_settings().paths.logs_dir
        logs.mkdir(parents=True, exist_ok=True)
        (logs / name).write_text(scrub("".join(traceback.format_exception(error))), encoding="utf-8")
        where = f"The traceback is in {logs / name}."
    except (OSError, ChargebackError):
        where = "The traceback could not be written."
    return f"Unexpected {type(error).__name__}; what is published stays as it was. {where} Please report it."


def scrub(text: str) -> str:
    """The text without any key and without full e-mail addresses."""
    for key in configured_keys():
        for secret in (key, b64encode(f"{key}:".encode()).decode()):
            text = text.replace(secret, "***")
    return EMAIL.sub("***@***", text)


if __name__ == "__main__":
    main()
