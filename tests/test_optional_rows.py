"""Rows of routes that chargeback can do without: whatever they hold is kept, and what is odd is named, never shown."""

from __future__ import annotations

import json
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pytest

from pipelines.cursor_admin.ai_commits_csv import commit_rows
from pipelines.cursor_admin.errors import ApiShapeError
from pipelines.cursor_admin.optional_rows import OptionalTable, day_column
from pipelines.cursor_admin.tables import (
    AI_COMMIT_FIELDS,
    DAILY_USAGE_FIELDS,
    DIRECTORY_GROUP_FIELDS,
    SPEND_FIELDS,
)

SNAPSHOT = {"team": "t", "snapshot_id": ""}
BATCH = {"team": "t", "batch_id": "b"}
KEPT = "kept in extra_json"


def spend_row(**changes: Any) -> dict[str, Any]:
    row = {
        "userId": "user_1",
        "name": "Ada",
        "email": "Ada@example.com",
        "role": "member",
        "spendCents": 1180.402117,
        "overallSpendCents": 9644.817503,
        "fastPremiumRequests": 0,
        "hardLimitOverrideDollars": 0,
        "monthlyLimitDollars": None,
        "effectivePerUserLimitDollars": 150,
    } | changes
    return {key: value for key, value in row.items() if value is not ...}


def spend(*rows: Any) -> OptionalTable:
    table = OptionalTable("member_spend", "/teams/spend", SPEND_FIELDS, SNAPSHOT)
    table.add(rows)
    return table


def only(table: OptionalTable) -> dict[str, Any]:
    (row,) = table.table().to_pylist()
    return row


def test_a_row_as_documented_is_typed_and_nothing_is_said_about_it() -> None:
    table = spend(spend_row())
    assert only(table) == {
        "team": "t",
        "snapshot_id": "",
        "user_id": "user_1",
        "user_email": "Ada@example.com",
        "name": "Ada",
        "role": "member",
        "spend_cents": Decimal("1180.402117"),
        "overall_spend_cents": Decimal("9644.817503"),
        "fast_premium_requests": 0,
        "limit_override_usd": Decimal(0),
        "monthly_limit_usd": None,
        "effective_limit_usd": Decimal(150),
        "billing_tier": None,
        "extra_json": None,
    }
    assert table.oddities.sentences() == []


def test_fields_nobody_knows_are_kept_and_are_no_oddity() -> None:
    table = spend(spend_row(removedAt=None, includedSpendCents=1.5, billingTier="premium"))
    assert (only(table)["billing_tier"], only(table)["extra_json"]) == (
        "premium",
        '{"includedSpendCents":1.5,"removedAt":null}',
    )
    assert table.oddities.sentences() == []


def test_a_value_of_another_type_is_null_in_its_column_kept_and_named_without_being_shown() -> None:
    rows = [spend_row(monthlyLimitDollars=text) for text in ("secret 1", "secret 2", "secret 3")]
    table = spend(spend_row(monthlyLimitDollars=40), *rows, spend_row(name=["Ada"], spendCents=True))
    found = table.table().to_pylist()
    assert [row["monthly_limit_usd"] for row in found] == [Decimal(40), None, None, None, None]
    assert [row["extra_json"] for row in found] == [
        None,
        '{"monthlyLimitDollars":"secret 1"}',
        '{"monthlyLimitDollars":"secret 2"}',
        '{"monthlyLimitDollars":"secret 3"}',
        '{"name":["Ada"],"spendCents":true}',
    ]
    assert (found[4]["name"], found[4]["spend_cents"], found[0]["spend_cents"]) == (None, None, Decimal("1180.402117"))
    assert table.oddities.sentences() == [
        f"/teams/spend: `monthlyLimitDollars` is text in 3 rows; {KEPT}",
        f"/teams/spend: `name` is a list in 1 row; {KEPT}",
        f"/teams/spend: `spendCents` is true or false in 1 row; {KEPT}",
    ]
    assert "secret" not in "".join(table.oddities.sentences())


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("spendCents", 1e13),
        ("spendCents", 2**64 - 1),
        ("fastPremiumRequests", 1.5),
        ("fastPremiumRequests", 2**64 - 1),
    ],
)
def test_a_number_that_does_not_fit_its_column_is_kept_beside_it(key: str, value: float) -> None:
    table = spend(spend_row(), spend_row(**{key: value}))
    odd = table.table().to_pylist()[1]
    assert odd["spend_cents" if key == "spendCents" else "fast_premium_requests"] is None
    assert table.oddities.sentences() == [f"/teams/spend: `{key}` cannot be read in 1 row; {KEPT}"]


def test_what_fits_alone_stays_though_the_column_does_not_hold_together() -> None:
    table = spend(spend_row(spendCents=1), spend_row(spendCents=False), spend_row(spendCents=2.5))
    cents = [row["spend_cents"] for row in table.table().to_pylist()]
    assert cents == [Decimal(1), None, Decimal("2.5")]


def test_a_time_that_is_none_is_kept_as_it_is() -> None:
    table = OptionalTable("directory_groups", "/teams/directory-groups", DIRECTORY_GROUP_FIELDS, SNAPSHOT)
    table.add([{"id": 7, "createdAt": "soon", "updatedAt": "0001-01-01T00:00:00+05:00"}])
    row = only(table)
    assert (row["directory_group_id"], row["created_at"], row["updated_at"]) == ("7", None, None)
    assert json.loads(row["extra_json"]) == {"createdAt": "soon", "updatedAt": "0001-01-01T00:00:00+05:00"}
    assert table.oddities.sentences() == [
        f"/teams/directory-groups: `createdAt` cannot be read in 1 row; {KEPT}",
        f"/teams/directory-groups: `updatedAt` cannot be read in 1 row; {KEPT}",
    ]


def test_ids_become_text_and_two_that_share_an_email_are_two_rows() -> None:
    rows = spend(spend_row(userId=771204), spend_row(userId="user_1"), spend_row(userId=...)).table().to_pylist()
    assert [row["user_id"] for row in rows] == ["771204", "user_1", None]


@pytest.mark.parametrize("email", [None, ...])
def test_a_row_without_its_key_still_counts_and_is_named(email: Any) -> None:
    table = spend(spend_row(email=email), spend_row())
    assert [row["user_email"] for row in table.table().to_pylist()] == [None, "Ada@example.com"]
    assert table.oddities.sentences() == [
        "/teams/spend: `email` is missing in 1 row; the row is kept without it",
    ]


def test_an_entry_that_is_no_object_is_kept_whole() -> None:
    table = spend("a line", spend_row(), None, ["x"])
    assert table.row_count == 4
    assert [row["extra_json"] for row in table.table().to_pylist()] == [
        '{"entry":"a line"}',
        None,
        '{"entry":null}',
        '{"entry":["x"]}',
    ]
    assert table.oddities.sentences() == [
        f"/teams/spend: an entry is a list, not an object, in 1 row; {KEPT}",
        f"/teams/spend: an entry is nothing, not an object, in 1 row; {KEPT}",
        f"/teams/spend: an entry is text, not an object, in 1 row; {KEPT}",
    ]


def test_pages_are_counted_together() -> None:
    table = spend(spend_row(role=1))
    table.add([spend_row(role=2), spend_row()])
    assert (table.row_count, table.table().num_rows) == (3, 3)
    assert table.oddities.sentences() == [f"/teams/spend: `role` is a number in 2 rows; {KEPT}"]


def test_an_answer_without_rows_is_an_empty_table_of_the_declared_columns() -> None:
    table = spend()
    assert table.table().num_rows == 0
    assert table.table().schema == spend(spend_row()).table().schema


def test_the_day_of_usage_is_its_text_else_its_milliseconds_and_what_is_neither_stays_with_the_row() -> None:
    table = OptionalTable("daily_usage", "/teams/daily-usage-data", DAILY_USAGE_FIELDS, BATCH)
    rows = [
        {"day": "2026-11-10", "date": None, "email": "a"},
        {"date": 1794268800000, "email": "b"},
        {"day": None, "date": 1794355199999, "email": "c"},
        {"day": "tenth", "date": 1794268800000, "email": "d"},
        {"date": 2**64 - 1, "email": "e"},
        {"email": "f"},
    ]
    rest, days = day_column(rows, table.oddities)
    table.add(rest, usage_date=days)
    found = table.table().to_pylist()
    assert [row["usage_date"] for row in found] == [date(2026, 11, 10)] * 3 + [None] * 3
    assert [row["extra_json"] for row in found][:3] == [None] * 3
    assert json.loads(found[3]["extra_json"]) == {"date": 1794268800000, "day": "tenth"}
    assert table.oddities.sentences() == [
        "/teams/daily-usage-data: `day` is missing or no date in 3 rows; the row is kept without it",
    ]


# --- CSV --------------------------------------------------------------------------------------------------------------


def commits(text: str) -> OptionalTable:
    table = OptionalTable("ai_commits", "commits.csv", AI_COMMIT_FIELDS, BATCH, frozenset({"message"}))
    for rows in commit_rows(text):
        table.add(rows)
    return table


def test_columns_are_found_by_their_headings_and_cells_get_the_types_of_json() -> None:
    table = commits(
        "created_at, Message ,ticket_id,is_primary_branch,total_lines_added,commit_hash,user_id,repo_name\r\n"
        '2026-11-10T09:40:21.000Z,"one, ""two""\nthree",T-1,true,96,3f0c,771204,\r\n'
    )
    found = {key: value for key, value in only(table).items() if value is not None}
    assert found == {
        "team": "t",
        "batch_id": "b",
        "commit_hash": "3f0c",
        "user_id": "771204",
        "is_primary_branch": True,
        "total_lines_added": 96,
        "created_at": datetime(2026, 11, 10, 9, 40, 21),
        "extra_json": '{"ticket_id":"T-1"}',
    }
    assert table.oddities.sentences() == []


def test_a_cell_that_is_not_what_its_column_holds_is_kept_as_text() -> None:
    table = commits(
        "commit_hash,created_at,total_lines_added,is_primary_branch\na,2026-11-10,1e3,maybe\n,2026-11-10,1,\n"
    )
    first, second = table.table().to_pylist()
    assert json.loads(first["extra_json"]) == {"isPrimaryBranch": "maybe", "totalLinesAdded": "1e3"}
    assert (second["commit_hash"], second["total_lines_added"]) == (None, 1)
    assert table.oddities.sentences() == [
        "commits.csv: `commitHash` is missing in 1 row; the row is kept without it",
        f"commits.csv: `isPrimaryBranch` is text in 1 row; {KEPT}",
        f"commits.csv: `totalLinesAdded` is text in 1 row; {KEPT}",
    ]


def test_a_file_of_headings_alone_has_no_commits_and_empty_lines_are_none() -> None:
    assert commits("commit_hash,created_at\n").row_count == 0
    assert commits("commit_hash,created_at\n\na,2026-11-10\n\n").row_count == 1


def test_a_long_file_comes_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.cursor_admin.ai_commits_csv.ROWS_PER_PART", 2)
    parts = [len(rows) for rows in commit_rows("commit_hash\n" + "a\n" * 5)]
    assert parts == [2, 2, 1]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "without the column commit_hash"),
        ("hash,created_at\na,b\n", "without the column commit_hash"),
        ("commit_hash,Commit_Hash\na,b\n", "or with one twice"),
        ("commit_hash,message\na,b,secret\n", "a line of 3 cells, not 2"),
        ("commit_hash,message\na\n", "a line of 1 cells, not 2"),
        ('commit_hash,message\na,"secret', "something that is not CSV"),
        ('commit_hash,message\na,"x"secret\n', "something that is not CSV"),
    ],
)
def test_a_file_that_was_cut_off_or_is_none_is_an_error_that_shows_nothing_of_it(text: str, says: str) -> None:
    with pytest.raises(ApiShapeError) as caught:
        list(commit_rows(text))
    assert says in str(caught.value)
    assert "secret" not in str(caught.value)
