"""One month for a person, read from the published file alone."""

from __future__ import annotations

import csv
import html
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from decimal import Decimal

import duckdb
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipelines import publish
from pipelines.errors import ChargebackError, FileError
from pipelines.paths import DataPaths

CENT = Decimal("0.01")


@dataclass(frozen=True)
class ReportLine:
    """One billing group's month, or the total over the groups shown. Money is US dollars.

    Usage is the value at Cursor's prices; `billed_usd` is what the group is charged. `change_usd` is against the month
    before, null when that is not covered. `member_count` is null for the rows that stand for cost without a group.
    """

    team: str
    billing_group_id: str
    billing_group_name: str
    member_count: int | None
    active_member_count: int
    on_demand_usd: Decimal
    included_usd: Decimal
    automation_usd: Decimal
    billed_usd: Decimal
    billed_share: Decimal | None
    change_usd: Decimal | None


@dataclass(frozen=True)
class Report:
    """A month as published: lines by amount, largest first, their total, and what a reader must know."""

    month: date
    lines: list[ReportLine]
    total: ReportLine
    notes: list[str]


_LINES = """
with charges as (
    select
        team, billing_group_id, sum(billed_cents) as billed_cents, sum(billed_share) as billed_share
    from marts.fct_monthly_chargeback
    where charge_month = $month
    group by team, billing_group_id
)
select
    months.team,
    months.billing_group_id,
    months.billing_group_name,
    months.member_count,
    months.active_member_count,
    cast(round(months.on_demand_cents, 0) as bigint),
    cast(round(months.included_cents, 0) as bigint),
    cast(round(months.automation_cents, 0) as bigint),
    months.billed_usd,
    charges.billed_share,
    months.billed_usd - months.billed_usd_previous_month
from marts.mart_group_months as months
left join charges
    on months.team = charges.team and months.billing_group_id = charges.billing_group_id
where
    months.charge_month = $month
    and ($group is null or lower($group) in (lower(months.billing_group_id), lower(months.billing_group_name)))
    -- a group with neither members nor usage nor a bill before is nothing to read about
    and (
        coalesce(months.member_count, 0) > 0
        or months.usage_cents <> 0
        or months.billed_usd <> 0
        or coalesce(months.billed_usd_previous_month, 0) <> 0
    )
order by months.team, months.billed_usd desc, months.usage_cents desc, months.billing_group_id
"""

# A person is counted once, however many groups and e-mails they had.
_TOTALS = """
select
    (
        select count(distinct (memberships.team, coalesce(users.user_id, memberships.user_email)))
        from marts.dim_group_memberships as memberships
        left join marts.dim_users as users
            on memberships.team = users.team and memberships.user_email = users.user_email
        where
            memberships.valid_from_at < $next_month
            and memberships.valid_to_at > $month
            and memberships.billing_group_id in (select unnest($groups))
    ),
    (
        select count(distinct (charges.team, coalesce(users.user_id, charges.user_email)))
        from marts.fct_daily_charges as charges
        left join marts.dim_users as users
            on charges.team = users.team and charges.user_email = users.user_email
        where
            charges.charge_month = $month
            and charges.actor_type = 'member'
            and charges.event_count > 0
            and charges.billing_group_id in (select unnest($groups))
    ),
    (
        select count(*)
        from marts.fct_usage_events
        where usage_month = $month and is_unpriced and billing_group_id in (select unnest($groups))
    ),
    (
        select coalesce(bool_or(is_provisional), true)
        from marts.fct_monthly_chargeback
        where charge_month = $month and billing_group_id in (select unnest($groups))
    ),
    (select data_through_date from marts.mart_publication)
"""


def read_report(paths: DataPaths, month: date, group: str | None = None) -> Report:
    """The month as published; `group` narrows it to one billing group, by id or name.

    Raises:
        FileError: nothing is published, or the file cannot be read.
        NoDataError: the published file says nothing about the month, or about the group in it.
    """
    if not paths.published.exists():
        raise FileError(f"Nothing is published yet at {paths.published}. Run `chargeback run` first.")
    publish.read_publication(paths.published)  # says what is wrong with a file that is not ours
    next_month = date(month.year + month.month // 12, month.month % 12 + 1, 1)
    with publish.open_read_only(paths.published, "The published file") as connection:
        rows = connection.execute(_LINES, {"month": month, "group": group}).fetchall()
        if not rows:
            raise NoDataError(_no_data_message(connection, month, group))
        lines = [_line(row) for row in rows]
        groups = [line.billing_group_id for line in lines]
        found = connection.execute(_TOTALS, {"month": month, "next_month": next_month, "groups": groups}).fetchone()
    assert found is not None
    members, active_members, unpriced, is_provisional, through = found
    notes = []
    if is_provisional:
        notes.append(f"Provisional: days of {month:%Y-%m} can still change. Complete through {through}.")
    if unpriced:
        notes.append(f"{unpriced:,} events carry no price yet and count as 0.")
    return Report(month, lines, _total(lines, members, active_members), notes)


class NoDataError(ChargebackError):
    """The published file is fine and has nothing on what was asked for."""


def _no_data_message(connection: duckdb.DuckDBPyConnection, month: date, group: str | None) -> str:
    groups = connection.execute(
        "select distinct billing_group_name from marts.mart_group_months where charge_month = ? order by 1", [month]
    ).fetchall()
    if groups:
        return f"No group {group!r} in {month:%Y-%m}. There are: {', '.join(str(name) for (name,) in groups)}."
    months = connection.execute("select min(charge_month), max(charge_month) from marts.mart_group_months").fetchone()
    if months is None or months[0] is None:
        return f"No data for {month:%Y-%m}: the published file holds no usage yet."
    return f"No data for {month:%Y-%m}: the published file holds {months[0]:%Y-%m} to {months[1]:%Y-%m}."


def _line(row: Sequence[object]) -> ReportLine:
    values = list(row)
    for index in (5, 6, 7):
        values[index] = (Decimal(str(values[index])) * CENT).quantize(CENT)
    return ReportLine(*values)  # type: ignore[arg-type]  # the types are those of the query


def _total(lines: list[ReportLine], members: int, active_members: int) -> ReportLine:
    teams = {line.team for line in lines}
    shares = [line.billed_share for line in lines if line.billed_share is not None]
    changes = [line.change_usd for line in lines if line.change_usd is not None]
    return ReportLine(
        team=teams.pop() if len(teams) == 1 else "",
        billing_group_id="",
        billing_group_name="Total",
        member_count=members,
        active_member_count=active_members,
        on_demand_usd=sum((line.on_demand_usd for line in lines), Decimal(0)),
        included_usd=sum((line.included_usd for line in lines), Decimal(0)),
        automation_usd=sum((line.automation_usd for line in lines), Decimal(0)),
        billed_usd=sum((line.billed_usd for line in lines), Decimal(0)),
        billed_share=sum(shares, Decimal(0)) if shares and len(teams) == 0 else None,
        change_usd=sum(changes, Decimal(0)) if changes else None,
    )


def _usd(value: Decimal) -> str:
    return f"{value:,.2f}"


def _signed_usd(value: Decimal | None) -> str:
    return "" if value is None else f"{value:+,.2f}"


def _share(value: Decimal | None) -> str:
    return "" if value is None else f"{value * 100:.1f} %"


_COLUMNS: tuple[tuple[str, Callable[[ReportLine], str]], ...] = (
    ("Members", lambda line: "" if line.member_count is None else f"{line.member_count:,}"),
    ("Active", lambda line: f"{line.active_member_count:,}"),
    ("On demand", lambda line: _usd(line.on_demand_usd)),
    ("Included", lambda line: _usd(line.included_usd)),
    ("Automation", lambda line: _usd(line.automation_usd)),
    ("Billed USD", lambda line: _usd(line.billed_usd)),
    ("Share", lambda line: _share(line.billed_share)),
    ("Change", lambda line: _signed_usd(line.change_usd)),
)
FOOTNOTE = (
    "On demand, included and automation are values at Cursor's prices in USD; automation is part of the other two."
)


def _grid(report: Report) -> tuple[list[str], list[list[str]], int]:
    """Headings, cells and how many leading columns are text; the total is the last row when there are several."""
    lines = [*report.lines, report.total] if len(report.lines) > 1 else report.lines
    with_team = len({line.team for line in report.lines}) > 1
    headings = [*(["Team"] if with_team else []), "Billing group", *(name for name, _ in _COLUMNS)]
    rows = [
        [*([line.team] if with_team else []), line.billing_group_name, *(show(line) for _, show in _COLUMNS)]
        for line in lines
    ]
    return headings, rows, 2 if with_team else 1


def print_table(report: Report, console: Console) -> None:
    """The month as a table."""
    headings, rows, text_columns = _grid(report)
    table = Table(title=f"Chargeback {report.month:%Y-%m}", box=box.SIMPLE_HEAD, title_justify="left")
    for index, heading in enumerate(headings):
        table.add_column(heading, justify="left" if index < text_columns else "right", overflow="fold")
    for index, row in enumerate(rows):
        is_total = len(report.lines) > 1 and index == len(rows) - 1
        if is_total:
            table.add_section()
        table.add_row(*(_plain(cell) for cell in row), style="bold" if is_total else None)
    console.print(table)
    for note in [FOOTNOTE, *report.notes]:
        console.print(note, highlight=False, markup=False, soft_wrap=True)


def _plain(cell: str) -> Text:
    """A group may be called anything, also `[red]`."""
    return Text("".join(character if character.isprintable() else " " for character in cell))


def as_text(report: Report) -> str:
    """The table for a file or a pipe."""
    console = Console(file=io.StringIO(), width=160)
    print_table(report, console)
    assert isinstance(console.file, io.StringIO)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines()) + "\n"


def as_csv(report: Report) -> str:
    """One line per group and no total, so that a sum over a column is right."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = list(ReportLine.__dataclass_fields__)
    writer.writerow(["charge_month", *names])
    for line in report.lines:
        cells = (getattr(line, name) for name in names)
        writer.writerow([report.month.isoformat(), *(_csv_cell(cell) for cell in cells)])
    return text.getvalue()


def _csv_cell(cell: object) -> object:
    """Text that a spreadsheet would take for a formula gets a leading apostrophe."""
    return f"'{cell}" if isinstance(cell, str) and cell[:1] in ("=", "+", "-", "@", "\t", "\r") else cell


def as_json(report: Report) -> str:
    """Money and shares are strings: a JSON number would be read as a float."""
    document = {
        "charge_month": report.month.isoformat(),
        "groups": [asdict(line) for line in report.lines],
        "total": asdict(report.total),
        "notes": report.notes,
    }
    return json.dumps(document, indent=2, ensure_ascii=False, default=str) + "\n"


_STYLE = """
body { font-family: system-ui, sans-serif; margin: 2rem; color: #1a1a1a }
table { border-collapse: collapse } th, td { padding: .3rem .8rem; text-align: right; border-bottom: 1px solid #ddd }
th.text, td.text { text-align: left } tr.total td { font-weight: bold; border-top: 2px solid #555 }
"""


TEXT_CLASS, TOTAL_CLASS = ' class="text"', ' class="total"'


def as_html(report: Report) -> str:
    """A page that stands alone, to be mailed or printed."""
    headings, rows, text_columns = _grid(report)

    def cells(tag: str, row: list[str]) -> str:
        return "".join(
            f"<{tag}{TEXT_CLASS if index < text_columns else ''}>{html.escape(cell)}</{tag}>"
            for index, cell in enumerate(row)
        )

    title = f"Chargeback {report.month:%Y-%m}"
    last = len(rows) - 1 if len(report.lines) > 1 else -1
    body = "\n".join(
        f"<tr{TOTAL_CLASS if index == last else ''}>{cells('td', row)}</tr>" for index, row in enumerate(rows)
    )
    notes = "\n".join(f"<p>{html.escape(note)}</p>" for note in [FOOTNOTE, *report.notes])
    return (
        f'<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style></head>\n<body>\n<h1>{title}</h1>\n<table>\n"
        f"<thead><tr>{cells('th', headings)}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>\n{notes}\n"
        "</body>\n</html>\n"
    )


FORMATS: dict[str, Callable[[Report], str]] = {"table": as_text, "csv": as_csv, "json": as_json, "html": as_html}
