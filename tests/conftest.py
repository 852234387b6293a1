"""What several files of tests share: one small company whose first night is loaded, built and published once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from nights import Installation, Outcome, instant

from pipelines.simulator import Organisation, SimulatorServer

FIRST_NIGHT = datetime(2026, 11, 16, 2, tzinfo=UTC)
SECOND_NIGHT = datetime(2026, 11, 17, 2, tzinfo=UTC)
LOOPBACK = "127.0.0.1,localhost"


@dataclass
class Company:
    """An organisation on its server, and the data folder after its first night; tests work on copies of it."""

    organisation: Organisation
    server: SimulatorServer
    first_night: Installation

    def copy(self, folder: Path) -> Installation:
        return self.first_night.copy_to(folder)


@pytest.fixture(scope="session")
def company(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    organisation = Organisation.invent(
        seed=11, people=9, start=date(2026, 10, 20), end=date(2026, 11, 20), events_per_person_day=4.0, groups=4
    )
    with SimulatorServer(organisation, now=FIRST_NIGHT, rate_limited=False) as server:
        home = tmp_path_factory.mktemp("company")
        place = Installation(home / "data", server.base_url, server.api_key, date(2026, 10, 20))
        organisation.write_seeds(place.paths.seeds_dir)
        (home / "home").mkdir()
        done = place.finish("run", "--now", instant(FIRST_NIGHT), HOME=str(home / "home"), NO_PROXY=LOOPBACK)
        assert done == Outcome(0, "", ""), done
        yield Company(organisation, server, place)


@pytest.fixture
def tonight(company: Company, tmp_path: Path) -> Iterator[Installation]:
    """A copy of the first night's data folder, with the server at the second night."""
    company.server.set_now(SECOND_NIGHT)
    company.server.faults.clear()
    yield company.copy(tmp_path / "data")
    company.server.faults.clear()
    assert not {name for name in os.environ if name.startswith("SOURCES__")}, "a test left settings behind"
