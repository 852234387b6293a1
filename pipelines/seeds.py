"""The tables people edit: CSV files in the company's seeds folder. Made with headers only, checked, and handed to dbt.

dbt never sees the files themselves but clean copies: columns in one order, no byte-order mark, no stray blanks. So a
file saved by a spreadsheet means what it shows, and what is wrong is said here, by file, line and column.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from pathlib import Path

from pipelines.config import PLANS
from pipelines.errors import ConfigError
from pipelines.paths import DataPaths
from pipelines.runs import make_private_folder, usable

MOST_PROBLEMS_SHOWN = 10


@dataclass(frozen=True)
class Column:
    """A column of a seed. `check` answers what is wanted when a value, never empty, will not do."""

    name: str
    check: Callable[[str], str | None] | None = None
    required: bool = False


@dataclass(frozen=True)
class SeedRow:
    """A row of a seed file and the line it ends on."""

    line: int
    values: dict[str, str]


def _date(value: str) -> str | None:
    try:
        return None if date.fromisoformat(value).isoformat() == value else "a date such as 2026-11-01"
    except ValueError:
        return "a date such as 2026-11-01"


def _decimal(digits: int, fraction: int) -> Callable[[str], str | None]:
    def check(value: str) -> str | None:
        wanted = f"a number such as 32.50, not negative, with at most {fraction} decimals"
        try:
            number = Decimal(value)
        except InvalidOperation:
            return wanted
        if not number.is_finite() or number < 0 or number >= Decimal(10) ** (digits - fraction) or "e" in value.lower():
            return wanted
        return None if -int(number.as_tuple().exponent) <= fraction else wanted

    return check


def _amount(value: str) -> str | None:
    """Of an invoice: a credit note is negative."""
    fine = _decimal(18, 2)(value.removeprefix("-"))
    return None if fine is None else "a number such as 1520.75 or -20.00, with at most 2 decimals"


def _first_of_month(value: str) -> str | None:
    return None if _date(value) is None and value.endswith("-01") else "the first day of a month, such as 2026-11-01"


def _one_of(*values: str) -> Callable[[str], str | None]:
    return lambda value: None if value in values else f"one of {', '.join(values)}"


def _count(value: str) -> str | None:
    return None if value.isascii() and value.isdigit() and len(value) <= 9 else "a whole number, not negative"


def _email(value: str) -> str | None:
    name, _, host = value.partition("@")
    return None if name and host else "an e-mail address"


TEAM = Column("team")
VALID_FROM = Column("valid_from_date", _date)

SEEDS: dict[str, tuple[Column, ...]] = {
    "plans": (TEAM, Column("plan", _one_of(*PLANS), required=True), VALID_FROM, Column("usage_rate", _decimal(18, 6))),
    "seat_prices": (
        TEAM,
        Column("seat_type", required=True),
        Column("monthly_price_usd", _decimal(18, 2), required=True),
        VALID_FROM,
    ),
    "seat_types": (
        TEAM,
        Column("user_email", _email, required=True),
        Column("seat_type", required=True),
        VALID_FROM,
    ),
    "committed_seats": (
        TEAM,
        Column("seat_type", required=True),
        Column("seat_count", _count, required=True),
        VALID_FROM,
    ),
    "service_accounts": (
        TEAM,
        Column("service_account_id", required=True),
        Column("name"),
        Column("email", _email),
        Column("owner"),
        Column("purpose"),
        Column("billing_group_id"),
        Column("key_rotated_on", _date),
        Column("rotation_days", _count),
        VALID_FROM,
    ),
    "billing_groups": (
        TEAM,
        Column("billing_group_id", required=True),
        Column("cost_center"),
        Column("gl_account"),
        Column("owner"),
    ),
    "budgets": (
        TEAM,
        Column("month", _first_of_month, required=True),
        Column("owner_type", _one_of("billing_group", "service_account"), required=True),
        Column("owner_id", required=True),
        Column("budget_usd", _decimal(18, 2), required=True),
    ),
    "invoices": (
        TEAM,
        Column("invoice_number", required=True),
        Column("period_from_date", _date, required=True),
        Column("period_through_date", _date, required=True),
        Column("charge_type", _one_of("usage", "seat")),
        Column("amount_usd", _amount, required=True),
    ),
}

# What may stand in a file once; e-mails are compared in lower case.
KEYS = {
    "plans": ("team", "valid_from_date"),
    "seat_prices": ("team", "seat_type", "valid_from_date"),
    "seat_types": ("team", "user_email", "valid_from_date"),
    "committed_seats": ("team", "seat_type", "valid_from_date"),
    "service_accounts": ("team", "service_account_id", "valid_from_date"),
    "billing_groups": ("team", "billing_group_id"),
    "budgets": ("team", "month", "owner_type", "owner_id"),
    "invoices": ("team", "invoice_number", "period_from_date", "charge_type"),
}


def create_missing_seeds(paths: DataPaths) -> None:
    """Every seed file exists; a new one holds its header and nothing else."""
    make_private_folder(paths.seeds_dir)
    for name, columns in SEEDS.items():
        path = paths.seeds_dir / f"{name}.csv"
        with usable(path):
            if not path.exists():
                path.write_text(",".join(column.name for column in columns) + "\n", encoding="utf-8")


def read_seeds(paths: DataPaths) -> dict[str, list[SeedRow]]:
    """All seed rows, checked.

    Raises:
        ConfigError: a wrong header or a row that cannot be used; names file, line, column and what is wanted.
    """
    return _read_seeds(paths, list(SEEDS))


def read_present_seeds(paths: DataPaths) -> tuple[dict[str, list[SeedRow]], list[str]]:
    """All seed rows, checked as by `read_seeds`, and the names of the files that are not there yet: they hold none."""
    missing = [f"{name}.csv" for name in SEEDS if not (paths.seeds_dir / f"{name}.csv").exists()]
    rows = _read_seeds(paths, [name for name in SEEDS if f"{name}.csv" not in missing])
    return {name: rows.get(name, []) for name in SEEDS}, missing


def _read_seeds(paths: DataPaths, names: list[str]) -> dict[str, list[SeedRow]]:
    problems: list[str] = []
    seeds = {name: _read_seed(paths.seeds_dir / f"{name}.csv", name, problems) for name in names}
    if problems:
        shown = problems[:MOST_PROBLEMS_SHOWN]
        if len(problems) > len(shown):
            shown.append(f"and {len(problems) - len(shown)} more")
        raise ConfigError("\n".join(shown))
    return seeds


def check_plans(plan: str | None, seeds: dict[str, list[SeedRow]], teams: Iterable[str], paths: DataPaths) -> None:
    """Raise ConfigError unless it is known how every team is billed: no default, as it decides every amount."""
    planned = {row.values["team"] for row in seeds["plans"]}
    missing = [team for team in teams if not planned & {"", team}] if plan is None else []
    if missing:
        raise ConfigError(
            f"No plan is set for team {', '.join(missing)}, and it decides what included usage costs: on `teams` the "
            "seat has paid for it, on `enterprise` it draws on the pool. "
            f"Set CHARGEBACK__PLAN to {' or '.join(PLANS)}, or add a row to {paths.seeds_dir / 'plans.csv'}."
        )


def write_clean_seeds(seeds: dict[str, list[SeedRow]], folder: Path) -> None:
    """The copies dbt loads."""
    make_private_folder(folder)
    for name, columns in SEEDS.items():
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(column.name for column in columns)
        for row in seeds[name]:
            writer.writerow(row.values[column.name] for column in columns)
        with usable(folder):
            (folder / f"{name}.csv").write_text(text.getvalue(), encoding="utf-8")


def unknown_group_warnings(name: str, rows: list[SeedRow], known_groups: set[str]) -> list[str]:
    """One line per row of the seed `name` with a billing group that no answer of the API ever held."""
    return [
        f"{name}.csv, line {row.line}, column billing_group_id: Cursor never listed a group "
        f"{row.values['billing_group_id']!r}. If it is a slip, correct it: it stands for a group of that name."
        for row in rows
        if row.values["billing_group_id"] and row.values["billing_group_id"] not in known_groups
    ]


def unknown_owner_warnings(
    seeds: dict[str, list[SeedRow]], known_groups: set[str], known_service_accounts: set[str]
) -> list[str]:
    """One line per budget whose owner nothing else names: nothing will ever be charged to it."""
    groups = known_groups.union(
        *(named(seeds, name, "billing_group_id") for name in ("billing_groups", "service_accounts"))
    )
    accounts = known_service_accounts | named(seeds, "service_accounts", "service_account_id")
    return [
        f"budgets.csv, line {row.line}, column owner_id: "
        + (
            f"neither Cursor nor another seed names a group {owner!r}. "
            if kind == "billing_group"
            else f"no usage event and no row of service_accounts.csv names a service account {owner!r}. "
        )
        + "If it is a slip, correct it: nothing is charged to it."
        for row in seeds["budgets"]
        for kind, owner in [(row.values["owner_type"], row.values["owner_id"])]
        if owner not in (groups if kind == "billing_group" else accounts)
    ]


def named(seeds: dict[str, list[SeedRow]], name: str, column: str) -> set[str]:
    """Every value of a column of a seed; never empty ones."""
    return {row.values[column] for row in seeds[name]} - {""}


def seat_warnings(seeds: dict[str, list[SeedRow]], known_people: set[str]) -> list[str]:
    """One line per seed row about a person whom no members answer ever listed, or a seat type that has no price.

    A type without a price only warns here: the build fails when somebody holds such a seat. Where no price is known at
    all, seats are counted and not priced.
    """
    warnings = [
        f"seat_types.csv, line {row.line}, column user_email: Cursor never listed this address among the members. If "
        "it is a slip, correct it: the row changes nobody's seat."
        for row in seeds["seat_types"]
        if row.values["user_email"].lower() not in known_people
    ]
    for name in ("seat_types", "committed_seats"):
        for row in seeds[name]:
            team, seat_type = row.values["team"], row.values["seat_type"]
            priced = {
                price.values["seat_type"]
                for price in seeds["seat_prices"]
                if not team or price.values["team"] in ("", team)
            }
            if priced and seat_type not in priced:
                warnings.append(
                    f"{name}.csv, line {row.line}, column seat_type: seat_prices.csv has no price for {seat_type!r}, "
                    f"only for {', '.join(sorted(priced))}. Correct the type or add its price."
                )
    return warnings


def _read_seed(path: Path, name: str, problems: list[str]) -> list[SeedRow]:
    columns = SEEDS[name]
    where = f"{path.name} in {path.parent}"
    with usable(path):
        content = path.read_bytes()
    try:
        reader = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
        lines = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
    except UnicodeDecodeError:
        problems.append(f"{where}: not UTF-8 text. Save it as CSV in UTF-8.")
        return []
    except csv.Error as error:
        problems.append(f"{where}, line {reader.line_num}: {error}. Save it as CSV, with commas and double quotes.")
        return []
    wanted = [column.name for column in columns]
    header = lines[0][1] if lines else []
    if sorted(header) != sorted(wanted):
        problems.append(_header_problem(where, header, wanted))
        return []
    rows: list[SeedRow] = []
    seen: dict[tuple[str, ...], int] = {}
    for line, cells in lines[1:]:
        if not any(cells):
            continue
        if len(cells) != len(header):
            problems.append(f"{where}, line {line}: {len(cells)} columns where the header has {len(header)}.")
            continue
        values = dict(zip(header, cells, strict=True))
        problems += [f"{where}, line {line}, {problem}" for problem in _value_problems(columns, values)]
        key = tuple(values[part].lower() if part == "user_email" else values[part] for part in KEYS[name])
        if key in seen:
            problems.append(
                f"{where}, line {line}: {', '.join(KEYS[name])} are the same as in line {seen[key]}. Keep one of them."
            )
        seen.setdefault(key, line)
        rows.append(SeedRow(line, values))
    return rows


def _header_problem(where: str, header: list[str], wanted: list[str]) -> str:
    parts = []
    if missing := [name for name in wanted if name not in header]:
        parts.append(f"lacks the column {', '.join(missing)}")
    if unknown := [name for name in header if name not in wanted]:
        parts.append(f"has an unknown column {', '.join(map(repr, unknown))}")
    if doubled := sorted({name for name in header if name in wanted and header.count(name) > 1}):
        parts.append(f"has the column {', '.join(doubled)} twice")
    return f"{where}, line 1: {' and '.join(parts)}. Wanted, in any order, separated by commas: {', '.join(wanted)}."


def _value_problems(columns: tuple[Column, ...], values: dict[str, str]) -> list[str]:
    problems = []
    for column in columns:
        value = values[column.name]
        if not value:
            if column.required:
                problems.append(f"column {column.name}: empty. A value is needed.")
        elif column.check is not None and (wanted := column.check(value)) is not None:
            shown = "this value" if column.check is _email else repr(value[:40])
            problems.append(f"column {column.name}: {shown} is not {wanted}.")
    return problems
