"""Every error a person can meet: what happened, where, what to do next. The command line prints the message only."""

from __future__ import annotations

from pipelines.cursor_admin.access import RefusedRequestError
from pipelines.cursor_admin.errors import ApiError, ApiShapeError, AuthError, IncompleteWindowError, RateLimitError

__all__ = [
    "ApiError",
    "ApiShapeError",
    "AuthError",
    "BuildError",
    "ChargebackError",
    "ConfigError",
    "FileError",
    "IncompleteWindowError",
    "LoadError",
    "LockedError",
    "RateLimitError",
    "RefusedRequestError",
    "TeamsFailedError",
]


class ChargebackError(Exception):
    """Base of ours; the errors of the API have their own base, `ApiError`, as the source stands alone. Exit code 1."""


class ConfigError(ChargebackError):
    """A setting or an argument is missing or wrong. Exit code 2."""


class LockedError(ChargebackError):
    """Another run holds the lock. Exit code 75."""


class LoadError(ChargebackError):
    """The destination does not hold what was read; nothing of the batch counts."""


class TeamsFailedError(ChargebackError):
    """The API let some of several teams down."""

    @classmethod
    def of(cls, failures: list[str], outcome: str) -> TeamsFailedError:
        """One line per team, each with its next step, below what became of the others."""
        return cls("\n".join([outcome, *(f"  {failure}" for failure in failures)]))


class BuildError(ChargebackError):
    """dbt failed or a test of error level did not pass; the published file is as it was."""


class FileError(ChargebackError):
    """A file or folder cannot be used: foreign, corrupt, not writable, disk full."""
