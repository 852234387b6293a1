"""What tests of `chargeback doctor` share: a run of it whose output names nobody, and what it found."""

from __future__ import annotations

import json
import re

from nights import Installation

from pipelines.doctor.findings import FAILING, LEVELS, Finding, is_well

EMAIL = re.compile(r"[\w.+'-]+@[\w-]+\.[\w.-]+")


def doctor(place: Installation, *arguments: str) -> tuple[int, list[Finding]]:
    """Exit code and findings; whatever it prints holds no key and no e-mail."""
    outcome = place.command("doctor", "--format", "json", *arguments)
    assert outcome.stderr == ""
    assert not place.api_key or place.api_key not in outcome.stdout
    assert EMAIL.findall(outcome.stdout) == []
    document = json.loads(outcome.stdout)
    findings = [Finding(**one) for one in document["findings"]]
    assert {one.level for one in findings} <= set(LEVELS)
    assert document["is_well"] == is_well(findings) == (outcome.exit_code == 0)
    assert [one for one in findings if one.level == FAILING and not (one.advice or ". " in one.text)] == []
    return outcome.exit_code, findings


def texts(findings: list[Finding], area: str, *levels: str) -> list[str]:
    return [f"{one.text} {one.advice or ''}".strip() for one in findings if one.area == area and one.level in levels]
