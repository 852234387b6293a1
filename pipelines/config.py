"""Settings, read once by dlt's rules: environment, `.dlt/secrets.toml`, `.dlt/config.toml`, in this order."""

from __future__ import annotations

import os
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


@dataclass(frozen=True)
class TeamSettings:
    """How to reach one team. `start_date` is None when not set: 90 days before the first run."""

    team: str
    api_key: str
    base_url: str
    start_date: date | None
    lookback_days: int
    rate_limit_per_minute: int | None
    rate_limit_shared: bool
    rate_limit_window_seconds: float

    def __repr__(self) -> str:
        return f"TeamSettings(team={self.team!r}, base_url={self.base_url!r})"  # never the key


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
        return (urlsplit(self.base_url).hostname or "") in LOOPBACK_HOSTS


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
        base_url=_get("sources.cursor_admin.base_url", str, "https://api.cursor.com").rstrip("/"),
        hold_seats_after_removal=_get("chargeback.hold_seats_after_removal", bool, True),
    )


def load_team_settings() -> list[TeamSettings]:
    """One entry per team to load; at least one. Raises ConfigError when a key is missing."""
    api_key = _get("sources.cursor_admin.api_key", str)
    team = _get("sources.cursor_admin.team", str, "default")
    if not api_key:
        raise ConfigError(
            "No API key. Set api_key under [sources.cursor_admin] in .dlt/secrets.toml, or the environment variable "
            "SOURCES__CURSOR_ADMIN__API_KEY. `chargeback demo` needs none."
        )
    lookback_days = _get("sources.cursor_admin.lookback_days", int, 3)
    if lookback_days < 1:
        raise ConfigError(f"SOURCES__CURSOR_ADMIN__LOOKBACK_DAYS must be at least 1, not {lookback_days}.")
    return [
        TeamSettings(
            team=team,
            api_key=api_key,
            base_url=_get("sources.cursor_admin.base_url", str, "https://api.cursor.com").rstrip("/"),
            start_date=_get("sources.cursor_admin.start_date", date),
            lookback_days=lookback_days,
            rate_limit_per_minute=_get("sources.cursor_admin.rate_limit_per_minute", int),
            rate_limit_shared=_get("sources.cursor_admin.rate_limit_shared", bool, False),
            rate_limit_window_seconds=_get("sources.cursor_admin.rate_limit_window_seconds", float, 60.0),
        )
    ]
