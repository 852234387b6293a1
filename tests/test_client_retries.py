"""What the client tries again, for how long, and what it says when that does not help."""

from __future__ import annotations

import json
import logging
import socket
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from http_script import CLOCK, EVENTS, GROUPS, KEY, MEMBERS, TOKEN, Reply, ScriptedServer, Seen, client_of

from pipelines.cursor_admin.answers import Answer
from pipelines.cursor_admin.client import ClientStats, CursorAdminClient
from pipelines.cursor_admin.errors import ApiError, ApiShapeError, AuthError, RateLimitError

NEXT_RUN = "nothing was changed, the next run continues."
SHAPE_HINT = "The API may have changed: compare it with the API reference; nothing was changed."


def error_of(*replies: Reply, call: str = "members", kind: type[Exception] = ApiError, **changes: Any) -> str:
    """The message of the error that these replies end in."""
    with ScriptedServer(*replies) as server, client_of(server, **changes) as client:
        with pytest.raises(kind) as caught:
            getattr(client, call)(*((0, 1, 1) if call == "usage_event_page" else ()))
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None
    return str(caught.value)


# What is tried again


@pytest.mark.parametrize(
    "fault",
    [
        Reply({"error": "Internal Server Error"}, status=500),
        Reply(b"<html>Bad gateway</html>", status=502),
        Reply(status=503),
        Reply(status=504),
        Reply({"message": "Rate limit exceeded."}, status=429),
        Reply(how="reset"),
        Reply(how="stall"),
        Reply(MEMBERS, how="cut"),
        Reply(MEMBERS, how="drip"),
        Reply(json.dumps(MEMBERS).encode()[:-5]),
        Reply(b"<html>Please log in</html>", headers={"Content-Type": "text/html"}),
        Reply(b"not gzip", headers={"Content-Encoding": "gzip"}),
    ],
    ids=lambda fault: f"{fault.status}-{fault.how}-{fault.content[:12].decode(errors='ignore')}",
)
def test_a_fault_that_passes_is_survived(fault: Reply) -> None:
    with (
        ScriptedServer(fault, fault, Reply(MEMBERS)) as server,
        client_of(server, read_timeout_seconds=0.3, answer_timeout_seconds=0.3) as client,
    ):
        assert client.members() == Answer(MEMBERS, None, 3)
        throttled = 2 if fault.status == 429 else 0
        assert client.stats == ClientStats({"/teams/members": 3}, 2, throttled, client.stats.limiter_seconds)
    assert len(server.seen) == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 501])
def test_a_refusal_is_not_repeated(status: int) -> None:
    refusal = Reply({"message": "No"}, status=status)
    with ScriptedServer(refusal) as server, client_of(server) as client, pytest.raises(ApiError):
        client.members()
    assert len(server.seen) == 1


def test_eight_attempts_are_all() -> None:
    down = Reply({"message": "Down for repair"}, status=503)
    with ScriptedServer(down) as server, client_of(server) as client, pytest.raises(ApiError) as caught:
        client.members()
    assert len(server.seen) == 8
    assert str(caught.value) == (
        "/teams/members answered 503 (Down for repair) each time it was tried. "
        f"Cursor has a problem: run again later; {NEXT_RUN}"
    )


def test_the_time_for_all_attempts_together_is_bounded() -> None:
    with (
        ScriptedServer(Reply(status=503)) as server,
        client_of(server, backoff_base_seconds=0.2, total_seconds_per_request=1.4) as client,
        pytest.raises(ApiError),
    ):
        client.members()
    assert len(server.seen) == 3  # waits of 0.2 and 0.4 seconds fit, one of 0.8 more does not


def test_a_dripping_answer_is_given_up_before_its_end() -> None:
    drip = Reply(MEMBERS, how="drip")
    with ScriptedServer(drip, Reply(MEMBERS)) as server, client_of(server, answer_timeout_seconds=0.2) as client:
        assert client.members() == Answer(MEMBERS, None, 2)
        assert server.whole_drips == 0


def test_answers_that_are_not_read_to_their_end_leave_room_for_others() -> None:
    long_refusal = Reply(b"x" * 200_000, status=400)
    replies = [long_refusal] * 10 + [Reply(MEMBERS)]  # more than the pool holds connections
    with ScriptedServer(*replies) as server, client_of(server) as client:
        for _ in range(10):
            with pytest.raises(ApiError):
                client.members()
        assert client.members().payload == MEMBERS


def test_retry_after_in_seconds_is_waited_for() -> None:
    replies = [Reply(status=429, headers={"Retry-After": "1"}), Reply(MEMBERS)]
    with ScriptedServer(*replies) as server, client_of(server) as client:
        client.members()
    assert server.seen[1].at - server.seen[0].at >= 1.0


def test_retry_after_as_a_date_is_measured_by_the_servers_clock() -> None:
    headers = {"Retry-After": "Mon, 16 Nov 2026 02:00:01 GMT", "Date": CLOCK}
    with ScriptedServer(Reply(status=503, headers=headers), Reply(MEMBERS)) as server, client_of(server) as client:
        client.members()
    assert 1.0 <= server.seen[1].at - server.seen[0].at < 60.0


def test_retry_after_never_waits_longer_than_its_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.cursor_admin.settings.RETRY_AFTER_CAP_SECONDS", 0.1)
    replies = [Reply(status=429, headers={"Retry-After": "86400"}), Reply(MEMBERS)]
    with ScriptedServer(*replies) as server, client_of(server) as client:
        assert client.members().requests == 2


def test_after_a_429_every_thread_holds_back() -> None:
    def decide(_: Seen) -> Reply:
        first = len(server.seen) == 1
        return Reply(status=429, headers={"Retry-After": "0.5"}) if first else Reply(MEMBERS)

    with ScriptedServer(decide=decide) as server, client_of(server) as client, ThreadPoolExecutor(4) as threads:
        first = threads.submit(client.members)
        while client.stats.retries == 0:
            time.sleep(0.005)
        others = [threads.submit(client.members) for _ in range(3)]
        assert [future.result().payload for future in (first, *others)] == [MEMBERS] * 4
    refused_at = server.seen[0].at
    assert len(server.seen) == 5
    assert min(seen.at for seen in server.seen[1:]) - refused_at >= 0.5


# What is said


def test_a_refused_key_is_named_with_the_setting_to_change() -> None:
    body = {"error": "Unauthorized", "message": "Invalid API key"}
    assert error_of(Reply(body, status=401), kind=AuthError) == (
        "Cursor refused the key (401, /teams/members). Set api_key under [sources.cursor_admin] in .dlt/secrets.toml "
        "to a key with the admin scope. Cursor said: Invalid API key"
    )


def test_a_forbidden_route_is_named_with_plan_and_scope() -> None:
    forbidden = Reply({"error": "Forbidden", "message": "Enterprise access required"}, status=403)
    with ScriptedServer(forbidden) as server, client_of(server) as client, pytest.raises(AuthError) as caught:
        client.billing_groups()
    assert (caught.value.status, caught.value.path) == (403, "/teams/groups")
    assert str(caught.value) == (
        "/teams/groups answered 403 (Enterprise access required): the plan of this team or the key's scope does not "
        "allow it. Check in Cursor's dashboard that the team is on the plan that offers this route, or set api_key "
        "under [sources.cursor_admin] in .dlt/secrets.toml to a key with the admin scope."
    )


def test_a_used_up_limit_is_named_with_the_settings_that_lower_it() -> None:
    body = {"error": "Too Many Requests", "message": "Rate limit exceeded. Please try again later."}
    assert error_of(Reply(body, status=429), kind=RateLimitError) == (
        "/teams/members answered 429 (Rate limit exceeded. Please try again later.) until the attempts for one request "
        "were used up. If something else reads this team's data, run it at another time, or lower "
        "rate_limit_per_minute or set rate_limit_shared = true under [sources.cursor_admin] in .dlt/config.toml; "
        + NEXT_RUN
    )


def test_any_other_refusal_names_the_route_and_what_the_server_said() -> None:
    assert error_of(Reply({"error": "Resource not found"}, status=404)) == (
        "/teams/members answered 404 (Resource not found). Set base_url under [sources.cursor_admin] in "
        f".dlt/config.toml if it is not Cursor's; else the API has changed; {NEXT_RUN}"
    )


def test_an_address_that_never_answered_is_given_up_sooner() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    client = CursorAdminClient(api_key=KEY, base_url=f"http://127.0.0.1:{port}", backoff_base_seconds=0.001)
    with client, pytest.raises(ApiError) as caught:
        client.members()
    assert client.stats.request_count == 5
    assert caught.value.__context__ is None
    assert str(caught.value) == (
        "Could not reach 127.0.0.1 (/teams/members): the connection was refused. "
        f"Check base_url and the network; {NEXT_RUN}"
    )


def test_an_unknown_name_is_said_to_be_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any, **__: Any) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    client = CursorAdminClient(api_key=KEY, base_url="https://api.example.com", backoff_base_seconds=0.001)
    with client, pytest.raises(ApiError) as caught:
        client.members()
    assert str(caught.value) == (
        "Could not reach api.example.com (/teams/members): its name is not known. "
        f"Check base_url and the network; {NEXT_RUN}"
    )


def test_silence_and_dripping_are_told_apart_from_a_broken_connection() -> None:
    times = {"read_timeout_seconds": 0.1, "answer_timeout_seconds": 0.3}
    assert error_of(Reply(how="stall"), total_seconds_per_request=0.3, **times) == (
        f"Could not reach 127.0.0.1 (/teams/members): no answer in time. Check base_url and the network; {NEXT_RUN}"
    )
    assert error_of(Reply(MEMBERS, how="drip"), total_seconds_per_request=0.4, **times) == (
        f"127.0.0.1 gave no whole answer (/teams/members): it came too slowly. Check the network; {NEXT_RUN}"
    )
    for reply in (Reply(MEMBERS, how="cut"), Reply(how="reset")):
        assert error_of(reply) == (
            f"127.0.0.1 gave no whole answer (/teams/members): the connection broke. Check the network; {NEXT_RUN}"
        )


def test_a_page_of_a_gateway_is_said_to_be_no_json() -> None:
    html = Reply(b"<html>Log in as ada@example.com</html>", headers={"Content-Type": "text/html; charset=utf-8"})
    assert error_of(html) == (
        "/teams/members answered 200 with something that is not JSON (text/html, 38 bytes). Set base_url under "
        f"[sources.cursor_admin] in .dlt/config.toml and check proxies between; {NEXT_RUN}"
    )


def test_what_the_server_says_is_cut_short_and_holds_no_address_no_key_and_no_other_field() -> None:
    said = f"ada.admin@example.com used {KEY}\n({TOKEN}, key_0123456789): " + "x" * 200
    message = error_of(Reply({"message": said, "detail": "private"}, status=400))
    quoted = "[e-mail] used [key] ([key], [key]): "
    assert message == (
        f"/teams/members answered 400 ({quoted}{'x' * (119 - len(quoted))}…). Set base_url under "
        f"[sources.cursor_admin] in .dlt/config.toml if it is not Cursor's; else the API has changed; {NEXT_RUN}"
    )


@pytest.mark.parametrize("body", [b"private text", b"[1]", b'{"message": {"a": 1}}', b'{"code": "error"}', b""])
def test_an_error_body_without_a_text_is_not_quoted(body: bytes) -> None:
    assert error_of(Reply(body, status=400)).startswith("/teams/members answered 400. Set base_url")


# What an answer must look like


@pytest.mark.parametrize(
    ("call", "body", "problem"),
    [
        ("members", [], "/teams/members answered with something that is not a JSON object."),
        ("members", {}, "/teams/members answered without the key teamMembers."),
        ("members", {"teamMembers": None}, "/teams/members answered with teamMembers of type NoneType, not list."),
        (
            "members",
            {"teamMembers": [1]},
            "/teams/members answered with something in teamMembers that is not a JSON object.",
        ),
        ("billing_groups", {"groups": []}, "/teams/groups answered without the key unassignedGroup."),
        ("billing_groups", {**GROUPS, "groups": {}}, "/teams/groups answered with groups of type dict, not list."),
        (
            "billing_groups",
            {**GROUPS, "unassignedGroup": []},
            "/teams/groups answered with unassignedGroup of type list, not dict.",
        ),
        (
            "usage_event_page",
            {key: value for key, value in EVENTS.items() if key != "usageEvents"},
            "/teams/filtered-usage-events answered without the key usageEvents.",
        ),
        (
            "usage_event_page",
            {**EVENTS, "totalUsageEventsCount": True},
            "/teams/filtered-usage-events answered with totalUsageEventsCount of type bool, not int.",
        ),
        (
            "usage_event_page",
            {**EVENTS, "totalUsageEventsCount": "3"},
            "/teams/filtered-usage-events answered with totalUsageEventsCount of type str, not int.",
        ),
        (
            "usage_event_page",
            {**EVENTS, "pagination": {"numPages": 1}},
            "/teams/filtered-usage-events answered without the key pagination.hasNextPage.",
        ),
        (
            "usage_event_page",
            {**EVENTS, "pagination": {"numPages": 1.0, "hasNextPage": False}},
            "/teams/filtered-usage-events answered with pagination.numPages of type float, not int.",
        ),
    ],
)
def test_another_shape_is_an_error_at_once_and_never_an_empty_list(call: str, body: Any, problem: str) -> None:
    assert error_of(Reply(body), Reply(MEMBERS), call=call, kind=ApiShapeError) == f"{problem} {SHAPE_HINT}"


# What stays private


def test_the_key_is_in_no_text_that_the_client_gives_out(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    texts: list[str] = []
    faults = [
        Reply({"message": f"no {KEY}"}, status=401),
        Reply(how="reset"),
        Reply(how="stall"),
        Reply(b"<html>"),
        Reply([]),
        Reply(status=302, headers={"Location": "/"}),
    ]
    for fault in faults:
        with (
            ScriptedServer(fault) as server,
            client_of(server, total_seconds_per_request=0.2, read_timeout_seconds=0.1) as client,
        ):
            with pytest.raises(ApiError) as caught:
                client.members()
            error = caught.value
            assert (error.__cause__, error.__context__) == (None, None)
            texts += [repr(client), str(client), f"{client.stats}", repr(error), *traceback.format_exception(error)]
            texts.append(repr(vars(error)))
    texts += [record.getMessage() + repr(vars(record)) for record in caplog.records] + [caplog.text]
    assert any("attempt 2 follows in" in text for text in texts)
    assert [text for text in texts if KEY in text or TOKEN in text] == []


def test_nothing_is_logged_above_info_as_cron_would_mail_it(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    replies = [Reply(status=503), Reply(MEMBERS)]
    with ScriptedServer(*replies) as server, client_of(server) as client, ThreadPoolExecutor(12) as threads:
        list(threads.map(lambda _: client.members(), range(36)))
    assert caplog.records == []


# How it ends


def test_closing_ends_the_waits_of_other_threads() -> None:
    waiting = Reply(status=503, headers={"Retry-After": "100"})
    with ScriptedServer(waiting) as server, ThreadPoolExecutor(2) as threads:
        client = client_of(server, rate_limit_per_minute=1)
        calls = [threads.submit(client.members) for _ in range(2)]  # one waits to retry, one for its turn
        while client.stats.retries == 0:
            time.sleep(0.005)
        client.close()
        errors = [call.exception(timeout=10) for call in calls]
    assert [str(error) for error in errors] == [
        "The client was closed while a request waited for its turn; nothing was changed."
    ] * 2
    assert len(server.seen) == 1
