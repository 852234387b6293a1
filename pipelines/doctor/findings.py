"""What the doctor says: one finding per check, each with the next step."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from rich.console import Console

OK, HINT, WARNING, FAILING = LEVELS = ("ok", "hint", "warning", "failing")
_STYLES = {OK: "green", HINT: "cyan", WARNING: "yellow", FAILING: "bold red"}
_ADDRESS = re.compile(r"[^\s@\"'<>(),;:]+@[^\s@\"'<>(),;:]+")


@dataclass(frozen=True)
class Finding:
    """`level` is one of LEVELS, `area` what was looked at; `advice` is what to do, None where nothing is."""

    level: str
    area: str
    text: str
    advice: str | None = None


def is_well(findings: Iterable[Finding]) -> bool:
    """Whether nothing is failing: hints and warnings stop no run."""
    return all(one.level != FAILING for one in findings)


def without_addresses(text: str) -> str:
    """The text on printable characters alone and without e-mail addresses, whatever an answer or a file held."""
    return _ADDRESS.sub("[e-mail]", "".join(one if one.isprintable() or one == "\n" else " " for one in text))


def as_json(findings: list[Finding]) -> str:
    """Everything, for a monitor."""
    shown = [{name: value and without_addresses(value) for name, value in asdict(one).items()} for one in findings]
    return json.dumps({"is_well": is_well(findings), "findings": shown}, indent=2, ensure_ascii=False) + "\n"


def print_findings(findings: list[Finding], console: Console) -> None:
    """Everything, for a person: by area, in the order it was looked at, and a count at the end."""
    for one in findings:
        console.print(
            f"{one.level:<8} {one.area:<12} {without_addresses(one.text)}",
            style=_STYLES[one.level] if one.level != OK else None,
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
        if one.advice:
            console.print(f"{'':<21} -> {without_addresses(one.advice)}", highlight=False, markup=False, soft_wrap=True)
    counts = {level: sum(one.level == level for one in findings) for level in LEVELS}
    console.print(
        "\n" + ", ".join(f"{count} {level}" for level, count in counts.items() if count), highlight=False, markup=False
    )
