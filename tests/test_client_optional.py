"""The routes that chargeback can do without: what is sent, with which key, and which answers are no page."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from http_script import CLOCK, KEY, TOKEN, Reply, ScriptedServer, client_of

from pipelines.cursor_admin.access import RefusedRequestError
from pipelines.cursor_admin.answers import ListPage, TextAnswer
from pipelines.cursor_admin.client import CursorAdminClient
from pipelines.cursor_admin.errors import ApiError, ApiShapeError, AuthError, NotFoundError, RateLimitError
from pipelines.cursor_admin.settings import ALLOWED_READS, find_read

ORGANIZATION_KEY = "crsr_" + "0rg4" * 16
ORGANIZATION_TOKEN = base64.b64encode(f"{ORGANIZATION_KEY}:".encode()).decode()
NOON = datetime(2026, 11, 16, 2, tzinfo=UTC)
START, END = datetime(2026, 11, 10, tzinfo=UTC), datetime(2026, 11, 15, 23, 59, 59, 999000, tzinfo=UTC)
POOL = {"pool": {"limitCents": 1}, "teams": []}
PAGINATION = {"page": 1, "hasNextPage": False}
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")

Ask = Callable[[CursorAdminClient], object]


def sent_query(server: ScriptedServer) -> dict[str, str]:
    return {key: values[0] for key, values in parse_qs(urlsplit(server.seen[0].target).query).items()}


# --- what is never sent -----------------------------------------------------------------------------------------------


def concrete(path: str) -> str:
    return path.replace("{group_id}", "group_a-1")


@pytest.mark.parametrize("path", sorted({read.path for read in ALLOWED_READS}))
def test_on_the_path_of_a_read_no_other_method_is_ever_sent(path: str) -> None:
    reads = {read.method for read in ALLOWED_READS if read.path == path}
    with ScriptedServer(Reply({})) as server, client_of(server, organization_api_key=ORGANIZATION_KEY) as client:
        for method in {*METHODS, *(method.lower() for method in METHODS)} - reads:
            with pytest.raises(RefusedRequestError, match="is not on the list of reads"):
                client.request(method, concrete(path))
    assert server.seen == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/teams/groups/group_a/members"),
        ("GET", "/teams/groups/group_a/members"),
        ("GET", "/teams/groups/group_a/"),
        ("GET", "/teams/groups/group_a?billingCycle=2026-11-01"),
        ("GET", "/teams/groups/group_a%2Fmembers"),
        ("GET", "/teams/groups/.."),
        ("GET", "/teams/groups/group_a\n"),
        ("GET", "/teams/groups/grüppe"),
        ("GET", "/teams/directory-groups/dir_a"),
        ("POST", "/teams/directory-groups/dir_a/members/bulk-add"),
        ("GET", "/teams/directory-groups//members"),
        ("GET", "/analytics/ai-code/commits-csv"),
        ("GET", "/analytics/ai-code/commits/3f0c9a1be2"),
        ("POST", "/settings/repo-blocklists/repos/upsert"),
        ("POST", "/teams/user-spend-limit"),
        ("POST", "/organizations/team-memberships/sync"),
    ],
)
def test_what_lies_beside_a_read_is_refused(method: str, path: str) -> None:
    with ScriptedServer(Reply({})) as server, client_of(server) as client:
        assert find_read(method, path) is None
        with pytest.raises(RefusedRequestError):
            client.request(method, path)
    assert server.seen == []


@pytest.mark.parametrize("group_id", ["", "..", "a/b", "a?b", "a b", "%2e"])
def test_an_id_that_could_lead_elsewhere_is_not_sent(group_id: str) -> None:
    with ScriptedServer(Reply({})) as server, client_of(server) as client:
        with pytest.raises(RefusedRequestError):
            client.billing_group(group_id)
        with pytest.raises(RefusedRequestError):
            client.directory_group_member_page(group_id, 1)
    assert server.seen == []


def test_the_key_of_the_organization_goes_to_the_organization_and_nowhere_else() -> None:
    team_routes = [concrete(read.path) for read in ALLOWED_READS if read.path != "/organizations/pooled-usage"]
    reads = {concrete(read.path): read.method for read in ALLOWED_READS}
    with ScriptedServer(Reply(POOL)) as server, client_of(server, organization_api_key=ORGANIZATION_KEY) as client:
        client.pooled_usage("org_acme")
        for path in team_routes:
            if not path.endswith(".csv"):
                client.request(reads[path], path)
    sent = [(seen.target, seen.headers["Authorization"].removeprefix("Basic ")) for seen in server.seen]
    assert sent[0] == ("/organizations/pooled-usage", ORGANIZATION_TOKEN)
    assert len(sent) == len(ALLOWED_READS) - 1
    assert {token for _, token in sent[1:]} == {TOKEN}
    assert json.loads(server.seen[0].body) == {"organizationId": "org_acme"}


def test_without_a_key_of_the_organization_its_routes_are_not_asked() -> None:
    with ScriptedServer(Reply(POOL)) as server, client_of(server) as client:
        with pytest.raises(RefusedRequestError) as caught:
            client.pooled_usage("org_acme")
        assert str(caught.value) == (
            "/organizations/pooled-usage needs the key of the organization: set organization_api_key under "
            "[sources.cursor_admin] in .dlt/secrets.toml; nothing was sent."
        )
    assert server.seen == []


def test_a_key_of_the_organization_that_cannot_be_one_is_refused_under_its_own_name() -> None:
    with pytest.raises(RefusedRequestError, match="Set organization_api_key under") as caught:
        CursorAdminClient(api_key=KEY, organization_api_key="two words")
    assert "two words" not in str(caught.value)


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_organization_key_names_its_settings_and_neither_key(status: int) -> None:
    echo = {"code": "error", "message": f"no scope usage:* for {ORGANIZATION_KEY} or {ORGANIZATION_TOKEN}"}
    with (
        ScriptedServer(Reply(echo, status)) as server,
        client_of(server, organization_api_key=ORGANIZATION_KEY) as client,
        pytest.raises(AuthError) as caught,
    ):
        client.pooled_usage("org_acme")
    message = str(caught.value)
    assert "organization_api_key and organization_id under [sources.cursor_admin]" in message
    assert (caught.value.status, caught.value.path) == (status, "/organizations/pooled-usage")
    assert not any(secret in message for secret in (KEY, TOKEN, ORGANIZATION_KEY, ORGANIZATION_TOKEN))
    assert len(server.seen) == 1


# --- what is sent, and what comes back --------------------------------------------------------------------------------


def test_spend_is_asked_for_by_user_so_that_spending_does_not_move_the_pages() -> None:
    body = {"teamMemberSpend": [{"userId": 7}, "odd"], "totalMembers": 102, "totalPages": 2}
    with ScriptedServer(Reply(body, headers={"Date": CLOCK})) as server, client_of(server) as client:
        assert client.spend_page(1) == ListPage([{"userId": 7}, "odd"], 102, 1, True, body, NOON)
        assert client.spend_page(2).has_next_page is False
    assert (server.seen[0].method, server.seen[0].target) == ("POST", "/teams/spend")
    assert json.loads(server.seen[0].body) == {"sortBy": "user", "sortDirection": "asc", "page": 1, "pageSize": 100}


def test_daily_usage_is_asked_for_with_both_paging_fields() -> None:
    body = {"data": [], "pagination": {"page": 3, "totalUsers": 12, "hasNextPage": True}}
    with ScriptedServer(Reply(body)) as server, client_of(server) as client:
        assert client.daily_usage_page(5, 6, 2) == ListPage([], 12, 3, True, body, None)
    assert json.loads(server.seen[0].body) == {"startDate": 5, "endDate": 6, "page": 2, "pageSize": 250}


def test_daily_usage_without_its_pagination_is_an_error_as_inactive_people_are_missing() -> None:
    with (
        ScriptedServer(Reply({"data": []})) as server,
        client_of(server) as client,
        pytest.raises(ApiShapeError, match="/teams/daily-usage-data answered without the key pagination"),
    ):
        client.daily_usage_page(5, 6, 1)


def test_a_group_is_asked_for_in_the_cycle_that_holds_a_day() -> None:
    with ScriptedServer(Reply({"group": {}})) as server, client_of(server) as client:
        client.billing_group("group_a", date(2026, 10, 31))
        client.billing_group("group_a")
    assert [seen.target for seen in server.seen] == [
        "/teams/groups/group_a?billingCycle=2026-10-31",
        "/teams/groups/group_a",
    ]


def test_directory_groups_and_their_members_are_asked_for_by_page() -> None:
    pages = [{"groups": [{}], "pagination": PAGINATION | {"totalCount": 1}}]
    pages.append({"members": [{}, {}], "pagination": PAGINATION | {"page": 2, "totalCount": 102}})
    with ScriptedServer(*(Reply(page) for page in pages)) as server, client_of(server) as client:
        assert client.directory_group_page(1) == ListPage([{}], 1, 1, False, pages[0], None)
        assert client.directory_group_member_page("dir_a", 2) == ListPage([{}, {}], 102, 2, False, pages[1], None)
    assert [seen.target for seen in server.seen] == [
        "/teams/directory-groups?page=1&pageSize=100",
        "/teams/directory-groups/dir_a/members?page=2&pageSize=100",
    ]


def test_a_page_of_directory_groups_without_pagination_is_all_there_is_unless_it_is_full() -> None:
    with ScriptedServer(Reply({"groups": [{}] * 2})) as server, client_of(server) as client:
        page = client.directory_group_page(1, page_size=3)
        assert (page.total_count, page.has_next_page) == (2, False)
        with pytest.raises(ApiShapeError, match="answered without the key pagination"):
            client.directory_group_page(1, page_size=2)


def test_commits_are_asked_for_to_the_millisecond_and_a_smaller_page_than_asked_for_is_believed() -> None:
    body = {"items": [{}], "totalCount": 201, "page": 2, "pageSize": 100}
    with ScriptedServer(Reply(body)) as server, client_of(server) as client:
        assert client.ai_commit_page(START, END, 2) == ListPage([{}], 201, 2, True, body, None)
    assert sent_query(server) == {
        "startDate": "2026-11-10T00:00:00.000Z",
        "endDate": "2026-11-15T23:59:59.999Z",
        "page": "2",
        "pageSize": "1000",
    }


@pytest.mark.parametrize(
    ("ask", "body", "says"),
    [
        (lambda c: c.spend_page(1), {"totalMembers": 0, "totalPages": 0}, "without the key teamMemberSpend"),
        (lambda c: c.spend_page(1), {"teamMemberSpend": [], "totalPages": 0}, "without the key totalMembers"),
        (lambda c: c.spend_page(1), {"teamMemberSpend": {}}, "teamMemberSpend of type dict, not list"),
        (lambda c: c.billing_group("g"), {"groups": []}, "/teams/groups/{group_id} answered without the key group"),
        (lambda c: c.directory_group_page(1), {}, "without the key groups"),
        (lambda c: c.directory_group_member_page("g", 1), {}, "without the key members"),
        (lambda c: c.repository_blocklists(), {"repos": None}, "repos of type NoneType, not list"),
        (lambda c: c.ai_commit_page(START, END, 1), {"items": []}, "without the key totalCount"),
        (lambda c: c.ai_commit_page(START, END, 1), {"totalCount": 0}, "without the key items"),
        (lambda c: c.pooled_usage("o"), {"teams": []}, "without the key pool"),
        (lambda c: c.pooled_usage("o"), {"pool": {}}, "without the key teams"),
    ],
)
def test_a_missing_list_is_an_error_and_never_an_empty_one(ask: Ask, body: dict[str, Any], says: str) -> None:
    with (
        ScriptedServer(Reply(body)) as server,
        client_of(server, organization_api_key=ORGANIZATION_KEY) as client,
        pytest.raises(ApiShapeError) as caught,
    ):
        ask(client)
    assert says in str(caught.value)


def test_a_group_that_is_not_there_is_told_from_other_errors() -> None:
    body = {"error": "Not Found", "message": "Resource not found"}
    with ScriptedServer(Reply(body, 404)) as server, client_of(server) as client:
        with pytest.raises(NotFoundError, match=r"^/teams/groups/g answered 404 \(Resource not found\)\."):
            client.billing_group("g")
        assert len(server.seen) == 1


# --- CSV --------------------------------------------------------------------------------------------------------------

CSV_TYPE = {"Content-Type": "text/csv; charset=utf-8"}


def test_csv_is_asked_for_as_csv_and_comes_as_text_without_its_byte_order_mark() -> None:
    text = 'commit_hash,message\na,"é, ""x""\n2"\n'
    reply = Reply(b"\xef\xbb\xbf" + text.encode(), headers=CSV_TYPE | {"Date": CLOCK})
    with ScriptedServer(reply) as server, client_of(server) as client:
        assert client.ai_commits_csv(START, END) == TextAnswer(text, NOON, 1)
    assert server.seen[0].headers["Accept"] == "text/csv"
    assert sent_query(server) == {"startDate": "2026-11-10T00:00:00.000Z", "endDate": "2026-11-15T23:59:59.999Z"}


def test_csv_is_tried_again_where_that_can_help() -> None:
    replies = [
        Reply({"message": "later"}, 503),
        Reply(b"commit_hash\n" * 9, headers=CSV_TYPE, how="cut"),
        Reply(b"<html>wait</html>", headers={"Content-Type": "text/html"}),
        Reply(b"commit_hash\n", headers=CSV_TYPE),
    ]
    with ScriptedServer(*replies) as server, client_of(server) as client:
        assert client.ai_commits_csv(START, END) == TextAnswer("commit_hash\n", None, 4)
    assert client.stats.retries == 3


@pytest.mark.parametrize(
    ("body", "kind"), [(b"<html>", "text/html"), (b"\xff\xfe", "text/csv"), (b"{}", "application/json")]
)
def test_what_is_no_csv_is_an_error_without_a_word_of_the_body(body: bytes, kind: str) -> None:
    with (
        ScriptedServer(Reply(body, headers={"Content-Type": kind})) as server,
        client_of(server) as client,
        pytest.raises(ApiError) as caught,
    ):
        client.ai_commits_csv(START, END)
    assert str(caught.value) == (
        f"/analytics/ai-code/commits.csv answered 200 with something that is not CSV ({kind}, {len(body)} bytes). Set "
        "base_url under [sources.cursor_admin] in .dlt/config.toml and check proxies between; nothing was changed, the "
        "next run continues."
    )


@pytest.mark.parametrize(("status", "error"), [(401, AuthError), (403, AuthError), (429, RateLimitError)])
def test_csv_is_refused_with_the_same_errors_as_json(
    status: int, error: type[ApiError], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.cursor_admin.settings.MAX_ATTEMPTS", 2)
    with ScriptedServer(Reply({}, status)) as server, client_of(server) as client, pytest.raises(error):
        client.ai_commits_csv(START, END)


def test_a_json_route_is_not_asked_as_csv() -> None:
    with ScriptedServer(Reply({"items": []})) as server, client_of(server) as client:
        client.me()
        with pytest.raises(RefusedRequestError):
            client.request_csv("/teams/groups/a/members")
    assert server.seen[0].headers["Accept"] == "application/json"
    assert [seen.target for seen in server.seen] == ["/v1/me"]
