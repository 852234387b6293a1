"""Plain HTTP to a simulator, and small organisations to ask."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import requests

from pipelines.simulator import Behaviour, Organisation, SimulatorServer
from pipelines.simulator.instants import to_ms
from pipelines.simulator.people import Account, Group, Person, Roster, ServiceAccount, Stint

NOW = datetime(2026, 11, 16, 2, tzinfo=UTC)
DAY = date(2026, 11, 10)
DAY_MS = 86_400_000
EVENTS = "/teams/filtered-usage-events"


class Client:
    """Plain HTTP with the key; numbers with a fraction are read as Decimal."""

    def __init__(self, server: SimulatorServer, key: str | None = None) -> None:
        self.server = server
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.auth = (key or server.api_key, "")

    def get(self, path: str, headers: dict[str, str] | None = None, **query: Any) -> requests.Response:
        return self.session.get(self.server.base_url + path, params=query, headers=headers, timeout=10)

    def post(self, path: str, **body: Any) -> requests.Response:
        return self.session.post(self.server.base_url + path, json=body, timeout=10)

    def ok(self, response: requests.Response) -> Any:
        assert response.status_code == 200, response.text
        return json.loads(response.content, parse_float=Decimal)

    def page(self, first_ms: int, last_ms: int, page: int = 1, size: int = 1000, **filters: Any) -> Any:
        body = {"startDate": first_ms, "endDate": last_ms, "page": page, "pageSize": size, **filters}
        return self.ok(self.post(EVENTS, **body))

    def day(self, day: date) -> list[dict[str, Any]]:
        start, rows, page = to_ms(day), [], 1
        while True:
            answer = self.page(start, start + DAY_MS - 1, page)
            rows += answer["usageEvents"]
            if not answer["pagination"]["hasNextPage"]:
                assert len(rows) == answer["totalUsageEventsCount"]
                return rows
            page += 1

    def groups(self, **query: str) -> Any:
        return self.ok(self.get("/teams/groups", **query))


def serve(organisation: Organisation, now: datetime = NOW, *, rate_limited: bool = False) -> SimulatorServer:
    return SimulatorServer(organisation, now=now, rate_limited=rate_limited)


def small(behaviour: Behaviour | None = None, **arguments: Any) -> Organisation:
    arguments = {"seed": 3, "people": 12, "start": date(2026, 11, 1), "end": date(2026, 11, 30), **arguments}
    return Organisation.invent(behaviour=behaviour, **arguments)


def cents(events: list[dict[str, Any]]) -> Decimal:
    return sum((Decimal(event.get("chargedCents") or 0) for event in events), Decimal(0))


def at(text: str) -> int:
    return to_ms(datetime.fromisoformat(text).replace(tzinfo=UTC))


def account(name: str, joined: str, removed: str | None = None, number: int = 1) -> Account:
    joined_ms = at(joined)
    gone = None if removed is None else at(removed)
    return Account(
        f"user_{name}{number}",
        ord(name[0]) * 10 + number,
        name.title(),
        f"{name}@example.com",
        joined_ms,
        gone,
        ((joined_ms, "member"),),
    )


def hand_made(behaviour: Behaviour | None = None) -> Organisation:
    """Anna moves from A to B, Ben leaves A and rejoins, C is deleted with Cleo in it, Dora is removed and re-invited;
    Emil never had a group. B is renamed on the way."""
    accounts = {
        "anna": (account("anna", "2026-03-01"),),
        "ben": (account("ben", "2026-03-01"),),
        "cleo": (account("cleo", "2026-03-01"),),
        "dora": (account("dora", "2026-03-01", "2026-10-25T12:00"), account("dora", "2026-11-09T09:00", number=2)),
        "emil": (account("emil", "2026-03-01"),),
    }
    persons = tuple(
        Person(index, name.title(), f"{name}@example.com", 1.0, 8, ("acme/ledger",), owned)
        for index, (name, owned) in enumerate(accounts.items())
    )
    groups = (
        Group("group_a", ((at("2026-01-05"), "Alpha"),), None, at("2026-01-05"), None),
        Group(
            "group_b",
            ((at("2026-01-05"), "Beta"), (at("2026-11-01"), "Beta Labs")),
            "dir_b",
            at("2026-01-05"),
            None,
        ),
        Group("group_c", ((at("2026-01-05"), "Gamma"),), None, at("2026-01-05"), at("2026-11-10T15:00")),
    )
    stints = (
        Stint("group_a", "user_anna1", at("2026-03-02"), at("2026-11-12T10:22:31")),
        Stint("group_b", "user_anna1", at("2026-11-12T10:22:31"), None),
        Stint("group_a", "user_ben1", at("2026-03-02"), at("2026-10-20")),
        Stint("group_a", "user_ben1", at("2026-11-08T09:00"), None),
        Stint("group_c", "user_cleo1", at("2026-06-01"), at("2026-11-10T15:00")),
        Stint("group_a", "user_dora1", at("2026-03-02"), at("2026-10-25T12:00")),
        Stint("group_a", "user_dora2", at("2026-11-09T09:00"), None),
    )
    robot = ServiceAccount(
        "sa_bot", "bot", None, "anna@example.com", "tests", at("2026-01-05"), None, 5, ((date(2026, 11, 3), "group_b"),)
    )
    start, end = date(2026, 10, 1), date(2026, 11, 30)
    roster = Roster(persons, groups, stints, (robot,))
    return Organisation(roster, behaviour or Behaviour.plain(), seed=2, start=start, end=end, events_per_person_day=12)
