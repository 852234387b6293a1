"""Reading what chargeback can do without from the simulator: every route whole, refused, broken, and for a moment."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import date, datetime
from decimal import Decimal

import pyarrow as pa
import pytest
from simulator_client import NOW, hand_made, serve, small

from pipelines.cursor_admin.client import CursorAdminClient
from pipelines.cursor_admin.errors import ApiError, AuthError
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
from pipelines.simulator import Behaviour, Fault, SimulatorServer

MONDAY = datetime(2026, 11, 16, 2)
FIRST, LAST = date(2026, 11, 10), date(2026, 11, 16)
Read = Callable[[CursorAdminClient], OptionalAnswer]


@pytest.fixture(scope="module")
def server() -> Iterator[SimulatorServer]:
    behaviour = Behaviour(shuffled_csv_columns=True, undocumented_spend_fields=True, billing_tiers=("standard", "x"))
    with serve(small(behaviour, people=30)) as running:
        yield running


@pytest.fixture
def client(server: SimulatorServer) -> Iterator[CursorAdminClient]:
    server.faults.clear()
    server.requests.clear()
    with simulator_client(server) as client:
        yield client


def simulator_client(server: SimulatorServer) -> CursorAdminClient:
    return CursorAdminClient(
        api_key=server.api_key,
        organization_api_key=server.organisation.organization_key,
        base_url=server.base_url,
        rate_limit_per_minute=0,
        backoff_base_seconds=0.001,
    )


READS: dict[str, Read] = {
    "/teams/spend": lambda c: read_member_spend(c, team="t"),
    "/teams/groups/group_payments00": lambda c: read_billing_group_details(
        c, ["group_payments00"], team="t", billing_cycle=None
    ),
    "/teams/directory-groups": lambda c: read_directory_groups(c, team="t"),
    "/settings/repo-blocklists/repos": lambda c: read_repository_blocklists(c, team="t"),
    "/organizations/pooled-usage": lambda c: read_pooled_usage(c, "org_acme", team="t", api_team_id=None),
    "/teams/daily-usage-data": lambda c: read_daily_usage(c, FIRST, LAST, team="t", batch_id="b"),
    "/analytics/ai-code/commits": lambda c: read_ai_commits(c, FIRST, LAST, MONDAY, team="t", batch_id="b"),
    "/analytics/ai-code/commits.csv": lambda c: read_ai_commits_csv(c, FIRST, LAST, MONDAY, team="t", batch_id="b"),
}


@pytest.mark.parametrize("path", READS)
def test_every_route_is_read_whole_and_nothing_about_it_is_odd(client: CursorAdminClient, path: str) -> None:
    answer = READS[path](client)
    assert answer.answered_at == NOW
    assert answer.oddities == []
    assert all(table.num_rows > 0 for table in answer.tables.values())


@pytest.mark.parametrize("path", READS)
@pytest.mark.parametrize("status", ["401", "403"])
def test_a_route_that_refuses_the_key_says_so(
    server: SimulatorServer, client: CursorAdminClient, path: str, status: str
) -> None:
    server.faults.append(Fault(path, status, times=None))
    with pytest.raises(AuthError) as caught:
        READS[path](client)
    assert (caught.value.status, caught.value.path) == (int(status), path)


@pytest.mark.parametrize("path", READS)
@pytest.mark.parametrize("kind", ["missing_key", "html", "500"])
def test_a_route_that_breaks_is_an_error_and_never_an_empty_answer(
    server: SimulatorServer, client: CursorAdminClient, path: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.cursor_admin.settings.MAX_ATTEMPTS", 2)
    server.faults.append(Fault(path, kind, times=None))
    with pytest.raises(ApiError) as caught:
        READS[path](client)
    assert not isinstance(caught.value, AuthError)


@pytest.mark.parametrize("path", READS)
def test_one_bad_moment_of_a_route_is_forgotten(server: SimulatorServer, client: CursorAdminClient, path: str) -> None:
    expected = READS[path](client).tables
    server.faults += [Fault(path, "reset"), Fault(path, "429", after=1, retry_after="0"), Fault(path, "short_body", 2)]
    assert READS[path](client).tables == expected


def sorted_rows(table: pa.Table) -> list[str]:
    return sorted(map(str, table.to_pylist()))


def test_the_file_and_the_pages_hold_the_same_commits_whatever_the_order_of_columns(
    server: SimulatorServer, client: CursorAdminClient
) -> None:
    as_file, as_pages = (READS[f"/analytics/ai-code/commits{end}"](client).tables["ai_commits"] for end in (".csv", ""))
    assert as_pages.num_rows > 50
    assert sorted_rows(as_file) == sorted_rows(as_pages)
    hashes = Counter(as_pages["commit_hash"].to_pylist())
    assert max(hashes.values()) == 2, "no amended commit"
    assert sum(name is None for name in as_pages["repository_name"].to_pylist()) > 0


def test_tiers_and_spend_arrive_with_what_no_reference_names(
    server: SimulatorServer, client: CursorAdminClient
) -> None:
    rows = READS["/teams/spend"](client).tables["member_spend"].to_pylist()
    assert {row["billing_tier"] for row in rows} == {"standard", "x"}
    for row in rows:
        included = Decimal(str(json.loads(row["extra_json"])["includedSpendCents"]))
        assert row["overall_spend_cents"] - row["spend_cents"] == included


def test_several_pages_of_the_simulator_are_one_list(
    client: CursorAdminClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = {path: READS[path](client).tables for path in ("/teams/spend", "/teams/daily-usage-data")}
    for name in ("spend_page", "daily_usage_page"):
        read = getattr(CursorAdminClient, name)
        monkeypatch.setattr(CursorAdminClient, name, lambda self, *args, read=read: read(self, *args, page_size=7))
    for path, tables in whole.items():
        assert READS[path](client).tables.keys() == tables.keys()
        for name, table in tables.items():
            assert sorted_rows(READS[path](client).tables[name]) == sorted_rows(table)


def test_ids_as_they_were_before_mid_2026_and_shared_pools_are_read() -> None:
    behaviour = Behaviour(numeric_member_ids=True, pool_budget_cents=300, pool_siblings=((41910, 5, None),))
    with serve(hand_made(behaviour)) as server, simulator_client(server) as client:
        spend = READS["/teams/spend"](client)
        pool = read_pooled_usage(client, "org_acme", team="t", api_team_id="41877").tables["pooled_usage"].to_pylist()
    assert all(user_id.isdigit() for user_id in spend.tables["member_spend"]["user_id"].to_pylist())
    assert [(row["api_team_id"], row["is_own_team"], row["budget_limit_cents"]) for row in pool] == [
        ("41877", True, Decimal(300)),
        ("41910", False, None),
    ]


def test_the_key_of_the_team_never_reaches_the_organization_nor_the_other_way_round(server: SimulatorServer) -> None:
    organisation = server.organisation
    with CursorAdminClient(
        api_key=organisation.organization_key,
        organization_api_key=organisation.api_key,
        base_url=server.base_url,
        rate_limit_per_minute=0,
    ) as swapped:
        for path in READS:
            with pytest.raises(AuthError):
                READS[path](swapped)
