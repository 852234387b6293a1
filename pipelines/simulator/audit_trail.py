"""The audit log that the roster's history leaves: joins, departures, roles, service accounts, directory groups."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

from pipelines.simulator.behaviour import Behaviour
from pipelines.simulator.instants import HOUR_MS
from pipelines.simulator.people import Account, Roster
from pipelines.simulator.usage import uuid_text

_SPRING_NAMES = {
    "add_user": "member_added",
    "remove_user": "member_removed",
    "update_user_role": "role_changed",
    "team_settings": "settings_changed",
}
_ROLE_CODES = {"member": "MEMBER", "owner": "OWNER", "free-owner": "FREE_OWNER"}


@dataclass(frozen=True)
class AuditEvent:
    event_id: str
    at_ms: int
    actor: str
    event_type: str
    data: dict[str, Any]


def audit_trail(seed: int, roster: Roster, behaviour: Behaviour, team_id: int) -> tuple[AuditEvent, ...]:
    """Every event there ever is, oldest first."""
    admin = roster.persons[0].accounts[0]
    drafts: list[tuple[int, str, str, dict[str, Any]]] = []
    for account in roster.accounts.values():
        drafts += _account_events(account, admin, team_id)
    directory = {
        group.group_id: group.directory_group_id for group in roster.groups if group.directory_group_id is not None
    }
    for group in roster.groups:
        if group.directory_group_id is not None:
            named = {"directory_group_id": group.directory_group_id, "name": group.names[0][1]}
            drafts.append((group.created_ms - 1000, "SCIM", "create_directory_group", named))
    for stint in roster.stints:
        if stint.group_id in directory:
            data = {"directory_group_id": directory[stint.group_id], "user_email": roster.accounts[stint.user_id].email}
            drafts.append((stint.joined_ms, "SCIM", "add_user_to_directory_group", data))
            if stint.left_ms is not None:
                drafts.append((stint.left_ms, "SCIM", "remove_user_from_directory_group", data))
    for sa in roster.service_accounts:
        named = {"service_account_id": sa.service_account_id, "service_account_name": sa.name}
        drafts.append((sa.created_ms, admin.email, "service_account", {"action": "create", **named}))
        drafts.append((sa.created_ms + 60_000, admin.email, "api_key", {"action": "create", **named}))
        if sa.archived_ms is not None:
            drafts.append((sa.archived_ms, admin.email, "service_account", {"action": "archive", **named}))
    setting = {"setting_name": "per_user_monthly_limit_dollars", "old_value": "100", "new_value": "150"}
    drafts.append((min(group.created_ms for group in roster.groups) + HOUR_MS, admin.email, "team_settings", setting))
    drafts.sort(key=lambda draft: (draft[0], draft[2], str(draft[3])))
    rng = Random(f"{seed}/audit")
    return tuple(_event(rng, draft, behaviour) for draft in drafts)


def _account_events(account: Account, admin: Account, team_id: int) -> list[tuple[int, str, str, dict[str, Any]]]:
    invited = {
        "invited_by_email": admin.email,
        "invited_by_user_id": admin.user_id,
        "invite_id": f"inv_{account.numeric_id}",
    }
    added = {
        "user_email": account.email,
        "role": _ROLE_CODES[account.roles[0][1]],
        "source": "invite",
        "team_id": team_id,
    }
    drafts: list[tuple[int, str, str, dict[str, Any]]] = [(account.joined_ms, admin.email, "add_user", added | invited)]
    for (_, old), (at_ms, new) in zip(account.roles, account.roles[1:], strict=False):
        changed = {"user_email": account.email, "old_role": _ROLE_CODES[old], "new_role": _ROLE_CODES[new]}
        drafts.append((at_ms, admin.email, "update_user_role", changed))
    if account.removed_ms is not None:
        drafts.append((account.removed_ms, "SCIM", "remove_user", {"user_email": account.email}))
        drafts.append((account.removed_ms, "System", "credentials_revoked", {"user_email": account.email}))
    return drafts


def _event(rng: Random, draft: tuple[int, str, str, dict[str, Any]], behaviour: Behaviour) -> AuditEvent:
    at_ms, actor, event_type, data = draft
    event_id = uuid_text(rng)
    if behaviour.audit_vocabulary == "spring":
        event_id = "evt_" + event_id.replace("-", "")[:16]
        if event_type in ("add_user", "remove_user"):
            data = {"email": data["user_email"], "method": "invite" if event_type == "add_user" else "scim"}
        event_type = _SPRING_NAMES.get(event_type, event_type)
    return AuditEvent(event_id, at_ms, actor, event_type, data)
