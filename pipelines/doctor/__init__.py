"""`chargeback doctor`: looks at everything a night rests on, changes nothing, and says what to do. Takes no lock."""

from __future__ import annotations

import pendulum

from pipelines.doctor.access import check_access
from pipelines.doctor.company import check_seeds
from pipelines.doctor.configuration import read_configuration, settings_folder
from pipelines.doctor.findings import FAILING, LEVELS, Finding, as_json, is_well, print_findings
from pipelines.doctor.machine import check_disk, check_permissions, check_versions
from pipelines.doctor.probe import write_probe
from pipelines.doctor.warehouse import Known, check_published, check_warehouse
from pipelines.runs import Progress

__all__ = ["FAILING", "LEVELS", "Finding", "as_json", "examine", "is_well", "print_findings", "write_probe"]


def examine(progress: Progress) -> list[Finding]:
    """Every check, in the order in which a person would go about it. Nothing that is broken keeps it from the rest."""
    progress.note("versions and settings")
    found, settings_findings = read_configuration()
    findings = [*check_versions(), *settings_findings]
    findings += check_permissions(found.paths, settings_folder() / "secrets.toml")
    findings += check_disk(found.paths)
    progress.note("the warehouse and the published file")
    known = Known()
    findings += check_warehouse(found.paths, known)
    findings += check_published(found.paths)
    for team in found.teams:
        progress.note(f"every route, as team {team.team}")
        findings += check_access(team, known, pendulum.now("UTC").date())
    findings += check_seeds(found, known)
    return findings
