"""The nouns of the invented organisation. Times are epoch milliseconds; every history is a tuple in order of time."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date

UNASSIGNED_ID = "group_unassigned"


@dataclass(frozen=True)
class Account:
    """One `user_` id. A re-invited person has two, with the same e-mail."""

    user_id: str
    numeric_id: int
    name: str
    email: str  # as Cursor stores it: capitals happen
    joined_ms: int
    removed_ms: int | None
    roles: tuple[tuple[int, str], ...]
    blanked_ms: int | None = None  # from then on its events come without e-mail

    def role_at(self, ms: int) -> str:
        return next((role for since, role in reversed(self.roles) if since <= ms), self.roles[0][1])

    def is_on_team(self, ms: int) -> bool:
        return self.joined_ms <= ms and (self.removed_ms is None or ms < self.removed_ms)


@dataclass(frozen=True)
class Person:
    """A human being: `email` in lower case is who they are for billing."""

    index: int
    name: str
    email: str
    weight: float  # usage against the average person
    day_starts_hour: int  # UTC
    repositories: tuple[str, ...]
    accounts: tuple[Account, ...]


@dataclass(frozen=True)
class Group:
    """A billing group; `names` holds (since, name)."""

    group_id: str
    names: tuple[tuple[int, str], ...]
    directory_group_id: str | None
    created_ms: int
    deleted_ms: int | None

    def name_at(self, ms: int) -> str:
        return next((name for since, name in reversed(self.names) if since <= ms), self.names[0][1])

    def exists_at(self, ms: int) -> bool:
        return self.created_ms <= ms and (self.deleted_ms is None or ms < self.deleted_ms)


@dataclass(frozen=True)
class Stint:
    """One stay of an account in a group, `[joined_ms, left_ms)`."""

    group_id: str
    user_id: str
    joined_ms: int
    left_ms: int | None


@dataclass(frozen=True)
class ServiceAccount:
    """`mappings` holds the company's own seed rows (valid from, group); without any, its cost is unassigned."""

    service_account_id: str
    name: str
    email: str | None
    owner_email: str
    purpose: str
    created_ms: int
    archived_ms: int | None
    events_per_day: int
    mappings: tuple[tuple[date, str], ...]

    def mapped_group(self, day: date) -> str | None:
        return next((group_id for since, group_id in reversed(self.mappings) if since <= day), None)


@dataclass(frozen=True)
class Roster:
    """Who is where, over all time."""

    persons: tuple[Person, ...]
    groups: tuple[Group, ...]
    stints: tuple[Stint, ...]
    service_accounts: tuple[ServiceAccount, ...]
    accounts: dict[str, Account] = field(init=False)

    def __post_init__(self) -> None:
        accounts = {account.user_id: account for person in self.persons for account in person.accounts}
        object.__setattr__(self, "accounts", accounts)
