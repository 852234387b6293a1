"""Settings, read once by dlt's rules: environment, `.dlt/secrets.toml`, `.dlt/config.toml`, in this order."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import date
from typing import Any
from urllib.parse import urlsplit

import pendulum

from pipelines.errors import ConfigError
from pipelines.paths import PROJECT_DIR, DataPaths, data_paths

# dlt looks for `.dlt/` in the working directory unless told; cron may start anywhere.
os.environ.setdefault("DLT_PROJECT_DIR", str(PROJECT_DIR))
# dlt's own log goes to stderr, with tracebacks where a disk is full; what a person must know is said by our messages.
os.environ.setdefault("RUNTIME__LOG_LEVEL", "CRITICAL")

import dlt

LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})
PLANS = ("teams", "enterprise")
SOURCE = "sources.cursor_admin"
DEFAULT_BASE_URL = "https://api.cursor.com"
# What one team may set for itself, in a section of its own.
TEAM_SETTINGS = (
    "api_key",
    "base_url",
    "start_date",
    "lookback_days",
    "rate_limit_per_minute",
    "rate_limit_shared",
    "rate_limit_window_seconds",
    "organization_api_key",
    "organization_id",
    "team_id",
)
SLUG = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")  # a folder is named after it, and a setting can be


@dataclass(frozen=True)
class TeamSettings:
    """How to reach one team. `start_date` is None when not set: 90 days before the first run.

    `api_team_id` is the team's number at Cursor; `section` the one of `.dlt/secrets.toml` that its key comes from.
    """

    team: str
    api_key: str
    base_url: str
    start_date: date | None
    lookback_days: int
    rate_limit_per_minute: int | None
    rate_limit_shared: bool
    rate_limit_window_seconds: float
    organization_api_key: str | None = None
    organization_id: str | None = None
    api_team_id: str | None = None
    section: str = SOURCE

    def __repr__(self) -> str:
        return f"TeamSettings(team={self.team!r}, base_url={self.base_url!r})"  # never a key

    @property
    def is_loopback(self) -> bool:
        return is_loopback(self.base_url)


@dataclass(frozen=True)
class Settings:
    """Everything a run needs to know that is not data."""

    paths: DataPaths
    plan: str | None
    stale_hours: int
    base_url: str
    hold_seats_after_removal: bool = True

    @property
    def is_loopback(self) -> bool:
        return is_loopback(self.base_url)


def is_loopback(base_url: str) -> bool:
    """Whether an address stays on this machine."""
    return (urlsplit(base_url).hostname or "") in LOOPBACK_HOSTS


def _get(key: str, kind: type, default: Any = None) -> Any:
    value: Any = dlt.config.get(key)
    if value is None or value == "":
        return default
    try:
        if kind is date:
            parsed = pendulum.parse(str(value), exact=True)
            if not isinstance(parsed, date) or isinstance(parsed, pendulum.DateTime):
                raise ValueError
            return date(parsed.year, parsed.month, parsed.day)
        if kind is bool:
            return str(value).strip().lower() in {"true", "1", "yes", "on"}
        return kind(value)
    except (TypeError, ValueError) as error:
        wanted = {date: "a date such as 2026-08-01", int: "a whole number", float: "a number"}.get(kind, kind.__name__)
        raise ConfigError(
            f"{setting_name(key)} must be {wanted}, not {value!r}. Set it in .dlt/config.toml."
        ) from error


def setting_name(key: str) -> str:
    """The environment variable of a setting: `chargeback.plan` -> `CHARGEBACK__PLAN`."""
    return key.upper().replace(".", "__")


def load_settings() -> Settings:
    """Settings that need no key. Raises ConfigError for a value that cannot be used."""
    plan = _get("chargeback.plan", str)
    if plan is not None and plan not in PLANS:
        raise ConfigError(f"CHARGEBACK__PLAN must be one of {', '.join(PLANS)}, not {plan!r}.")
    stale_hours = _get("chargeback.stale_hours", int, 36)
    if stale_hours <= 0:
        raise ConfigError(f"CHARGEBACK__STALE_HOURS must be a positive number of hours, not {stale_hours}.")
    return Settings(
        paths=data_paths(_get("chargeback.data_dir", str, "data"), _get("chargeback.seeds_dir", str)),
        plan=plan,
        stale_hours=stale_hours,
        base_url=_get("sources.cursor_admin.base_url", str, DEFAULT_BASE_URL).rstrip("/"),
        hold_seats_after_removal=_get("chargeback.hold_seats_after_removal", bool, True),
    )


def load_team_settings() -> list[TeamSettings]:
    """One entry per team to load, at least one: that of `[sources.cursor_admin]` if it has a key, then every section
    `[sources.cursor_admin.teams.<slug>]`, by slug.

    Raises:
        ConfigError: no key at all or none for a team, a slug or a setting that cannot be, or one team twice.
    """
    slugs = _team_slugs()
    teams = [_team_settings(slug, f"{SOURCE}.teams.{slug}") for slug in slugs]
    if _get("sources.cursor_admin.api_key", str):
        teams.insert(0, _team_settings(_get("sources.cursor_admin.team", str, "default"), SOURCE))
    if not teams:
        raise ConfigError(
            "No API key. Set api_key under [sources.cursor_admin] in .dlt/secrets.toml, or the environment variable "
            "SOURCES__CURSOR_ADMIN__API_KEY. `chargeback demo` needs none."
        )
    _refuse_twins(teams)
    return teams


def configured_keys() -> list[str]:
    """Every key that is set, right or wrong: what no log may show. Never fails."""
    sections = [SOURCE, *(f"{SOURCE}.teams.{slug}" for slug in _found_slugs())]
    values: list[Any] = [
        dlt.config.get(f"{section}.{name}") for section in sections for name in TEAM_SETTINGS if "key" in name
    ]
    return [str(value) for value in values if value]


def _team_settings(team: str, section: str) -> TeamSettings:
    """The settings of one section; what it does not set comes from `[sources.cursor_admin]`, but for the key."""
    if not SLUG.fullmatch(team):
        raise ConfigError(
            f"{team!r} cannot be the slug of a team: letters, digits, - and _ can. Rename it in [{section}]."
        )

    def inherited(name: str, kind: type, default: Any = None) -> Any:
        own = _get(f"{section}.{name}", kind)
        return own if own is not None else _get(f"{SOURCE}.{name}", kind, default)

    api_key = _get(f"{section}.api_key", str)
    if not api_key:
        raise ConfigError(
            f"No API key for the team {team!r}. Set api_key under [{section}] in .dlt/secrets.toml, or the environment "
            f"variable {setting_name(section)}__API_KEY; a team's key is never taken from another section."
        )
    lookback_days = inherited("lookback_days", int, 3)
    if lookback_days < 1:
        raise ConfigError(f"{setting_name(section)}__LOOKBACK_DAYS must be at least 1, not {lookback_days}.")
    base_url = inherited("base_url", str, DEFAULT_BASE_URL).rstrip("/")
    organization_id = inherited("organization_id", str)
    organization_api_key = _get(f"{section}.organization_api_key", str)
    # One key may serve all teams of an organisation, but it must not travel to an address that it was not set for.
    if organization_api_key is None and base_url == _get(f"{SOURCE}.base_url", str, DEFAULT_BASE_URL).rstrip("/"):
        organization_api_key = _get(f"{SOURCE}.organization_api_key", str)
    if organization_api_key and not organization_id:
        raise ConfigError(
            f"There is an organization_api_key for the team {team!r} but no organization_id. "
            f"Set {setting_name(section)}__ORGANIZATION_ID, or organization_id under [{section}] in .dlt/config.toml."
        )
    return TeamSettings(
        team=team,
        api_key=api_key,
        base_url=base_url,
        start_date=inherited("start_date", date),
        lookback_days=lookback_days,
        rate_limit_per_minute=inherited("rate_limit_per_minute", int),
        rate_limit_shared=inherited("rate_limit_shared", bool, False),
        rate_limit_window_seconds=inherited("rate_limit_window_seconds", float, 60.0),
        organization_api_key=organization_api_key,
        organization_id=organization_id,
        api_team_id=_get(f"{section}.team_id", str),  # a number of this very team: never inherited
        section=section,
    )


def _team_slugs() -> list[str]:
    """The teams that have a section, sorted. Raises ConfigError for a section that holds what no team can set."""
    for slug, values in _sections().items():
        if not isinstance(values, dict):
            raise ConfigError(f"[{SOURCE}.teams] holds {slug!r}, which is no section. Write [{SOURCE}.teams.{slug}].")
        if unknown := sorted(set(values) - set(TEAM_SETTINGS)):
            raise ConfigError(
                f"[{SOURCE}.teams.{slug}] holds {unknown[0]!r}, which no team can set: {', '.join(TEAM_SETTINGS)} can."
            )
    return _found_slugs()


def _found_slugs() -> list[str]:
    """Slugs of sections in both files as they are written, and of the environment, where there is no small letter."""
    slugs = set(_sections())
    known = {slug.upper() for slug in slugs}
    names = "|".join(name.upper() for name in TEAM_SETTINGS)
    pattern = re.compile(rf"{setting_name(SOURCE)}__TEAMS__(.+?)__({names})")
    found = {match[1] for name in os.environ if (match := pattern.fullmatch(name))}
    return sorted(slugs | {slug.lower() for slug in found if slug not in known})


def _sections() -> dict[str, Any]:
    """What stands below `[sources.cursor_admin.teams]` in `config.toml` and `secrets.toml`, by slug."""
    merged: dict[str, Any] = {}
    for provider in dlt.config.config_providers:
        found, _ = provider.get_value("teams", dict, "", *SOURCE.split("."))
        for slug, values in found.items() if isinstance(found, dict) else ():
            before = merged.get(slug)
            merged[slug] = {**before, **values} if isinstance(before, dict) and isinstance(values, dict) else values
    return merged


def _refuse_twins(teams: list[TeamSettings]) -> None:
    """Two teams under one slug would be one team; one team under two slugs would be paid for twice."""
    slugs: dict[str, str] = {}
    keys: dict[str, str] = {}
    for one in teams:
        if (other := slugs.setdefault(one.team.lower(), one.section)) != one.section:
            raise ConfigError(f"[{other}] and [{one.section}] are both the team {one.team!r}. Rename one of them.")
        if (other := keys.setdefault(one.api_key, one.section)) != one.section:
            raise ConfigError(
                f"[{other}] and [{one.section}] hold the same api_key: that team would be loaded under two names. "
                "Remove one of them, or give each its own key."
            )
