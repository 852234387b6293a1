"""Building: dbt on a copy of the published file, beside the warehouse. The one place that calls dbt.

What passes is left at `data/.build/chargeback.duckdb`, ready for `publish`. What fails leaves nothing behind but dbt's
own files, and the published file as it was.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pendulum

from pipelines import publish, seeds
from pipelines.close_ledger import verify_closed_months
from pipelines.config import Settings
from pipelines.errors import BuildError, FileError
from pipelines.paths import DBT_PROJECT_DIR, PROJECT_DIR, DataPaths
from pipelines.publish import Publication
from pipelines.runs import Clock, Progress, make_private_folder, usable

FULL_TESTS_EVERY = timedelta(days=7)
STORAGE_VERSION = "v1.0.0"  # what every DuckDB client since 1.0 reads
RESERVED_GROUPS = frozenset({"group_unassigned", "unattributed"})
FAILED = frozenset({"error", "fail", "runtime error"})
MOST_FAILURES_SHOWN = 5
MOST_ROWS_SHOWN = 3


class ChecksFailedError(BuildError):
    """Models failed, or tests of error level did not pass: `failing` names them."""

    def __init__(self, message: str, failing: list[str]) -> None:
        super().__init__(message)
        self.failing = failing


@dataclass
class BuildResult:
    """What one build did. `rebuilt` says why every table was built anew, or is None; `seed_findings` need a person."""

    rebuilt: str | None
    full_tests: bool
    models: int = 0
    tests: int = 0
    warnings: list[str] = field(default_factory=list)
    seed_findings: list[str] = field(default_factory=list)
    copy_seconds: float = 0.0
    dbt_seconds: float = 0.0


def build(
    settings: Settings, *, clock: Clock, run_id: str, full_refresh: bool, lock_descriptor: int, progress: Progress
) -> BuildResult:
    """Build and test the marts next to the published file.

    Raises:
        ConfigError: a seed file cannot be used, or a team has no plan.
        FileError: the warehouse or the published file is missing, damaged or not ours; or a closed month was changed.
        ChecksFailedError: a model failed or a test of error level did not pass.
        BuildError: dbt itself stopped.
    """
    paths = settings.paths
    seed_rows = seeds.read_seeds(paths)
    teams, groups, people, accounts = _read_warehouse(paths.warehouse, seeds.named(seed_rows, "budgets", "owner_id"))
    seeds.check_plans(settings.plan, seed_rows, teams, paths)
    if warning := publish.move_stale_wal_aside(paths):
        progress.warn(warning)
    published = publish.read_publication(paths.published) if paths.published.exists() else None
    fingerprint = model_fingerprint()
    rebuilt = why_rebuild(published, fingerprint, full_refresh)
    now = clock.now()
    result = BuildResult(rebuilt, full_tests=rebuilt is not None or are_full_tests_due(published, now))
    for name in ("service_accounts", "billing_groups"):
        found = seeds.unknown_group_warnings(name, seed_rows[name], groups | RESERVED_GROUPS)
        # a cost centre for a group long gone does no harm; money that goes to a group nobody has does
        result.seed_findings += found if name == "service_accounts" else []
        for warning in found:
            progress.warn(warning)
    for warning in seeds.seat_warnings(seed_rows, people):
        progress.warn(warning)
    for warning in seeds.unknown_owner_warnings(seed_rows, groups | RESERVED_GROUPS, accounts):
        progress.warn(warning)
    progress.note(f"building: {f'every table, as {rebuilt}' if rebuilt else 'the days that changed'}")

    started = time.monotonic()
    _start_build_file(paths, from_published=rebuilt is None)
    result.copy_seconds = time.monotonic() - started
    seeds.write_clean_seeds(seed_rows, paths.build_dir / "seeds")
    started = time.monotonic()
    _run_dbt(settings, now, run_id, fingerprint, result, lock_descriptor)
    result.dbt_seconds = time.monotonic() - started
    for warning in result.warnings:
        progress.warn(warning)
    progress.note(f"built {result.models} models and passed {result.tests} tests")
    return result


def why_rebuild(published: Publication | None, fingerprint: str, full_refresh: bool) -> str | None:
    """Why every table must be built anew, for a person; None when the days that changed are enough."""
    if full_refresh:
        return "--full-refresh"
    if published is None:
        return "nothing is published yet"
    if published.model_fingerprint != fingerprint:
        return "the models are others than those of the published file"
    return None


def are_full_tests_due(published: Publication | None, now: pendulum.DateTime) -> bool:
    """Whether every row, not only those of changed days, must be tested tonight: once a week."""
    if published is None or published.full_tests_at is None:
        return True
    return now >= published.full_tests_at.replace(tzinfo=UTC) + FULL_TESTS_EVERY


def model_fingerprint() -> str:
    """Hash of everything that decides what the tables hold beside the data: a change rebuilds them all."""
    models, project = PROJECT_DIR / "models", DBT_PROJECT_DIR
    files = [models, project / "macros", project / "seeds"]
    found = [path for folder in files for path in folder.rglob("*") if path.is_file()] + [project / "dbt_project.yml"]
    digest = hashlib.sha256()
    for path in sorted(found):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(PROJECT_DIR).as_posix()}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def _read_warehouse(warehouse: Path, budget_owners: set[str]) -> tuple[list[str], set[str], set[str], set[str]]:
    """The teams that were loaded, every billing group and e-mail ever listed, and which of these budget owners are
    service accounts of usage events. Closed again before dbt opens it.
    """
    if not warehouse.exists():
        raise FileError(f"There is no warehouse at {warehouse}: nothing was loaded yet. Run `chargeback load` first.")
    with publish.open_read_only(warehouse, "The warehouse") as connection:
        try:
            teams = connection.execute("select team from raw.teams order by team").fetchall()
            groups = connection.execute("select distinct billing_group_id from raw.billing_groups").fetchall()
            people = connection.execute("select distinct lower(trim(user_email)) from raw.members").fetchall()
            # only those asked for: events are many, and without budgets nobody asks
            accounts = connection.execute(
                "select distinct service_account_id from raw.usage_events "
                "where service_account_id in (select unnest(cast(? as varchar[])))",
                [sorted(budget_owners)],
            ).fetchall()
            verify_closed_months(connection, warehouse)
        except duckdb.CatalogException as error:
            raise FileError(
                f"{warehouse} is a DuckDB file, but not one that this pipeline loaded: it lacks our raw tables. "
                "It is left as it is: move it away, or set CHARGEBACK__DATA_DIR to another folder."
            ) from error
    found = ({group for (group,) in groups}, {email for (email,) in people}, {account for (account,) in accounts})
    return [team for (team,) in teams], *found


def _start_build_file(paths: DataPaths, *, from_published: bool) -> None:
    """A fresh build file: a copy of what is published, or empty. That of a killed run is thrown away."""
    make_private_folder(paths.build_dir)
    with usable(paths.build_file):
        for leftover in (paths.build_file, paths.build_file.with_name(f"{paths.build_file.name}.wal")):
            leftover.unlink(missing_ok=True)
        if from_published:
            shutil.copyfile(paths.published, paths.build_file)
            return
    with duckdb.connect() as connection:
        path = str(paths.build_file).replace("'", "''")
        connection.execute(f"attach '{path}' as chargeback (storage_version '{STORAGE_VERSION}')")


def _run_dbt(
    settings: Settings,
    now: pendulum.DateTime,
    run_id: str,
    fingerprint: str,
    result: BuildResult,
    lock_descriptor: int,
) -> None:
    paths = settings.paths
    target, logs = paths.build_dir / "target", paths.build_dir / "logs"
    output = logs / "output.log"
    make_private_folder(logs)
    variables = {
        "version": importlib.metadata.version("cursor-chargeback"),
        "model_fingerprint": fingerprint,
        "plan": settings.plan or "",
        "hold_seats_after_removal": settings.hold_seats_after_removal,
    }
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SOURCES__", "DBT_"))}
    environment |= {
        "CHARGEBACK_BUILD_PATH": str(paths.build_file),
        "CHARGEBACK_WAREHOUSE_PATH": str(paths.warehouse),
        "CHARGEBACK_SEEDS_PATH": os.path.relpath(paths.build_dir / "seeds", DBT_PROJECT_DIR),
        # not variables: what changes every night would make dbt parse the whole project again
        "CHARGEBACK_RUN_ID": run_id,
        "CHARGEBACK_PUBLISHED_AT": now.format("YYYY-MM-DD HH:mm:ss"),
        "CHARGEBACK_FULL_TESTS": str(result.full_tests),
    }
    command = [sys.executable, "-m", "pipelines.dbt_process"]
    command += ["--no-use-colors", "--no-send-anonymous-usage-stats", "--no-version-check"]
    command += [
        "--log-level-file",
        "none",
    ]  # what dbt has to say is in output.log; its own is a tenth of a build's work
    command += ["build", "--exclude-resource-type", "unit_test", "--vars", json.dumps(variables)]
    for option, folder in (("project", DBT_PROJECT_DIR), ("profiles", DBT_PROJECT_DIR)):
        command += [f"--{option}-dir", str(folder)]
    command += ["--target-path", str(target), "--log-path", str(logs)]
    results_path = target / "run_results.json"
    with usable(paths.build_dir):
        results_path.unlink(missing_ok=True)
        with output.open("wb") as log:
            process = subprocess.Popen(
                command,
                cwd=PROJECT_DIR,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is ours to handle
                pass_fds=(lock_descriptor,),  # the lock is free only when dbt has ended as well
            )
    try:
        exit_code = process.wait()
    finally:
        if process.stdin is not None:
            process.stdin.close()  # ends it when we were interrupted
        process.wait()
    results = _read_results(results_path)
    if results is None:
        raise BuildError(_crash_message(output, exit_code, paths))
    _interpret(results, target, result, paths)
    if exit_code != 0:
        raise BuildError(_crash_message(output, exit_code, paths))


def _read_results(path: Path) -> list[dict[str, Any]] | None:
    try:
        results = json.loads(path.read_bytes())["results"]
    except (OSError, ValueError, KeyError):
        return None
    return list(results)


def _interpret(results: list[dict[str, Any]], target: Path, result: BuildResult, paths: DataPaths) -> None:
    """Counts and warnings into `result`; raises when something failed."""
    failures: list[str] = []
    names: list[str] = []
    for one in results:
        kind, _, name = str(one["unique_id"]).split(".")[:3]
        result.tests += kind == "test"
        result.models += kind == "model"
        message = " ".join(str(one.get("message") or "").split())[:300]
        if one["status"] in FAILED:
            names.append(name)
            if kind == "test" and one["status"] == "fail":
                shown_rows = _first_rows(paths, str(one.get("compiled_code") or ""))
                failures.append(f"test {name}: {one.get('failures')} rows fail{shown_rows}")
            else:
                failures.append(f"{kind} {name}: {message}")
        elif one["status"] == "warn":
            result.warnings.append(f"test {name}: {one.get('failures')} rows")
    if not failures:
        return
    if any("No space left on device" in failure for failure in failures):
        raise FileError(f"The disk is full: the build in {paths.build_dir} stopped. Free some space and run again.")
    shown = failures[:MOST_FAILURES_SHOWN]
    if len(failures) > len(shown):
        shown.append(f"and {len(failures) - len(shown)} more")
    lines = "\n".join(f"  {line}" for line in shown)
    raise ChecksFailedError(
        f"The build did not pass; what is published stays as it was.\n{lines}\n"
        f"Their SQL is below {target / 'run'}; correct the cause and run `chargeback build`.",
        names,
    )


def _first_rows(paths: DataPaths, test_sql: str) -> str:
    """The first rows that a test found, for the message: what to correct. Without e-mails; nothing if unreadable."""
    if not test_sql:
        return ""
    try:
        with duckdb.connect(str(paths.build_file), read_only=True) as connection:
            warehouse = str(paths.warehouse).replace("'", "''")
            connection.execute(f"attach '{warehouse}' as warehouse (read_only)")
            found = connection.execute(f"select * from ({test_sql}\n) limit {MOST_ROWS_SHOWN}")
            names = [column[0] for column in found.description or []]
            rows = found.fetchall()
    except duckdb.Error:
        return ""
    texts = [
        ", ".join(f"{name} {value}" for name, value in zip(names, row, strict=True) if "email" not in name)
        for row in rows
    ]
    return "".join(f"\n    {text[:300]}" for text in texts)


def _crash_message(output: Path, exit_code: int, paths: DataPaths) -> str:
    text = output.read_text(encoding="utf-8", errors="replace") if output.exists() else ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if "No space left on device" in text:
        return f"The disk is full: dbt stopped in {paths.build_dir}. Free some space and run again; nothing was lost."
    if "Could not set lock" in text:
        return f"Another program holds {paths.warehouse} open. Close it and run `chargeback build`; nothing was lost."
    last = "\n".join(f"  {line[:300]}" for line in lines[-6:])
    return f"dbt stopped (exit {exit_code}); what is published stays as it was. Its last words, from {output}:\n{last}"
