"""What the client sends and what it refuses to send, against a scripted server over real HTTP."""

from __future__ import annotations

import base64
import gzip
import json
import socket
import threading
from datetime import UTC, date, datetime
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from http_script import CLOCK, EVENTS, GROUPS, KEY, MEMBERS, TOKEN, Reply, ScriptedServer, client_of

from pipelines.cursor_admin.access import RefusedRequestError
from pipelines.cursor_admin.answers import Answer, AuditLogPage, EventPage
from pipelines.cursor_admin.client import CursorAdminClient
from pipelines.cursor_admin.errors import ApiError, ApiShapeError
from pipelines.cursor_admin.settings import ALLOWED_READS, Read, find_read

NEXT_RUN = "nothing was changed, the next run continues."


# What is sent


def test_the_key_is_the_user_name_and_the_password_is_empty_but_for_its_colon() -> None:
    with ScriptedServer(Reply(MEMBERS)) as server, client_of(server) as client:
        client.members()
    sent = server.seen[0].headers["Authorization"]
    assert sent == f"Basic {TOKEN}"
    assert base64.b64decode(sent.removeprefix("Basic ")) == f"{KEY}:".encode()


def test_a_netrc_entry_for_the_host_does_not_replace_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HOME", str(tmp_path))
    with ScriptedServer(Reply(MEMBERS)) as server, client_of(server) as client:
        client.members()
    assert server.seen[0].headers["Authorization"] == f"Basic {TOKEN}"


def test_loopback_is_reached_without_the_proxies_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with ScriptedServer(Reply(MEMBERS)) as server, client_of(server) as client:
        assert client.members().payload == MEMBERS


def test_https_goes_through_the_proxy_of_the_environment_which_never_sees_the_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.getsockname()[1]}")
        heard: list[bytes] = []

        def refuse() -> None:
            for _ in range(5):
                connection, _address = proxy.accept()
                with connection:
                    heard.append(connection.recv(65536))
                    connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=refuse)
        thread.start()
        client = CursorAdminClient(api_key=KEY, base_url="https://api.example.com", backoff_base_seconds=0.001)
        with client, pytest.raises(ApiError) as caught:
            client.members()
        thread.join()
    assert str(caught.value) == (
        "Could not reach api.example.com (/teams/members): the proxy did not let the connection through. "
        f"Check base_url and the network; {NEXT_RUN}"
    )
    assert [request.split(b" HTTP")[0] for request in heard] == [b"CONNECT api.example.com:443"] * 5
    assert not any(TOKEN.encode() in request for request in heard)


def test_a_page_of_events_is_asked_for_with_both_bounds_and_its_number() -> None:
    with ScriptedServer(Reply(EVENTS, headers={"Date": CLOCK})) as server, client_of(server) as client:
        page = client.usage_event_page(1794268800000, 1794355199999, 1, page_size=2)
    assert page == EventPage(
        rows=EVENTS["usageEvents"],  # type: ignore[arg-type]
        total_count=3,
        page_count=2,
        page=1,
        has_next_page=True,
        date=datetime(2026, 11, 16, 2, tzinfo=UTC),
    )
    seen = server.seen[0]
    assert (seen.method, seen.target, seen.headers["Content-Type"]) == (
        "POST",
        "/teams/filtered-usage-events",
        "application/json",
    )
    assert json.loads(seen.body) == {"startDate": 1794268800000, "endDate": 1794355199999, "page": 1, "pageSize": 2}


def test_a_page_says_which_page_it_is_so_that_a_repeated_one_shows() -> None:
    with ScriptedServer(Reply(EVENTS)) as server, client_of(server) as client:
        assert client.usage_event_page(0, 1, 2).page == 1


def test_the_number_asked_for_stands_in_where_the_page_does_not_say() -> None:
    body = {**EVENTS, "pagination": {"numPages": 2, "hasNextPage": False}}
    with ScriptedServer(Reply(body)) as server, client_of(server) as client:
        assert client.usage_event_page(0, 1, 2).page == 2


def test_a_page_of_the_audit_log_is_asked_for_with_times_and_without_a_choice_of_types() -> None:
    row = {"event_id": "e1", "event_type": "add_user"}
    body = {"events": [row], "pagination": {"page": 2, "pageSize": 1, "totalCount": 2, "hasNextPage": False}}
    with ScriptedServer(Reply(body, headers={"Date": CLOCK})) as server, client_of(server) as client:
        page = client.audit_log_page(datetime(2026, 10, 1, tzinfo=UTC), datetime(2026, 10, 30, 12, tzinfo=UTC), 2)
    assert page == AuditLogPage([row], 2, 2, False, datetime(2026, 11, 16, 2, tzinfo=UTC))
    parts = urlsplit(server.seen[0].target)
    assert (server.seen[0].method, parts.path) == ("GET", "/teams/audit-logs")
    assert parse_qs(parts.query) == {
        "startTime": ["2026-10-01T00:00:00.000Z"],
        "endTime": ["2026-10-30T12:00:00.000Z"],
        "page": ["2"],
        "pageSize": ["500"],
    }


@pytest.mark.parametrize(
    ("body", "key"),
    [
        ({"events": []}, "pagination"),
        ({"events": [], "pagination": {"hasNextPage": False}}, "pagination.totalCount"),
        ({"events": [], "pagination": {"totalCount": 0}}, "pagination.hasNextPage"),
        ({"pagination": {"totalCount": 0, "hasNextPage": False}}, "events"),
    ],
)
def test_a_page_of_the_audit_log_that_lacks_a_key_is_an_error_and_never_an_empty_page(body: dict, key: str) -> None:
    with (
        ScriptedServer(Reply(body)) as server,
        client_of(server) as client,
        pytest.raises(ApiShapeError, match=f"/teams/audit-logs answered without the key {key}"),
    ):
        client.audit_log_page(datetime(2026, 10, 1, tzinfo=UTC), datetime(2026, 10, 2, tzinfo=UTC), 1)


def test_an_empty_page_is_a_page() -> None:
    body = {
        "totalUsageEventsCount": 0,
        "pagination": {"numPages": 0, "currentPage": 1, "hasNextPage": False},
        "usageEvents": [],
    }
    with ScriptedServer(Reply(body)) as server, client_of(server) as client:
        assert client.usage_event_page(0, 1, 1) == EventPage([], 0, 0, 1, False, None)


def test_groups_are_asked_for_the_cycle_that_holds_a_day() -> None:
    with ScriptedServer(Reply(GROUPS)) as server, client_of(server) as client:
        assert client.billing_groups(date(2026, 10, 31)) == Answer(GROUPS, None, 1)
        client.billing_groups()
    assert [seen.target for seen in server.seen] == ["/teams/groups?billingCycle=2026-10-31", "/teams/groups"]


def test_a_connection_serves_many_requests() -> None:
    zipped = Reply(gzip.compress(json.dumps(MEMBERS).encode()), headers={"Content-Encoding": "gzip"})
    replies = [Reply(MEMBERS), zipped, Reply({"message": "later"}, status=503), Reply(MEMBERS)]
    with ScriptedServer(*replies) as server, client_of(server) as client:
        assert [client.members().payload for _ in range(3)] == [MEMBERS] * 3
    assert (len(server.seen), server.connections) == (4, 1)


# What is never sent


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", "/teams/groups/group_1"),
        ("POST", "/teams/groups"),
        ("GET", "/teams/filtered-usage-events"),
        ("get", "/teams/members"),
        ("GET", "/teams/members/"),
        ("GET", "/teams/members?x=1"),
        ("GET", "/teams/groups/../members"),
        ("GET", "//example.com/teams/members"),
        ("GET", "/teams/members\n"),
    ],
)
def test_a_route_that_is_not_a_listed_read_is_refused_before_anything_is_sent(method: str, path: str) -> None:
    with (
        ScriptedServer(Reply(MEMBERS)) as server,
        client_of(server) as client,
        pytest.raises(RefusedRequestError) as caught,
    ):
        client.request(method, path)
    assert isinstance(caught.value, ApiError)
    assert isinstance(caught.value, ValueError)
    assert str(caught.value) == (
        f"{method} {path} is not on the list of reads (ALLOWED_READS in pipelines/cursor_admin/settings.py); "
        "nothing was sent."
    )
    assert server.seen == []


def test_a_segment_in_braces_stands_for_one_id_and_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    read = Read("GET", "/teams/groups/{group_id}", 20)
    monkeypatch.setattr("pipelines.cursor_admin.settings.ALLOWED_READS", (*ALLOWED_READS, read))
    assert find_read("GET", "/teams/groups/group_a-1") == read
    refused = ["/teams/groups/", "/teams/groups/..", "/teams/groups/a/members", "/teams/groups/%2e%2e"]
    assert [find_read("GET", path) for path in refused] == [None] * 4


def test_plain_http_is_refused_but_to_loopback() -> None:
    for base_url in ("http://127.0.0.1:8080", "http://localhost", "http://[::1]:1", "https://api.cursor.com/"):
        CursorAdminClient(api_key=KEY, base_url=base_url).close()
    for base_url in ("http://api.cursor.com", "http://127.0.0.1.example.com", "http://0.0.0.0"):
        with pytest.raises(RefusedRequestError) as caught:
            CursorAdminClient(api_key=KEY, base_url=base_url)
        assert str(caught.value) == (
            f"The key would travel in clear text to {base_url.removeprefix('http://')}. Set base_url under "
            "[sources.cursor_admin] in .dlt/config.toml to its https address: plain http is accepted for loopback only."
        )


@pytest.mark.parametrize(
    "base_url",
    [
        "",
        "api.cursor.com",
        "ftp://127.0.0.1",
        "https://name:word@api.cursor.com",
        "http://127.0.0.1@example.com",
        "http://127.0.0.1\\@example.com",
        "https://api.cursor.com?x=1",
        "https://api.cursor.com#x",
        "https://api.cursor.com/a b",
    ],
)
def test_an_address_with_more_than_host_port_and_folder_is_refused(base_url: str) -> None:
    with pytest.raises(RefusedRequestError) as caught:
        CursorAdminClient(api_key=KEY, base_url=base_url)
    assert str(caught.value) == (
        "Set base_url under [sources.cursor_admin] in .dlt/config.toml to an address such as https://api.cursor.com: "
        "no user, password or parameters."
    )


@pytest.mark.parametrize("key", ["", "two words", "crsr_x\r\nX-Evil: 1", "crsr:x", "crsr_é"])
def test_a_key_that_cannot_be_one_is_refused_without_being_repeated(key: str) -> None:
    with pytest.raises(RefusedRequestError) as caught:
        CursorAdminClient(api_key=key)
    assert str(caught.value) == (
        "The key is empty or holds characters no key has. Set api_key under [sources.cursor_admin] in "
        ".dlt/secrets.toml to the key exactly as Cursor showed it."
    )


def test_a_redirect_is_never_followed_not_even_on_the_same_host() -> None:
    with ScriptedServer(Reply(MEMBERS)) as elsewhere, ScriptedServer(Reply()) as server:
        for target in (f"{elsewhere.base_url}/teams/members", f"{server.base_url}/teams/groups"):
            server.seen.clear()
            server._replies = [Reply(status=302, headers={"Location": target}), Reply(MEMBERS)]
            with client_of(server) as client, pytest.raises(ApiError) as caught:
                client.members()
            assert str(caught.value) == (
                "/teams/members answered 302, a redirect; none is followed, so that the key goes nowhere else. "
                "Set base_url under [sources.cursor_admin] in .dlt/config.toml to the address that answers itself."
            )
            assert [seen.target for seen in server.seen] == ["/teams/members"]
        assert elsewhere.seen == []
