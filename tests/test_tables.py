"""JSON to Arrow: declared types only, nothing lost, nothing guessed."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from pipelines import cursor_admin
from pipelines.cursor_admin.errors import ApiShapeError
from pipelines.cursor_admin.rows import (
    audit_event_table,
    billing_cycle,
    billing_group_tables,
    member_table,
    usage_event_batch,
)
from pipelines.cursor_admin.tables import FROZEN, SCHEMAS
from pipelines.cursor_admin.windows import RowDigest, table_digest

DAY = date(2026, 11, 10)
MIDNIGHT_MS = 1794268800000


def event(**changes: Any) -> dict[str, Any]:
    row = {
        "timestamp": str(MIDNIGHT_MS + 62_517),
        "userEmail": "Ines.Moreau@example.com",
        "conversationId": "0b7b7b1c",
        "model": "claude-4.5-sonnet",
        "kind": "Usage-based",
        "maxMode": False,
        "requestsCosts": 2.4,
        "isTokenBasedCall": True,
        "isChargeable": True,
        "isHeadless": False,
        "tokenUsage": {
            "inputTokens": 1200,
            "outputTokens": 3400,
            "cacheWriteTokens": 18400,
            "cacheReadTokens": 240000,
            "totalCents": 19.56,
        },
        "chargedCents": 26.135,
        "cursorTokenFee": 6.575,
    } | changes
    return {key: value for key, value in row.items() if value is not ...}


def batch(*rows: dict[str, Any]) -> list[dict[str, Any]]:
    return usage_event_batch(list(rows), team="t", batch_id="b", day=DAY).to_pylist()


def test_an_event_becomes_one_typed_row_and_absent_fields_become_null() -> None:
    assert batch(event()) == [
        {
            "team": "t",
            "batch_id": "b",
            "usage_date": DAY,
            "occurred_at": datetime(2026, 11, 10, 0, 1, 2, 517000),
            "user_email": "Ines.Moreau@example.com",
            "service_account_id": None,
            "service_account_name": None,
            "cloud_agent_id": None,
            "automation_id": None,
            "conversation_id": "0b7b7b1c",
            "model": "claude-4.5-sonnet",
            "kind": "Usage-based",
            "is_max_mode": False,
            "is_token_based": True,
            "is_chargeable": True,
            "is_headless": False,
            "request_units": Decimal("2.400000"),
            "charged_cents": Decimal("26.135000"),
            "token_fee_cents": Decimal("6.575000"),
            "input_tokens": 1200,
            "output_tokens": 3400,
            "cache_write_tokens": 18400,
            "cache_read_tokens": 240000,
            "model_cents": Decimal("19.560000"),
            "discount_percent_off": None,
            "extra_json": None,
        }
    ]


def test_a_null_amount_stays_null_and_a_zero_stays_zero() -> None:
    rows = batch(event(chargedCents=None), event(chargedCents=...), event(chargedCents=0))
    assert [row["charged_cents"] for row in rows] == [None, None, Decimal("0.000000")]


@pytest.mark.parametrize("flag", [True, False])
def test_true_after_a_fraction_is_not_one_cent(flag: bool) -> None:
    with pytest.raises(ApiShapeError, match="`chargedCents` is a bool, not a number"):
        batch(event(chargedCents=26.135), event(chargedCents=flag))


def test_an_event_without_token_usage_has_no_tokens() -> None:
    row = batch(event(tokenUsage=..., isTokenBasedCall=False))[0]
    assert (row["input_tokens"], row["model_cents"], row["is_token_based"]) == (None, None, False)


def test_unknown_fields_are_kept_with_sorted_keys() -> None:
    usage = {"inputTokens": 1, "reasoningTokens": 7}
    row = batch(event(zebra=1, alpha=["x"], tokenUsage=usage))[0]
    assert row["extra_json"] == '{"alpha":["x"],"tokenUsage.reasoningTokens":7,"zebra":1}'


@pytest.mark.parametrize("digits", ["0.1", "26.135", "9644.817503", "0.000001", "123456789.123456", "-3.5"])
def test_an_amount_keeps_every_digit_the_api_sends(digits: str) -> None:
    assert batch(event(chargedCents=float(digits)))[0]["charged_cents"] == Decimal(digits)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"timestamp": ...}, "an event has no `timestamp`"),
        ({"timestamp": "yesterday"}, "a `timestamp` is not epoch milliseconds"),
        ({"timestamp": str(MIDNIGHT_MS - 1)}, "outside the day that was asked for (2026-11-10)"),
        ({"timestamp": str(MIDNIGHT_MS + 86_400_000)}, "outside the day that was asked for (2026-11-10)"),
        ({"chargedCents": "26.1"}, "`chargedCents` is a string, not a number"),
        ({"chargedCents": True}, "`chargedCents` is a bool, not a number"),
        ({"chargedCents": 1e13}, "`chargedCents` holds a value that is not a number"),
        ({"userEmail": 7}, "`userEmail` is a int64, not a text"),
        ({"maxMode": 1}, "`maxMode` is a int64, not a true or false"),
        ({"tokenUsage": [1]}, "`tokenUsage` is not an object"),
        ({"tokenUsage": {"inputTokens": 1.5}}, "`inputTokens` holds a value that is not a whole number"),
        ({"tokenUsage": {"inputTokens": "9"}}, "`inputTokens` is a string, not a whole number"),
    ],
)
def test_a_changed_type_stops_the_load(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(ApiShapeError) as error:
        batch(event(**changes))
    assert text in str(error.value)
    assert "/teams/filtered-usage-events" in str(error.value)


def test_rows_that_are_no_list_of_objects_are_an_error_and_never_an_empty_list() -> None:
    for rows in (None, {}, [1], "rows"):
        with pytest.raises(ApiShapeError, match="`usageEvents` is not a list of objects"):
            usage_event_batch(rows, team="t", batch_id="b", day=DAY)


def digest(*rows: dict[str, Any], batch_id: str = "b") -> str:
    whole = RowDigest(SCHEMAS["usage_events"])
    for row in rows:
        whole.add(pa.Table.from_batches([usage_event_batch([row], team="t", batch_id=batch_id, day=DAY)]))
    return whole.hex()


def test_the_digest_knows_the_rows_and_not_their_order_or_batch() -> None:
    one, other = event(), event(chargedCents=1)
    assert digest(one, other) == digest(other, one, batch_id="another")
    assert digest(one) != digest(other)


def test_identical_twins_do_not_cancel_in_the_digest() -> None:
    twin = event()
    assert len({digest(), digest(twin), digest(twin, twin), digest(twin, twin, twin)}) == 4


def test_a_null_and_an_empty_text_have_different_digests() -> None:
    assert digest(event(model=None)) != digest(event(model=""))


def group(group_id: str, current: list[dict[str, Any]], former: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return {
        "id": group_id,
        "name": group_id.title(),
        "type": "BILLING",
        "directoryGroupId": None,
        "memberCount": len(current),
        "createdAt": "2026-03-02T09:00:00.000Z",
        "updatedAt": "2026-11-12T10:22:31.000Z",
        "spendCents": 30180,
        "currentMembers": current,
        "formerMembers": former or [],
        "dailySpend": [],
    }


def member(user_id: str, **changes: Any) -> dict[str, Any]:
    return {
        "userId": user_id,
        "name": "Ines",
        "email": "ines@example.com",
        "joinedAt": "2026-04-01T10:00:00.000+02:00",
        "leftAt": None,
        "spendCents": 1.5,
    } | changes


def test_groups_and_memberships_keep_their_position_and_times_become_utc() -> None:
    payload = {
        "groups": [group("g1", [member("u1")], [member("u2", leftAt="2026-05-01T00:00:00Z")])],
        "unassignedGroup": group("whatever", [member("u3")]),
    }
    groups, entries = billing_group_tables(payload, team="t", snapshot_id="s")
    assert [(row["billing_group_id"], row["is_unassigned"]) for row in groups.to_pylist()] == [
        ("g1", False),
        ("whatever", True),
    ]
    assert [
        (r["billing_group_id"], r["is_unassigned"], r["is_current"], r["user_id"], r["joined_at"], r["left_at"])
        for r in entries.to_pylist()
    ] == [
        ("g1", False, True, "u1", datetime(2026, 4, 1, 8), None),
        ("g1", False, False, "u2", datetime(2026, 4, 1, 8), datetime(2026, 5, 1)),
        ("whatever", True, True, "u3", datetime(2026, 4, 1, 8), None),
    ]


def test_a_group_without_its_member_list_is_an_error() -> None:
    broken = group("g1", [])
    del broken["formerMembers"]
    with pytest.raises(ApiShapeError, match="a group has no `formerMembers`"):
        billing_group_tables({"groups": [broken], "unassignedGroup": group("u", [])}, team="t", snapshot_id="s")


def test_a_member_entry_without_its_joining_time_is_an_error_and_a_null_one_is_not() -> None:
    entry = member("u1")
    del entry["joinedAt"]
    with pytest.raises(ApiShapeError, match="an entry has no `joinedAt`"):
        billing_group_tables(
            {"groups": [group("g", [entry])], "unassignedGroup": group("u", [])}, team="t", snapshot_id=""
        )
    _, entries = billing_group_tables(
        {"groups": [group("g", [member("u1", joinedAt=None)])], "unassignedGroup": group("u", [])},
        team="t",
        snapshot_id="",
    )
    assert entries.to_pylist()[0]["joined_at"] is None


def test_the_cycle_may_be_absent_but_not_broken() -> None:
    cycle = {"cycleStart": "2026-11-05T00:00:00.000Z", "cycleEnd": "2026-12-05T00:00:00.000Z"}
    assert billing_cycle({"billingCycle": cycle}) == (datetime(2026, 11, 5), datetime(2026, 12, 5))
    assert billing_cycle({}) is None
    with pytest.raises(ApiShapeError, match="no usable start and end"):
        billing_cycle({"billingCycle": cycle | {"cycleEnd": cycle["cycleStart"]}})


def test_numeric_and_text_ids_of_members_are_both_kept_as_text() -> None:
    rows = [
        {"id": 771204, "name": "A", "email": "a@example.com", "role": "member"},
        {"id": "user_x", "name": "B", "email": "b@example.com", "role": "free-owner", "isRemoved": True},
    ]
    stored = member_table({"teamMembers": rows}, team="t", snapshot_id="s").to_pylist()
    assert [(r["user_id"], r["role"], r["is_removed"]) for r in stored] == [
        ("771204", "member", None),
        ("user_x", "free-owner", True),
    ]


def test_the_digest_of_an_answer_ignores_which_snapshot_it_is_stored_as() -> None:
    payload = {"teamMembers": [{"id": "u", "name": "A", "email": "a@example.com", "role": "member"}]}
    one, two = (member_table(payload, team="t", snapshot_id=name) for name in ("s1", "s2"))
    assert table_digest(one) == table_digest(two)
    assert table_digest(one) != table_digest(one, two)


def audit_rows(*changes: dict[str, Any]) -> list[dict[str, Any]]:
    row = {
        "event_id": "5d0e8a2e",
        "timestamp": "2026-11-12T10:22:31.004Z",
        "ip_address": "198.51.100.7",
        "user_email": "SCIM",
        "event_type": "remove_user",
        "application_type": "cursor",
        "event_data": {"user_email": "Tom.Vale@example.com", "a": {"z": 1, "b": None}},
    }
    rows = [{key: value for key, value in (row | change).items() if value is not ...} for change in changes]
    window = {"start_at": datetime(2026, 11, 12), "end_at": datetime(2026, 11, 13)}
    return audit_event_table(rows, team="t", batch_id="b", **window).to_pylist()


def test_an_audit_event_becomes_one_typed_row_without_its_ip_address() -> None:
    assert audit_rows({}) == [
        {
            "team": "t",
            "batch_id": "b",
            "event_id": "5d0e8a2e",
            "occurred_at": datetime(2026, 11, 12, 10, 22, 31, 4000),
            "actor": "SCIM",
            "event_type": "remove_user",
            "application_type": "cursor",
            "event_data_json": '{"a":{"b":null,"z":1},"user_email":"Tom.Vale@example.com"}',
            "extra_json": None,
        }
    ]


def test_audit_events_are_sorted_whatever_order_they_come_in() -> None:
    later = {"timestamp": "2026-11-12T23:59:59.999Z"}
    rows = audit_rows(later, {"event_id": "b"}, {"event_id": "a"}, {"timestamp": "2026-11-12T00:00:00.000Z"})
    assert [row["event_id"] for row in rows] == ["5d0e8a2e", "a", "b", "5d0e8a2e"]


@pytest.mark.parametrize("data", [..., None])
def test_an_audit_event_may_lack_what_is_only_told_sometimes(data: Any) -> None:
    row = audit_rows({"user_email": ..., "application_type": None, "event_data": data, "ip_address": ..., "new": 1})[0]
    assert (row["actor"], row["application_type"], row["event_data_json"], row["extra_json"]) == (
        None,
        None,
        "{}",
        '{"new":1}',
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"event_id": ...}, "lacks its `event_id`"),
        ({"event_id": None}, "lacks its `event_id`"),
        ({"event_id": 7}, "`event_id` is a int64, not a text"),
        ({"timestamp": 1794268800000}, "`timestamp` is not an ISO 8601 time"),
        ({"event_type": ...}, "lacks its `event_id`, `timestamp` or `event_type`"),
        ({"event_data": [1]}, "`event_data` is not an object"),
        ({"timestamp": "2026-11-11T23:59:59.999Z"}, "outside the window"),
        ({"timestamp": "2026-11-13T00:00:00.001Z"}, "outside the window"),
    ],
)
def test_a_damaged_audit_event_stops_the_load(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ApiShapeError, match=f"/teams/audit-logs: .*{message}"):
        audit_rows(change)


def test_the_instants_at_both_ends_of_a_window_belong_to_it() -> None:
    ends = ("2026-11-12T00:00:00.000Z", "2026-11-13T00:00:00.000Z")
    assert len(audit_rows(*({"timestamp": end} for end in ends))) == 2


# --- the resources ----------------------------------------------------------------------------------------------------

LEDGERS = {"teams", "load_windows", "snapshot_reads", "stream_reads"}


def test_every_raw_table_that_the_api_fills_has_one_resource_of_its_columns() -> None:
    assert cursor_admin.WHOLE_ANSWERS.keys() | {"usage_events"} == SCHEMAS.keys() - LEDGERS
    for table, resource in cursor_admin.WHOLE_ANSWERS.items():
        declared = resource([]).compute_table_schema()
        assert (resource.name, declared["write_disposition"]) == (table, "append")
        assert list(declared["columns"]) == SCHEMAS[table].names
        assert declared["schema_contract"] == FROZEN
