"""Reading what chargeback can do without, over HTTP: whole or not at all, from hand-made answers."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from http_script import CLOCK, Reply, ScriptedServer, Seen, client_of

from pipelines.cursor_admin.errors import ApiShapeError, IncompleteWindowError
from pipelines.cursor_admin.optional_reads import (
    OptionalAnswer,
    read_ai_commits,
    read_ai_commits_csv,
    read_billing_group_details,
    read_daily_usage,
    read_directory_groups,
    read_member_spend,
    read_pooled_usage,
    read_repository_blocklists,
)

MONDAY = datetime(2026, 11, 16, 2)
FIRST, LAST = date(2026, 11, 10), date(2026, 11, 16)
CYCLE_MS = 1793836800000  # 2026-11-05
CSV_TYPE = {"Content-Type": "text/csv; charset=utf-8"}


def query_of(seen: Seen) -> dict[str, str]:
    return {key: values[0] for key, values in parse_qs(urlsplit(seen.target).query).items()}


def spend_pages(*pages: list[Any], total: int | None = None, **more: Any) -> list[Reply]:
    count = sum(map(len, pages)) if total is None else total
    head = {"totalMembers": count, "totalPages": len(pages), "subscriptionCycleStart": CYCLE_MS} | more
    return [Reply({"teamMemberSpend": rows, **head}, headers={"Date": CLOCK}) for rows in pages]


def person(name: str, number: int = 1, **more: Any) -> dict[str, Any]:
    return {"userId": f"user_{name}{number}", "email": f"{name}@example.com", "spendCents": 1.5} | more


def names(answer: OptionalAnswer, table: str = "member_spend", column: str = "user_id") -> list[str]:
    return answer.tables[table][column].to_pylist()


# --- a list is whole, or it is not read -------------------------------------------------------------------------------


def test_spend_is_read_to_its_last_page_and_says_which_cycle_it_is_about() -> None:
    pages = spend_pages([person("ada"), person("ben")], [person("cleo")])
    with ScriptedServer(*pages) as server, client_of(server) as client:
        answer = read_member_spend(client, team="t")
    assert names(answer) == ["user_ada1", "user_ben1", "user_cleo1"]
    assert (answer.answered_at, answer.cycle_start_at) == (datetime(2026, 11, 16, 2, tzinfo=UTC), datetime(2026, 11, 5))
    assert answer.oddities == []
    assert [json.loads(seen.body)["page"] for seen in server.seen] == [1, 2]


@pytest.mark.parametrize(
    "moved",
    [
        pytest.param([*spend_pages([person("ada")], [person("ben")]), "count"], id="somebody joined between two pages"),
        pytest.param([*spend_pages([person("ada")], [person("ada")])], id="a page that was sent twice"),
        pytest.param([*spend_pages([person("ada")], [], total=2)], id="a page that came empty"),
        pytest.param([*spend_pages([person("ada")], [person("ben")], total=3)], id="fewer than were announced"),
        pytest.param([*spend_pages([person("ada")], [person("ben")]), "cycle"], id="the cycle ended between two pages"),
    ],
)
def test_a_list_that_moves_is_read_again_from_its_first_page(moved: list[Any]) -> None:
    if moved[-1] == "count":
        moved = [moved[0], *spend_pages([], [person("ben")], total=3)[1:]]
    elif moved[-1] == "cycle":
        moved = [moved[0], *spend_pages([], [person("ben")], total=2, subscriptionCycleStart=CYCLE_MS + 1)[1:]]
    still = spend_pages([person("ada")], [person("ben")])
    with ScriptedServer(*moved, *still) as server, client_of(server) as client:
        answer = read_member_spend(client, team="t")
    assert names(answer) == ["user_ada1", "user_ben1"]
    assert [json.loads(seen.body)["page"] for seen in server.seen] == [1, 2, 1, 2]


def test_a_list_that_moves_three_times_is_an_error_and_nothing_of_it_is_stored() -> None:
    moving = spend_pages([person("ada")], [person("ada")])
    with (
        ScriptedServer(*moving * 3) as server,
        client_of(server) as client,
        pytest.raises(IncompleteWindowError) as caught,
    ):
        read_member_spend(client, team="t")
    assert str(caught.value) == (
        "The list of spend by member changed while it was read, 3 times in a row (/teams/spend): announced 2, then 2, "
        "read 1. Nothing of it was stored; the next run reads it again."
    )
    assert len(server.seen) == 6


def test_what_was_odd_in_an_attempt_that_failed_is_not_told() -> None:
    pages = [*spend_pages([person("ada", role=7)], [person("ada", role=7)]), *spend_pages([person("ada")])]
    with ScriptedServer(*pages) as server, client_of(server) as client:
        assert read_member_spend(client, team="t").oddities == []


def test_a_page_list_that_never_ends_is_left() -> None:
    """Each page says that there is another one, and has somebody new."""

    def decide(seen: Seen) -> Reply:
        page = json.loads(seen.body)["page"]
        return Reply({"teamMemberSpend": [person("p", page)], "totalMembers": 3, "totalPages": page + 1})

    with (
        ScriptedServer(decide=decide) as server,
        client_of(server) as client,
        pytest.raises(IncompleteWindowError),
    ):
        read_member_spend(client, team="t")
    assert len(server.seen) <= 12


# --- what the rows may hold -------------------------------------------------------------------------------------------


def test_two_ids_sharing_an_email_are_two_rows_and_ids_may_be_numbers() -> None:
    rows = [person("ada", userId=771204), person("ada"), person("ada", 2)]
    with ScriptedServer(*spend_pages(rows)) as server, client_of(server) as client:
        answer = read_member_spend(client, team="t")
    assert names(answer) == ["771204", "user_ada1", "user_ada2"]


def test_odd_spend_rows_are_kept_and_named_and_the_rest_is_read() -> None:
    rows = [person("ada", spendCents="a lot", monthlyLimitDollars=40), {"userId": "user_x"}, "odd", person("ben")]
    with ScriptedServer(*spend_pages(rows, subscriptionCycleStart="soon")) as server, client_of(server) as client:
        answer = read_member_spend(client, team="t")
    assert names(answer, column="spend_cents") == [None, None, None, Decimal("1.5")]
    assert answer.cycle_start_at is None
    assert answer.oddities == [
        "/teams/spend: `email` is missing in 1 row; the row is kept without it",
        "/teams/spend: `spendCents` is text in 1 row; kept in extra_json",
        "/teams/spend: `subscriptionCycleStart` is missing or no time in 1 answer; which cycle it is stays unknown",
        "/teams/spend: an entry is text, not an object, in 1 row; kept in extra_json",
    ]


def group(days: Any, current: Any = (), former: Any = ()) -> dict[str, Any]:
    cycle = {"cycleStart": "2026-11-05T00:00:00.000Z", "cycleEnd": "2026-12-05T00:00:00.000Z"}
    members = {"currentMembers": list(current), "formerMembers": list(former)}
    return {"group": {"id": "group_a", "dailySpend": days, **members}, "billingCycle": cycle}


def test_group_days_are_those_of_the_group_and_of_people_and_two_stints_are_one_row() -> None:
    tenth = {"date": "2026-11-10", "spendCents": 10.25}
    first = {"userId": "user_1", "dailySpend": [tenth]}
    again = {"userId": "user_1", "dailySpend": [{"date": "2026-11-10", "spendCents": 0.5}]}
    body = group([{"date": "2026-11-10", "spendCents": 11}], [first, {"userId": 7}], [again])
    with ScriptedServer(Reply(body, headers={"Date": CLOCK})) as server, client_of(server) as client:
        answer = read_billing_group_details(client, ["group_a"], team="t", billing_cycle=date(2026, 11, 5))
    assert answer.tables["billing_group_daily_spend"].to_pylist() == [
        {
            "team": "t",
            "snapshot_id": "",
            "billing_group_id": "group_a",
            "user_id": user_id,
            "spend_date": date(2026, 11, 10),
            "spend_cents": cents,
        }
        for user_id, cents in ((None, Decimal(11)), ("user_1", Decimal("10.75")))
    ]
    assert (answer.cycle_start_at, answer.oddities) == (datetime(2026, 11, 5), [])
    assert [seen.target for seen in server.seen] == ["/teams/groups/group_a?billingCycle=2026-11-05"]


def test_group_days_that_cannot_be_read_are_left_out_and_never_become_those_of_the_group() -> None:
    days = [
        {"date": "soon"},
        {"date": "2026-11-10", "spendCents": "1"},
        "x",
        {"date": "2026-11-11", "spendCents": None},
    ]
    nameless = {"userId": None, "dailySpend": [{"date": "2026-11-10", "spendCents": 5}]}
    bodies = [group(days, [nameless, "x"]), group({"date": 1}), group(None)]
    bodies[2]["group"]["currentMembers"] = 5
    with ScriptedServer(*(Reply(body) for body in bodies)) as server, client_of(server) as client:
        answer = read_billing_group_details(client, ["a", "b", "c"], team="t", billing_cycle=None)
    path = "/teams/groups/{group_id}"
    assert names(answer, "billing_group_daily_spend", "spend_date") == [date(2026, 11, 11)]
    assert answer.oddities == [
        f"{path}: `currentMembers` has no usable `userId` in 2 items; left out",
        f"{path}: `currentMembers` is no list in 1 group; left out",
        f"{path}: `dailySpend` cannot be read in 4 items; left out",
    ]


def test_a_group_that_was_deleted_meanwhile_or_has_an_id_no_address_can_hold_stops_nothing() -> None:
    replies = [Reply({"message": "Resource not found"}, 404), Reply(group([{"date": "2026-11-10", "spendCents": 1}]))]
    with ScriptedServer(*replies) as server, client_of(server) as client:
        answer = read_billing_group_details(client, ["gone", "a/../b", "group_a"], team="t", billing_cycle=None)
    assert names(answer, "billing_group_daily_spend", "billing_group_id") == ["group_a"]
    assert answer.oddities == [
        "/teams/groups/{group_id}: not found: 1 group; left out",
        "/teams/groups/{group_id}: the id cannot be part of an address: 1 group; left out",
    ]
    assert [seen.target for seen in server.seen] == ["/teams/groups/gone", "/teams/groups/group_a"]


def test_without_groups_nothing_is_asked() -> None:
    with ScriptedServer(Reply({})) as server, client_of(server) as client:
        answer = read_billing_group_details(client, [], team="t", billing_cycle=None)
    assert (answer.tables["billing_group_daily_spend"].num_rows, server.seen) == (0, [])


def test_each_directory_group_is_asked_for_its_members_once() -> None:
    def decide(seen: Seen) -> Reply:
        path = urlsplit(seen.target).path
        groups = [{"id": "a", "monthlySpendingLimitDollars": "500"}, {"id": 7}, {"id": "x/y"}, {}, {"id": "gone"}]
        if path == "/teams/directory-groups":
            return Reply({"groups": groups, "pagination": {"page": 1, "totalCount": 5, "hasNextPage": False}})
        if path == "/teams/directory-groups/gone/members":
            return Reply({"message": "Resource not found"}, 404)
        members = [person("ada", joinedAt="2026-11-01T00:00:00Z"), person("ben", joinedAt=5)]
        return Reply({"members": members})

    with ScriptedServer(decide=decide) as server, client_of(server) as client:
        answer = read_directory_groups(client, team="t")
    assert names(answer, "directory_groups", "directory_group_id") == ["a", "7", "x/y", None, "gone"]
    members = answer.tables["directory_group_members"].to_pylist()
    assert [(row["directory_group_id"], row["user_email"], row["joined_at"]) for row in members] == [
        ("a", "ada@example.com", datetime(2026, 11, 1)),
        ("a", "ben@example.com", None),
        ("7", "ada@example.com", datetime(2026, 11, 1)),
        ("7", "ben@example.com", None),
    ]
    path = "/teams/directory-groups"
    assert answer.oddities == [
        f"{path}: `id` is missing in 1 row; the row is kept without it",
        f"{path}: `monthlySpendingLimitDollars` is text in 1 row; kept in extra_json",
        f"{path}/{{group_id}}/members: `joinedAt` is a number in 2 rows; kept in extra_json",
        f"{path}/{{group_id}}/members: not found: 1 group; its members are not known",
        f"{path}/{{group_id}}/members: the id is missing or cannot be part of an address: 2 groups; "
        "its members are not known",
    ]
    assert len(server.seen) == 4


def test_patterns_are_kept_as_sent() -> None:
    repos = [
        {"id": "r1", "url": "https://x/y", "patterns": ["*", "b"]},
        {"id": 2, "patterns": "*"},
        {"url": "z", "patterns": [], "mode": "all"},
    ]
    with ScriptedServer(Reply({"repos": repos})) as server, client_of(server) as client:
        answer = read_repository_blocklists(client, team="t")
    rows = answer.tables["repository_blocklists"].to_pylist()
    assert [(row["repository_id"], row["url"], row["patterns_json"], row["extra_json"]) for row in rows] == [
        ("r1", "https://x/y", '["*","b"]', None),
        ("2", None, None, '{"patterns":"*"}'),
        (None, "z", "[]", '{"mode":"all"}'),
    ]
    path = "/settings/repo-blocklists/repos"
    assert answer.oddities == [
        f"{path}: `id` is missing in 1 row; the row is kept without it",
        f"{path}: `patterns` is missing or no list in 1 row; kept in extra_json",
    ]


# --- the pool ---------------------------------------------------------------------------------------------------------


def pool_of(*teams: Any, **pool: Any) -> list[Reply]:
    return [Reply({"pool": {"limitCents": 600, "usedCents": 150, "remainingCents": 450} | pool, "teams": list(teams)})]


@pytest.mark.parametrize(
    ("teams", "api_team_id", "own"),
    [
        ([1, 2], "2", [False, True]),
        ([1, "2"], "2", [False, True]),
        ([1, 2], None, [False, False]),
        ([1], None, [True]),
        ([1], "2", [False]),
        ([None], None, [True]),
    ],
)
def test_the_own_team_is_the_one_that_is_set_else_the_only_one(
    teams: list[Any], api_team_id: str | None, own: list[bool]
) -> None:
    replies = pool_of(*({"teamId": team, "usedCents": 1} for team in teams))
    with ScriptedServer(*replies) as server, client_of(server, organization_api_key="crsr_org") as client:
        answer = read_pooled_usage(client, "org_acme", team="t", api_team_id=api_team_id)
    assert names(answer, "pooled_usage", "is_own_team") == own


def test_the_pool_stands_beside_every_team_and_alone_where_there_is_none() -> None:
    dates = {"contractStartDate": None, "contractEndDate": "2027-01-31T23:59:59.999Z", "currency": "usd"}
    replies = [*pool_of({"teamId": 1, "budgetLimitCents": 9, "usedCents": "x"}, **dates), *pool_of()]
    with ScriptedServer(*replies) as server, client_of(server, organization_api_key="crsr_org") as client:
        with_team, alone = (read_pooled_usage(client, "org_acme", team="t", api_team_id=None) for _ in range(2))
    (row,) = with_team.tables["pooled_usage"].to_pylist()
    assert {key: value for key, value in row.items() if value not in (None, "", "t")} == {
        "api_team_id": "1",
        "is_own_team": True,
        "budget_limit_cents": Decimal(9),
        "pool_limit_cents": Decimal(600),
        "pool_used_cents": Decimal(150),
        "pool_remaining_cents": Decimal(450),
        "contract_end_at": datetime(2027, 1, 31, 23, 59, 59, 999000),
        "extra_json": '{"pool.currency":"usd","usedCents":"x"}',
    }
    assert with_team.oddities == ["/organizations/pooled-usage: `usedCents` is text in 1 row; kept in extra_json"]
    (row,) = alone.tables["pooled_usage"].to_pylist()
    assert (row["api_team_id"], row["is_own_team"], row["pool_used_cents"]) == (None, False, Decimal(150))


# --- windows of days --------------------------------------------------------------------------------------------------


def usage_page(rows: list[Any], users: int, page: int = 1, has_next: bool = False) -> Reply:
    pagination = {"page": page, "totalUsers": users, "hasNextPage": has_next}
    return Reply({"data": rows, "pagination": pagination}, headers={"Date": CLOCK})


def active(user_id: Any, *days: str) -> list[dict[str, Any]]:
    return [{"userId": user_id, "email": "ada@example.com", "day": day, "isActive": True} for day in days]


def test_daily_usage_counts_people_who_may_have_no_row_or_share_an_email() -> None:
    pages = [
        usage_page([*active(1, "2026-11-10", "2026-11-11"), *active(2, "2026-11-10")], 4, has_next=True),
        usage_page(active("user_3", "2026-11-16"), 4, 2),
    ]
    with ScriptedServer(*pages) as server, client_of(server) as client:
        answer = read_daily_usage(client, FIRST, LAST, team="t", batch_id="b", until=MONDAY)
    rows = answer.tables["daily_usage"].to_pylist()
    assert [(row["user_id"], row["usage_date"], row["batch_id"]) for row in rows] == [
        ("1", date(2026, 11, 10), "b"),
        ("1", date(2026, 11, 11), "b"),
        ("2", date(2026, 11, 10), "b"),
        ("user_3", date(2026, 11, 16), "b"),
    ]
    body = json.loads(server.seen[0].body)
    assert (body["startDate"], body["endDate"]) == (1794268800000, int(MONDAY.replace(tzinfo=UTC).timestamp() * 1000))


def test_rows_of_nobody_are_not_counted_as_people() -> None:
    rows = [*active(1, "2026-11-10"), {"day": "2026-11-10"}, {"day": "2026-11-11"}, "odd"]
    with ScriptedServer(usage_page(rows, 1)) as server, client_of(server) as client:
        answer = read_daily_usage(client, FIRST, LAST, team="t", batch_id="b")
    assert names(answer, "daily_usage") == ["1", None, None, None]
    assert answer.oddities == [
        "/teams/daily-usage-data: `email` is missing in 2 rows; the row is kept without it",
        "/teams/daily-usage-data: an entry is text, not an object, in 1 row; kept in extra_json",
    ]


def test_closed_days_are_asked_for_to_their_last_millisecond() -> None:
    with ScriptedServer(usage_page([], 0)) as server, client_of(server) as client:
        read_daily_usage(client, FIRST, date(2026, 11, 15), team="t", batch_id="b")
    body = json.loads(server.seen[0].body)
    assert (body["startDate"], body["endDate"]) == (1794268800000, 1794268800000 + 6 * 86_400_000 - 1)


def test_somebody_on_two_pages_of_daily_usage_means_that_it_moved() -> None:
    moved = [usage_page(active(1, "2026-11-10"), 2, has_next=True), usage_page(active(1, "2026-11-11"), 2, 2)]
    still = [usage_page(active(1, "2026-11-10"), 2, has_next=True), usage_page(active(2, "2026-11-11"), 2, 2)]
    with ScriptedServer(*moved, *still) as server, client_of(server) as client:
        answer = read_daily_usage(client, FIRST, LAST, team="t", batch_id="b")
    assert names(answer, "daily_usage") == ["1", "2"]


def test_more_people_than_were_announced_mean_that_it_moved() -> None:
    moved = usage_page([*active(1, "2026-11-10"), *active(2, "2026-11-10")], 1)
    with ScriptedServer(moved, usage_page(active(2, "2026-11-10"), 1)) as server, client_of(server) as client:
        answer = read_daily_usage(client, FIRST, LAST, team="t", batch_id="b")
    assert names(answer, "daily_usage") == ["2"]


@pytest.mark.parametrize(("day", "is_accepted"), [("2026-11-09", True), ("2026-11-17", True), ("2026-11-08", False)])
def test_rows_of_quite_other_days_mean_that_those_asked_for_are_not_covered(day: str, is_accepted: bool) -> None:
    with ScriptedServer(usage_page(active(1, "2026-11-10", day), 1)) as server, client_of(server) as client:
        if is_accepted:
            assert read_daily_usage(client, FIRST, LAST, team="t", batch_id="b").tables["daily_usage"].num_rows == 2
            return
        with pytest.raises(ApiShapeError, match=r"outside the days that were asked for \(2026-11-10 to 2026-11-16\)"):
            read_daily_usage(client, FIRST, LAST, team="t", batch_id="b")


def commit(commit_hash: str, **more: Any) -> dict[str, Any]:
    at = "2026-11-10T09:40:21.000Z"
    row = {"commitHash": commit_hash, "repoName": "acme/ledger", "message": "secret", "commitTs": at, "createdAt": at}
    return row | more


def commit_page(rows: list[Any], total: int, page: int = 1, size: int = 2) -> Reply:
    return Reply({"items": rows, "totalCount": total, "page": page, "pageSize": size})


def test_commits_are_read_to_the_last_page_of_the_size_the_server_gave_and_messages_are_not_stored() -> None:
    amended = commit("a", createdAt="2026-11-11T10:00:00Z")
    pages = [commit_page([commit("a"), commit("b")], 3), commit_page([amended], 3, 2)]
    with ScriptedServer(*pages) as server, client_of(server) as client:
        answer = read_ai_commits(client, FIRST, LAST, MONDAY, team="t", batch_id="b")
    rows = answer.tables["ai_commits"].to_pylist()
    assert [(row["commit_hash"], row["created_at"].day, row["extra_json"]) for row in rows] == [
        ("a", 10, None),
        ("b", 10, None),
        ("a", 11, None),
    ]
    assert "secret" not in str(rows)
    assert [query_of(seen)["page"] for seen in server.seen] == ["1", "2"]
    assert query_of(server.seen[0])["endDate"] == "2026-11-16T02:00:00.000Z"


def test_a_commit_counts_for_a_window_by_either_of_its_times() -> None:
    amended = commit("a", createdAt="2027-01-01T00:00:00Z")
    reseen = commit("b", commitTs=None)
    with ScriptedServer(
        commit_page([amended, reseen, commit("c", commitTs=None, createdAt=None)], 3, size=9)
    ) as server:
        with client_of(server) as client:
            answer = read_ai_commits(client, FIRST, LAST, MONDAY, team="t", batch_id="b")
        assert names(answer, "ai_commits", "commit_hash") == ["a", "b", "c"]
    far = commit("a", commitTs=None, createdAt="2026-09-01T00:00:00Z")
    with (
        ScriptedServer(commit_page([far], 1)) as server,
        client_of(server) as client,
        pytest.raises(ApiShapeError, match="outside the days that were asked for"),
    ):
        read_ai_commits(client, FIRST, LAST, MONDAY, team="t", batch_id="b")


def test_a_file_with_fewer_commits_than_the_json_route_announces_is_not_believed() -> None:
    short = Reply(b"commit_hash,created_at\na,2026-11-10\n", headers=CSV_TYPE)
    whole = Reply(b"commit_hash,created_at\na,2026-11-10\nb,2026-11-10\n", headers=CSV_TYPE)
    counted = commit_page([{}], 2)
    with ScriptedServer(short, counted, whole, counted) as server, client_of(server) as client:
        answer = read_ai_commits_csv(client, FIRST, LAST, MONDAY, team="t", batch_id="b")
    assert names(answer, "ai_commits", "commit_hash") == ["a", "b"]
    assert query_of(server.seen[1])["pageSize"] == "1"
    with (
        ScriptedServer(*[short, counted] * 3) as server,
        client_of(server) as client,
        pytest.raises(IncompleteWindowError, match="not the same as CSV and as JSON, 3 times in a row"),
    ):
        read_ai_commits_csv(client, FIRST, LAST, MONDAY, team="t", batch_id="b")
