"""The reads of routes that chargeback can do without, in API order: one place to import them from."""

from __future__ import annotations

from .activity import read_ai_commits, read_ai_commits_csv, read_daily_usage
from .controls import (
    read_billing_group_details,
    read_directory_groups,
    read_member_spend,
    read_pooled_usage,
    read_repository_blocklists,
)
from .optional_lists import OptionalAnswer

__all__ = [
    "OptionalAnswer",
    "read_ai_commits",
    "read_ai_commits_csv",
    "read_billing_group_details",
    "read_daily_usage",
    "read_directory_groups",
    "read_member_spend",
    "read_pooled_usage",
    "read_repository_blocklists",
]
