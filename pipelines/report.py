"""One month for a person: as a table, or as CSV, JSON or HTML."""

from __future__ import annotations

import csv
import html
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from decimal import Decimal

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipelines.month import CENT, Part, Report, ReportLine, read_report

__all__ = ["FORMATS", "Report", "ReportLine", "as_csv", "as_html", "as_json", "as_text", "print_table", "read_report"]

WIDTH = 400  # of a file or a pipe: more than any table needs, so that nothing is folded


def _usd(value: Decimal | None) -> str:
    return "" if value is None else f"{value:,.2f}"


def _signed_usd(value: Decimal | None) -> str:
    return "" if value is None else f"{value:+,.2f}"


def _share(value: Decimal | None) -> str:
    return "" if value is None else f"{value * 100:.1f} %"


def _count(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


_Column = tuple[str, Callable[[ReportLine], str]]
# Columns of text first. Those that are empty for every line are left out.
_TEXTS: tuple[_Column, ...] = (
    ("Cost centre", lambda line: line.cost_center or ""),
    ("GL account", lambda line: line.gl_account or ""),
    ("Owner", lambda line: line.owner or ""),
)
_NUMBERS: tuple[_Column, ...] = (
    ("Members", lambda line: _count(line.member_count)),
    ("Active", lambda line: _count(line.active_member_count)),
    ("Seats", lambda line: "" if line.average_seats is None else f"{line.average_seats:,.1f}"),
    ("On demand", lambda line: _usd(line.on_demand_usd)),
    ("Included", lambda line: _usd(line.included_usd)),
    ("Automation", lambda line: _usd(line.automation_usd)),
    ("Usage USD", lambda line: _usd(line.usage_billed_usd)),
    ("Seat USD", lambda line: _usd(line.seat_billed_usd)),
    ("Adjusted USD", lambda line: _signed_usd(line.adjustment_billed_usd)),
    ("Billed USD", lambda line: _usd(line.billed_usd)),
    ("Share", lambda line: _share(line.billed_share)),
    ("Change", lambda line: _signed_usd(line.change_usd)),
)
FOOTNOTE = (
    "On demand, included and automation are values at Cursor's prices in USD; automation is part of the other two. "
    "Seats are the average per day. Billed is usage, seats and adjustments together."
)


def _grid(report: Report) -> tuple[list[str], list[list[str]], int]:
    """Headings, cells and how many leading columns are text; the total is the last row when there are several."""
    lines = [*report.lines, report.total] if len(report.lines) > 1 else report.lines
    with_team = len({line.team for line in report.lines}) > 1
    keys: list[_Column] = [("Billing group", lambda line: line.billing_group_name)]
    if with_team:
        keys.insert(0, ("Team", lambda line: line.team))
    texts = [*keys, *((name, show) for name, show in _TEXTS if any(map(show, lines)))]
    numbers = [(name, show) for name, show in _NUMBERS if any(map(show, lines))]
    rows = [[show(line) for _, show in (*texts, *numbers)] for line in lines]
    return [name for name, _ in (*texts, *numbers)], rows, len(texts)


def _part_grids(report: Report) -> list[tuple[list[str], list[list[str]], int]]:
    """A grid per breakdown of one group's month: by model, surface and person."""
    grids = []
    for breakdown in dict.fromkeys(part.breakdown for part in report.parts):
        rows = [_part_cells(part) for part in report.parts if part.breakdown == breakdown]
        grids.append(([f"By {breakdown}", "Events", "Value USD", "Billed USD"], rows, 1))
    return grids


def _part_cells(part: Part) -> list[str]:
    amounts = (_usd((cents * CENT).quantize(CENT)) for cents in (part.usage_cents, part.billed_cents))
    return [part.name, _count(part.event_count), *amounts]


def print_table(report: Report, console: Console) -> None:
    """The month as a table, and one group's parts as tables of their own."""
    headings, rows, text_columns = _grid(report)
    title = f"Chargeback {report.month:%Y-%m}"
    console.print(_table(headings, rows, text_columns, has_total=len(report.lines) > 1, title=title))
    for part_headings, part_rows, part_text_columns in _part_grids(report):
        console.print(_table(part_headings, part_rows, part_text_columns))
    for note in [FOOTNOTE, *report.notes]:
        console.print(note, highlight=False, markup=False, soft_wrap=True)


def _table(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    text_columns: int,
    *,
    has_total: bool = False,
    title: str | None = None,
) -> Table:
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    for index, heading in enumerate(headings):
        table.add_column(heading, justify="left" if index < text_columns else "right", overflow="fold")
    for index, row in enumerate(rows):
        is_total = has_total and index == len(rows) - 1
        if is_total:
            table.add_section()
        table.add_row(*(_plain(cell) for cell in row), style="bold" if is_total else None)
    return table


def _plain(cell: str) -> Text:
    """A group may be called anything, also `[red]`."""
    return Text("".join(character if character.isprintable() else " " for character in cell))


def as_text(report: Report) -> str:
    """The table for a file or a pipe."""
    console = Console(file=io.StringIO(), width=WIDTH)
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
        **({"parts": [asdict(part) for part in report.parts]} if report.parts else {}),
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
    title = f"Chargeback {report.month:%Y-%m}"
    tables = [_html_table(*_grid(report), has_total=len(report.lines) > 1)]
    tables += [_html_table(*grid, has_total=False) for grid in _part_grids(report)]
    notes = [f"<p>{html.escape(note)}</p>" for note in [FOOTNOTE, *report.notes]]
    content = "\n".join([*tables, *notes])
    return (
        f'<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style></head>\n<body>\n<h1>{title}</h1>\n{content}\n</body>\n</html>\n"
    )


def _html_table(headings: list[str], rows: list[list[str]], text_columns: int, *, has_total: bool) -> str:
    def cells(tag: str, row: list[str]) -> str:
        return "".join(
            f"<{tag}{TEXT_CLASS if index < text_columns else ''}>{html.escape(cell)}</{tag}>"
            for index, cell in enumerate(row)
        )

    last = len(rows) - 1 if has_total else -1
    body = "\n".join(
        f"<tr{TOTAL_CLASS if index == last else ''}>{cells('td', row)}</tr>" for index, row in enumerate(rows)
    )
    return f"<table>\n<thead><tr>{cells('th', headings)}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"


FORMATS: dict[str, Callable[[Report], str]] = {"table": as_text, "csv": as_csv, "json": as_json, "html": as_html}
