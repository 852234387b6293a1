"""Settings: whether every value can be used, and whether somebody set one that nobody reads."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.config import (
    SOURCE,
    TEAM_SETTINGS,
    Settings,
    TeamSettings,
    load_settings,
    load_team_settings,
    setting_name,
)
from pipelines.doctor.findings import FAILING, OK, WARNING, Finding
from pipelines.errors import ConfigError
from pipelines.paths import DataPaths, data_paths

# Every setting there is; tests hold it against .dlt/config.toml and .dlt/example.secrets.toml.
KNOWN_SETTINGS: Mapping[str, frozenset[str]] = {
    SOURCE: frozenset({*TEAM_SETTINGS, "team", "teams"}),
    "chargeback": frozenset({"data_dir", "hold_seats_after_removal", "plan", "seeds_dir", "stale_hours"}),
}
SWITCHES = ("rate_limit_shared", "hold_seats_after_removal")
SWITCH_WORDS = ("true", "1", "yes", "on", "false", "0", "no", "off")


@dataclass
class Configuration:
    """What of the settings can be used; `settings` is None and `teams` is empty where that is nothing."""

    paths: DataPaths
    settings: Settings | None = None
    teams: list[TeamSettings] = field(default_factory=list)


def settings_folder() -> Path:
    """Where `config.toml` and `secrets.toml` lie; `pipelines.config` has settled it for dlt."""
    return Path(os.environ["DLT_PROJECT_DIR"]) / ".dlt"


def read_configuration() -> tuple[Configuration, list[Finding]]:
    """The settings as far as they can be read, and what is wrong with them. Never fails for a slip."""
    findings = list(_slips())
    if any(one.level == FAILING for one in findings):  # not TOML: dlt could not even say where
        return Configuration(data_paths(os.environ.get(setting_name("chargeback.data_dir")) or "data")), findings
    found = Configuration(_paths())
    try:
        found.settings = load_settings()
    except ConfigError as error:
        findings.append(Finding(FAILING, "settings", str(error), "Correct it: no run starts with it."))
    try:
        found.teams = load_team_settings()
    except ConfigError as error:
        findings.append(Finding(FAILING, "settings", str(error), "Until then no run can read the API."))
    if found.settings is not None and found.teams:
        teams = ", ".join(one.team for one in found.teams)
        findings.append(
            Finding(OK, "settings", f"every value can be used; team {teams}; files in {found.paths.data_dir}")
        )
    return found, findings


def _paths() -> DataPaths:
    """The files of the data folder, also where another setting cannot be used."""
    import dlt  # already configured by `pipelines.config`

    return data_paths(dlt.config.get("chargeback.data_dir") or "data", dlt.config.get("chargeback.seeds_dir") or None)


def _slips() -> Iterator[Finding]:
    for name in ("config.toml", "secrets.toml"):
        path = settings_folder() / name
        try:
            content = tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        except (OSError, ValueError) as error:
            # of secrets.toml nothing is quoted: the line that is wrong may be the key's
            why = f": {error}" if name == "config.toml" else ""
            yield Finding(FAILING, "settings", f"{path} cannot be read as TOML{why}", "Correct the file.")
            continue
        for section in KNOWN_SETTINGS:
            for key, value in _inside(content, section).items():
                yield from _judge(section, key, value, str(path))
        for slug, own in _inside(content, f"{SOURCE}.teams").items():
            for key, value in own.items() if isinstance(own, Mapping) else ():
                yield from _judge(f"{SOURCE}.teams.{slug}", key, value, str(path))
    for variable, value in os.environ.items():
        for section in KNOWN_SETTINGS:
            prefix = f"{setting_name(section)}__"
            if variable.startswith(prefix):
                *inside, key = variable.removeprefix(prefix).lower().split("__")
                yield from _judge(".".join([section, *inside]), key, value, "the environment")


def _inside(content: Mapping[str, Any], section: str) -> Mapping[str, Any]:
    for part in section.split("."):
        content = content.get(part, {})
        if not isinstance(content, Mapping):
            return {}
    return content


def _judge(section: str, key: str, value: Any, where: str) -> Iterator[Finding]:
    known = KNOWN_SETTINGS.get(section, frozenset(TEAM_SETTINGS))
    if key not in known:
        near = difflib.get_close_matches(key, known, 1)
        meant = f"Did you mean {near[0]}?" if near else f"Known are {', '.join(sorted(known))}."
        yield Finding(WARNING, "settings", f"nothing reads {key} under [{section}] in {where}", meant)
    elif key in SWITCHES and str(value).strip().lower() not in SWITCH_WORDS:
        text = f"{key} under [{section}] in {where} is neither true nor false, and counts as false"
        yield Finding(WARNING, "settings", text, "Write true or false.")
    elif key.endswith("api_key") and where.endswith("config.toml"):
        advice = "Move it to .dlt/secrets.toml, which is never committed."
        yield Finding(WARNING, "settings", f"the key stands in {where}, which is meant to be shared", advice)
