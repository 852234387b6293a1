"""The raw tables: keys, column types, units, and which fields of the API fill them. Knows no HTTP and no JSON.

Types are declared, never inferred: an amount is `decimal(18, 6)` US cents whatever the first page looks like.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pyarrow as pa
from dlt.common.schema.typing import TColumnSchema, TSchemaContractDict

USAGE_EVENTS_PATH = "/teams/filtered-usage-events"
BILLING_GROUPS_PATH = "/teams/groups"
MEMBERS_PATH = "/teams/members"
AUDIT_LOGS_PATH = "/teams/audit-logs"
SPEND_PATH = "/teams/spend"
DAILY_USAGE_PATH = "/teams/daily-usage-data"
DIRECTORY_GROUPS_PATH = "/teams/directory-groups"
REPOSITORY_BLOCKLISTS_PATH = "/settings/repo-blocklists/repos"
AI_COMMITS_PATH = "/analytics/ai-code/commits"
POOLED_USAGE_PATH = "/organizations/pooled-usage"

TEXT = pa.string()
WHOLE = pa.int64()
FLAG = pa.bool_()
CENTS = pa.decimal128(18, 6)  # also for request units and per cent: six digits, as the API sends
INSTANT = pa.timestamp("us")  # UTC without zone
DAY = pa.date32()

# The schema itself is frozen: new fields land in `extra_json`, a changed type stops the load.
FROZEN: TSchemaContractDict = {"tables": "evolve", "columns": "freeze", "data_type": "freeze"}


@dataclass(frozen=True)
class Field:
    """One stored field of a JSON object. `required`: the key must be there (its value may still be null)."""

    column: str
    key: str
    type: pa.DataType
    required: bool = False


EVENT_FIELDS = (
    Field("user_email", "userEmail", TEXT),
    Field("service_account_id", "serviceAccountId", TEXT),
    Field("service_account_name", "serviceAccountName", TEXT),
    Field("cloud_agent_id", "cloudAgentId", TEXT),
    Field("automation_id", "automationId", TEXT),
    Field("conversation_id", "conversationId", TEXT),
    Field("model", "model", TEXT),
    Field("kind", "kind", TEXT),
    Field("is_max_mode", "maxMode", FLAG),
    Field("is_token_based", "isTokenBasedCall", FLAG),
    Field("is_chargeable", "isChargeable", FLAG),
    Field("is_headless", "isHeadless", FLAG),
    Field("request_units", "requestsCosts", CENTS),
    Field("charged_cents", "chargedCents", CENTS),
    Field("token_fee_cents", "cursorTokenFee", CENTS),
)
TOKEN_FIELDS = (
    Field("input_tokens", "inputTokens", WHOLE),
    Field("output_tokens", "outputTokens", WHOLE),
    Field("cache_write_tokens", "cacheWriteTokens", WHOLE),
    Field("cache_read_tokens", "cacheReadTokens", WHOLE),
    Field("model_cents", "totalCents", CENTS),
    Field("discount_percent_off", "discountPercentOff", CENTS),
)
GROUP_FIELDS = (
    Field("billing_group_id", "id", TEXT, required=True),
    Field("name", "name", TEXT, required=True),
    Field("group_type", "type", TEXT),
    Field("directory_group_id", "directoryGroupId", TEXT),
    Field("member_count", "memberCount", WHOLE),
    Field("created_at", "createdAt", INSTANT),
    Field("updated_at", "updatedAt", INSTANT),
    Field("spend_cents", "spendCents", CENTS),
)
GROUP_MEMBER_FIELDS = (
    Field("user_id", "userId", TEXT, required=True),
    Field("user_email", "email", TEXT, required=True),
    Field("name", "name", TEXT),
    Field("joined_at", "joinedAt", INSTANT, required=True),
    Field("left_at", "leftAt", INSTANT),
    Field("spend_cents", "spendCents", CENTS),
)
MEMBER_FIELDS = (
    Field("user_id", "id", TEXT),
    Field("user_email", "email", TEXT, required=True),
    Field("name", "name", TEXT),
    Field("role", "role", TEXT, required=True),
    Field("is_removed", "isRemoved", FLAG),
)
# The fields of an event of the audit log; `ip_address` is personal and needed for nothing: it is not stored.
AUDIT_FIELDS = (
    Field("event_id", "event_id", TEXT, required=True),
    Field("occurred_at", "timestamp", INSTANT, required=True),
    Field("actor", "user_email", TEXT),
    Field("event_type", "event_type", TEXT, required=True),
    Field("application_type", "application_type", TEXT),
)
# Limits are whole dollars in the API, and kept as such: only what is spent is cents.
SPEND_FIELDS = (
    Field("user_id", "userId", TEXT),
    Field("user_email", "email", TEXT, required=True),
    Field("name", "name", TEXT),
    Field("role", "role", TEXT),
    Field("spend_cents", "spendCents", CENTS),  # on demand only, since mid-2026
    Field("overall_spend_cents", "overallSpendCents", CENTS),
    Field("fast_premium_requests", "fastPremiumRequests", WHOLE),
    Field("limit_override_usd", "hardLimitOverrideDollars", CENTS),
    Field("monthly_limit_usd", "monthlyLimitDollars", CENTS),
    Field("effective_limit_usd", "effectivePerUserLimitDollars", CENTS),
    Field("billing_tier", "billingTier", TEXT),  # not documented
)
POOLED_USAGE_FIELDS = (
    Field("api_team_id", "teamId", TEXT),
    Field("used_cents", "usedCents", CENTS),
    Field("budget_limit_cents", "budgetLimitCents", CENTS),
    Field("pool_limit_cents", "pool.limitCents", CENTS),
    Field("pool_used_cents", "pool.usedCents", CENTS),
    Field("pool_remaining_cents", "pool.remainingCents", CENTS),
    Field("contract_start_at", "pool.contractStartDate", INSTANT),
    Field("contract_end_at", "pool.contractEndDate", INSTANT),
)
DAILY_USAGE_FIELDS = (
    Field("user_id", "userId", TEXT),  # a number, not the `user_` id of every other route
    Field("user_email", "email", TEXT, required=True),
    Field("is_active", "isActive", FLAG),
    Field("total_lines_added", "totalLinesAdded", WHOLE),
    Field("total_lines_deleted", "totalLinesDeleted", WHOLE),
    Field("accepted_lines_added", "acceptedLinesAdded", WHOLE),
    Field("accepted_lines_deleted", "acceptedLinesDeleted", WHOLE),
    Field("apply_count", "totalApplies", WHOLE),
    Field("accept_count", "totalAccepts", WHOLE),
    Field("reject_count", "totalRejects", WHOLE),
    Field("tabs_shown_count", "totalTabsShown", WHOLE),
    Field("tabs_accepted_count", "totalTabsAccepted", WHOLE),
    Field("composer_request_count", "composerRequests", WHOLE),
    Field("chat_request_count", "chatRequests", WHOLE),
    Field("agent_request_count", "agentRequests", WHOLE),
    Field("cmdk_usage_count", "cmdkUsages", WHOLE),
    Field("included_request_count", "subscriptionIncludedReqs", WHOLE),
    Field("own_key_request_count", "apiKeyReqs", WHOLE),
    Field("usage_based_request_count", "usageBasedReqs", WHOLE),
    Field("bugbot_usage_count", "bugbotUsages", WHOLE),
    Field("most_used_model", "mostUsedModel", TEXT),
    Field("apply_most_used_extension", "applyMostUsedExtension", TEXT),
    Field("tab_most_used_extension", "tabMostUsedExtension", TEXT),
    Field("client_version", "clientVersion", TEXT),
)
DIRECTORY_GROUP_FIELDS = (
    Field("directory_group_id", "id", TEXT, required=True),
    Field("name", "name", TEXT),
    Field("member_count", "memberCount", WHOLE),
    Field("monthly_limit_usd", "monthlySpendingLimitDollars", CENTS),
    Field("created_at", "createdAt", INSTANT),
    Field("updated_at", "updatedAt", INSTANT),
)
DIRECTORY_GROUP_MEMBER_FIELDS = (
    Field("user_id", "userId", TEXT),
    Field("user_email", "email", TEXT, required=True),
    Field("name", "name", TEXT),
    Field("joined_at", "joinedAt", INSTANT),
)
REPOSITORY_BLOCKLIST_FIELDS = (
    Field("repository_id", "id", TEXT, required=True),
    Field("url", "url", TEXT),
)
# `message` is what somebody wrote, and needed for nothing: it is not stored.
AI_COMMIT_FIELDS = (
    Field("commit_hash", "commitHash", TEXT, required=True),
    Field("user_id", "userId", TEXT),
    Field("user_email", "userEmail", TEXT),
    Field("repository_name", "repoName", TEXT),
    Field("branch_name", "branchName", TEXT),
    Field("is_primary_branch", "isPrimaryBranch", FLAG),
    Field("commit_source", "commitSource", TEXT),
    Field("total_lines_added", "totalLinesAdded", WHOLE),
    Field("total_lines_deleted", "totalLinesDeleted", WHOLE),
    Field("tab_lines_added", "tabLinesAdded", WHOLE),
    Field("tab_lines_deleted", "tabLinesDeleted", WHOLE),
    Field("composer_lines_added", "composerLinesAdded", WHOLE),
    Field("composer_lines_deleted", "composerLinesDeleted", WHOLE),
    Field("non_ai_lines_added", "nonAiLinesAdded", WHOLE),
    Field("non_ai_lines_deleted", "nonAiLinesDeleted", WHOLE),
    Field("committed_at", "commitTs", INSTANT),
    Field("created_at", "createdAt", INSTANT, required=True),
)


def _schema(*columns: tuple[str, pa.DataType]) -> pa.Schema:
    return pa.schema([pa.field(name, type_) for name, type_ in columns])


def _columns(fields: Iterable[Field]) -> list[tuple[str, pa.DataType]]:
    return [(field.column, field.type) for field in fields]


SCHEMAS: Mapping[str, pa.Schema] = {
    "teams": _schema(("team", TEXT), ("start_date", DAY), ("first_run_at", INSTANT)),
    "usage_events": _schema(
        ("team", TEXT),
        ("batch_id", TEXT),
        ("usage_date", DAY),
        ("occurred_at", INSTANT),
        *_columns(EVENT_FIELDS),
        *_columns(TOKEN_FIELDS),
        ("extra_json", TEXT),
    ),
    "load_windows": _schema(
        ("team", TEXT),
        ("resource", TEXT),
        ("read_id", TEXT),
        ("read_number", WHOLE),
        ("usage_date", DAY),
        ("batch_id", TEXT),
        ("outcome", TEXT),
        ("announced_count", WHOLE),
        ("row_count", WHOLE),
        ("charged_cents", CENTS),
        ("digest", TEXT),
        ("read_at", INSTANT),
        ("run_id", TEXT),
    ),
    "snapshot_reads": _schema(
        ("team", TEXT),
        ("resource", TEXT),
        ("cycle_start_at", INSTANT),
        ("cycle_end_at", INSTANT),
        ("is_current_cycle", FLAG),
        ("read_id", TEXT),
        ("read_number", WHOLE),
        ("snapshot_id", TEXT),
        ("outcome", TEXT),
        ("row_count", WHOLE),
        ("current_member_count", WHOLE),
        ("digest", TEXT),
        ("guard_digest", TEXT),
        ("detail", TEXT),
        ("read_at", INSTANT),
        ("run_id", TEXT),
    ),
    "billing_groups": _schema(
        ("team", TEXT),
        ("snapshot_id", TEXT),
        ("is_unassigned", FLAG),
        *_columns(GROUP_FIELDS),
        ("extra_json", TEXT),
    ),
    "billing_group_members": _schema(
        ("team", TEXT),
        ("snapshot_id", TEXT),
        ("billing_group_id", TEXT),
        ("is_unassigned", FLAG),
        ("is_current", FLAG),
        *_columns(GROUP_MEMBER_FIELDS),
        ("extra_json", TEXT),
    ),
    "members": _schema(("team", TEXT), ("snapshot_id", TEXT), *_columns(MEMBER_FIELDS), ("extra_json", TEXT)),
    "audit_events": _schema(
        ("team", TEXT),
        ("batch_id", TEXT),
        *_columns(AUDIT_FIELDS),
        ("event_data_json", TEXT),
        ("extra_json", TEXT),
    ),
    "member_spend": _schema(("team", TEXT), ("snapshot_id", TEXT), *_columns(SPEND_FIELDS), ("extra_json", TEXT)),
    # Two days at most, and less than the events of these days: a control, never a ledger. `user_id` is null for the
    # group as a whole.
    "billing_group_daily_spend": _schema(
        ("team", TEXT),
        ("snapshot_id", TEXT),
        ("billing_group_id", TEXT),
        ("user_id", TEXT),
        ("spend_date", DAY),
        ("spend_cents", CENTS),
    ),
    "directory_groups": _schema(
        ("team", TEXT), ("snapshot_id", TEXT), *_columns(DIRECTORY_GROUP_FIELDS), ("extra_json", TEXT)
    ),
    "directory_group_members": _schema(
        ("team", TEXT),
        ("snapshot_id", TEXT),
        ("directory_group_id", TEXT),
        *_columns(DIRECTORY_GROUP_MEMBER_FIELDS),
        ("extra_json", TEXT),
    ),
    "repository_blocklists": _schema(
        ("team", TEXT),
        ("snapshot_id", TEXT),
        *_columns(REPOSITORY_BLOCKLIST_FIELDS),
        ("patterns_json", TEXT),
        ("extra_json", TEXT),
    ),
    # One row per team of the organisation, with the pool beside it. `is_own_team`: the team this was loaded for.
    "pooled_usage": _schema(
        ("team", TEXT),
        ("snapshot_id", TEXT),
        ("api_team_id", TEXT),
        ("is_own_team", FLAG),
        ("used_cents", CENTS),
        ("budget_limit_cents", CENTS),
        ("pool_limit_cents", CENTS),
        ("pool_used_cents", CENTS),
        ("pool_remaining_cents", CENTS),
        ("contract_start_at", INSTANT),
        ("contract_end_at", INSTANT),
        ("extra_json", TEXT),
    ),
    "daily_usage": _schema(
        ("team", TEXT), ("batch_id", TEXT), ("usage_date", DAY), *_columns(DAILY_USAGE_FIELDS), ("extra_json", TEXT)
    ),
    "ai_commits": _schema(("team", TEXT), ("batch_id", TEXT), *_columns(AI_COMMIT_FIELDS), ("extra_json", TEXT)),
    "stream_reads": _schema(
        ("team", TEXT),
        ("resource", TEXT),
        ("window_start_at", INSTANT),
        ("window_end_at", INSTANT),
        ("read_id", TEXT),
        ("read_number", WHOLE),
        ("batch_id", TEXT),
        ("outcome", TEXT),
        ("row_count", WHOLE),
        ("detail", TEXT),
        ("read_at", INSTANT),
        ("run_id", TEXT),
    ),
}


def dlt_columns(table: str) -> dict[str, TColumnSchema]:
    """dlt's column hints for a raw table, from the one schema above. Times are UTC without zone."""
    return dlt_hints(SCHEMAS[table])


def dlt_hints(schema: pa.Schema) -> dict[str, TColumnSchema]:
    """dlt's column hints for any schema made of the types above, or of decimals of another precision."""
    hints: dict[str, TColumnSchema] = {}
    for field in schema:
        hint: TColumnSchema = {"name": field.name, "nullable": True}
        if field.type == TEXT:
            hint["data_type"] = "text"
        elif field.type == WHOLE:
            hint["data_type"] = "bigint"
        elif field.type == FLAG:
            hint["data_type"] = "bool"
        elif field.type == DAY:
            hint["data_type"] = "date"
        elif field.type == INSTANT:
            hint.update({"data_type": "timestamp", "timezone": False, "precision": 6})
        else:
            hint.update({"data_type": "decimal", "precision": field.type.precision, "scale": field.type.scale})
        hints[field.name] = hint
    return hints
