"""What the simulator can be told of the routes that chargeback can do without."""

from __future__ import annotations

import csv
from datetime import UTC, datetime

from simulator_client import Client, hand_made, serve

from pipelines.simulator import Behaviour, Fault


def test_single_routes_can_be_closed_while_all_others_answer() -> None:
    closed = frozenset({"/teams/spend", "/analytics/*"})
    with serve(hand_made(Behaviour(unavailable_routes=closed))) as server:
        client = Client(server)
        assert client.post("/teams/spend").status_code == 403
        assert client.get("/analytics/ai-code/commits").json() == {
            "error": "Forbidden",
            "message": "Enterprise access required",
        }
        assert client.get("/teams/members").status_code == 200


def test_spend_rows_carry_tiers_in_turn_and_ids_as_they_once_were() -> None:
    tiers = ("standard", "premium", "galactic")
    behaviour = Behaviour(undocumented_spend_fields=True, billing_tiers=tiers, numeric_member_ids=True)
    with serve(hand_made(behaviour)) as server:
        client = Client(server)
        answer = client.ok(client.post("/teams/spend", sortBy="user", sortDirection="asc"))
    assert [(row["name"], row["billingTier"], type(row["userId"])) for row in answer["teamMemberSpend"]] == [
        ("Anna", "standard", int),
        ("Ben", "premium", int),
        ("Cleo", "galactic", int),
        ("Dora", "premium", int),
        ("Emil", "galactic", int),
    ]
    assert answer["limitedUsersCount"] == 0


def test_a_pool_can_be_shared_with_other_teams() -> None:
    behaviour = Behaviour(pool_budget_cents=3_000_000, pool_siblings=((41910, 410_000, None), (41911, 1, 500)))
    with serve(hand_made(behaviour)) as server:
        pool = Client(server, server.organisation.organization_key)
        answer = pool.ok(pool.post("/organizations/pooled-usage", organizationId="org_acme"))
    own, *others = answer["teams"]
    assert own == {"teamId": 41877, "usedCents": own["usedCents"], "budgetLimitCents": 3_000_000}
    assert others == [
        {"teamId": 41910, "usedCents": 410_000},
        {"teamId": 41911, "usedCents": 1, "budgetLimitCents": 500},
    ]
    assert answer["pool"]["usedCents"] == sum(team["usedCents"] for team in answer["teams"])
    assert answer["pool"]["remainingCents"] == 6_000_000 - answer["pool"]["usedCents"]


def test_a_file_of_commits_can_lack_a_column() -> None:
    with serve(hand_made(), datetime(2026, 11, 16, 2, tzinfo=UTC)) as server:
        server.faults.append(Fault("/analytics/ai-code/commits.csv", "missing_key", key="repo_name"))
        client = Client(server)
        spoiled, whole = (client.get("/analytics/ai-code/commits.csv").text.splitlines() for _ in range(2))
    assert next(csv.reader(spoiled)) == next(csv.reader([whole[0].replace("repo_name", "unheard_of")]))
    assert spoiled[1:] == whole[1:]
