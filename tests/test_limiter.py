"""The rate limit, as a server with fixed windows of any alignment counts it."""

from __future__ import annotations

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from http_script import GROUPS, KEY, MEMBERS, Reply, ScriptedServer, client_of

from pipelines.cursor_admin.access import RefusedRequestError
from pipelines.cursor_admin.client import CursorAdminClient
from pipelines.cursor_admin.errors import ApiError
from pipelines.cursor_admin.limiter import RateLimiter
from pipelines.cursor_admin.settings import ALLOWED_READS

WINDOW = 0.25
LIMIT = 5


def fullest_window(times: list[float], window: float) -> int:
    """The most requests that any fixed window holds, over every alignment: one may start at each request."""
    return max(sum(start <= at < start + window for at in times) for start in times)


def test_no_fixed_window_of_the_server_ever_holds_more_than_the_limit() -> None:
    with (
        ScriptedServer(Reply(MEMBERS)) as server,
        client_of(server, rate_limit_per_minute=LIMIT, rate_limit_window_seconds=WINDOW) as client,
        ThreadPoolExecutor(8) as threads,
    ):
        for future in [threads.submit(client.members) for _ in range(4 * LIMIT)]:
            future.result()
        assert client.stats.limiter_seconds > 0
    times = [seen.at for seen in server.seen]
    assert len(times) == 4 * LIMIT
    assert fullest_window(times, WINDOW) <= LIMIT


def test_the_limit_holds_when_answers_take_longer_than_the_window() -> None:
    limiter = RateLimiter(LIMIT, WINDOW)
    counted: list[float] = []

    def request(number: int) -> None:
        limiter.acquire()
        counted.append(time.monotonic())  # the server counts somewhere between sending and answering
        time.sleep(WINDOW * 1.5 if number % 3 == 0 else 0.001)
        limiter.release()

    with ThreadPoolExecutor(12) as threads:
        list(threads.map(request, range(3 * LIMIT)))
    assert len(counted) == 3 * LIMIT
    assert fullest_window(counted, WINDOW) <= LIMIT


def test_a_failed_request_uses_its_slot_as_well() -> None:
    faults = [Reply(status=503), Reply(how="reset"), Reply(b"<html>"), Reply(MEMBERS)]
    with (
        ScriptedServer(*faults) as server,
        client_of(server, rate_limit_per_minute=1, rate_limit_window_seconds=WINDOW) as client,
    ):
        assert client.members().requests == 4
    assert fullest_window([seen.at for seen in server.seen], WINDOW) == 1


def test_each_endpoint_has_its_own_limit() -> None:
    with (
        ScriptedServer(Reply({**MEMBERS, **GROUPS})) as server,
        client_of(server, rate_limit_per_minute=2, rate_limit_window_seconds=1000.0) as client,
    ):
        for _ in range(2):  # one limit for both would never let the third request go
            client.members()
            client.billing_groups()
    assert Counter(seen.target for seen in server.seen) == {"/teams/members": 2, "/teams/groups": 2}


def test_every_id_in_a_path_counts_for_the_one_endpoint() -> None:
    with (
        ScriptedServer(Reply({"group": {}})) as server,
        client_of(server, rate_limit_per_minute=2, rate_limit_window_seconds=WINDOW) as client,
    ):
        for group_id in ("group_a", "group_b", "group_c"):
            client.billing_group(group_id)
        assert client.stats.requests == {"/teams/groups/{group_id}": 3}
    assert fullest_window([seen.at for seen in server.seen], WINDOW) == 2


def test_a_shared_limit_counts_every_endpoint() -> None:
    with (
        ScriptedServer(Reply({**MEMBERS, **GROUPS})) as server,
        client_of(server, rate_limit_per_minute=2, rate_limit_shared=True, rate_limit_window_seconds=WINDOW) as client,
    ):
        for _ in range(3):
            client.members()
            client.billing_groups()
    assert Counter(seen.target for seen in server.seen) == {"/teams/members": 3, "/teams/groups": 3}
    assert fullest_window([seen.at for seen in server.seen], WINDOW) <= 2


def test_unset_means_the_documented_limits_and_zero_means_none() -> None:
    def limits(**changes: object) -> list[int | None]:
        with CursorAdminClient(api_key=KEY, **changes) as client:  # type: ignore[arg-type]
            return [limiter._limit for limiter in client._limiters.values()]

    routes = len(ALLOWED_READS)
    assert limits() == [60] + [20] * (routes - 1)
    assert limits(rate_limit_shared=True) == [20] * routes
    assert limits(rate_limit_per_minute=7) == [7] * routes
    assert limits(rate_limit_per_minute=0) == [None] * routes
    assert limits(rate_limit_per_minute=0, rate_limit_shared=True) == [None] * routes


def test_a_negative_limit_is_refused() -> None:
    with pytest.raises(RefusedRequestError) as caught:
        CursorAdminClient(api_key=KEY, rate_limit_per_minute=-1)
    assert str(caught.value) == (
        "Set rate_limit_per_minute under [sources.cursor_admin] in .dlt/config.toml to 0 (none) or more."
    )


def test_a_waiting_thread_ends_when_the_limiter_is_closed() -> None:
    limiter = RateLimiter(1, 1000.0)
    limiter.acquire()
    errors: list[ApiError] = []

    def wait() -> None:
        with pytest.raises(ApiError) as caught:
            limiter.acquire()
        errors.append(caught.value)

    threads = [threading.Thread(target=wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    limiter.close()
    for thread in threads:
        thread.join(10)
    assert [str(error) for error in errors] == [
        "The client was closed while a request waited for its turn; nothing was changed."
    ] * 3
