"""The tables people edit, against what the API ever told: a slip there moves money, or nothing at all."""

from __future__ import annotations

from collections.abc import Iterator

from pipelines import seeds
from pipelines.build import RESERVED_GROUPS
from pipelines.doctor.configuration import Configuration
from pipelines.doctor.findings import FAILING, HINT, OK, WARNING, Finding
from pipelines.doctor.warehouse import Known
from pipelines.errors import ConfigError, FileError
from pipelines.seeds import SeedRow

MOST_NAMED = 5


def check_seeds(found: Configuration, known: Known) -> Iterator[Finding]:
    """Headers and values; plans; groups, people and service accounts that nobody ever heard of."""
    try:
        rows, missing = seeds.read_present_seeds(found.paths)
    except ConfigError as error:
        for line in str(error).splitlines():
            yield Finding(FAILING, "seeds", line, "Correct the file: no build starts with it.")
        return
    except FileError as error:
        yield Finding(FAILING, "seeds", str(error))
        return
    if missing:
        text = f"not in {found.paths.seeds_dir} yet: {', '.join(missing)}"
        yield Finding(HINT, "seeds", text, "The next run makes them, with their headers.")
    yield from _check_plans(found, rows, known)
    if not known.is_known:
        text = "not held against what Cursor knows: no warehouse could be read, and no answer"
        yield Finding(HINT, "seeds", text, "Run `chargeback doctor` again after the first run.")
        return
    warnings = list(_unknown(rows, known))
    for line in warnings[:MOST_NAMED]:
        yield Finding(WARNING, "seeds", line, f"Edit it in {found.paths.seeds_dir}.")
    if len(warnings) > MOST_NAMED:
        yield Finding(WARNING, "seeds", f"and {len(warnings) - MOST_NAMED} more of this kind")
    unmapped = known.service_accounts - {row.values["service_account_id"] for row in rows["service_accounts"]}
    if unmapped:
        text = f"{len(unmapped)} service accounts with usage are not in service_accounts.csv: {_named(unmapped)}"
        yield Finding(HINT, "seeds", text, "Their cost stays in Unassigned until a row gives each a billing group.")
    if not warnings:
        counts = ", ".join(f"{name} {len(rows[name])}" for name in seeds.SEEDS)
        yield Finding(OK, "seeds", f"every row can be used and names something Cursor knows ({counts})")


def _check_plans(found: Configuration, rows: dict[str, list[SeedRow]], known: Known) -> Iterator[Finding]:
    teams = sorted(known.teams | {one.team for one in found.teams}) or ["default"]
    plan = found.settings.plan if found.settings is not None else None
    try:
        seeds.check_plans(plan, rows, teams, found.paths)
    except ConfigError as error:
        yield Finding(FAILING, "seeds", str(error))
        return
    where = "plans.csv" if plan is None else f"CHARGEBACK__PLAN ({plan}), where plans.csv has no row"
    yield Finding(OK, "seeds", f"the plan of every team is known, from {where}")


def _unknown(rows: dict[str, list[SeedRow]], known: Known) -> Iterator[str]:
    groups = known.groups | RESERVED_GROUPS
    for name in ("service_accounts", "billing_groups"):
        yield from seeds.unknown_group_warnings(name, rows[name], groups)
    yield from seeds.seat_warnings(rows, known.people)
    yield from seeds.unknown_owner_warnings(rows, groups, known.service_accounts)


def _named(names: set[str]) -> str:
    shown = ", ".join(sorted(names)[:MOST_NAMED])
    return shown if len(names) <= MOST_NAMED else f"{shown} and {len(names) - MOST_NAMED} more"
