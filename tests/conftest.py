"""What several files of tests share: one small company whose first night is loaded, built and published once."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from nights import Installation, Outcome, instant

from pipelines.demo import run_demo
from pipelines.paths import DataPaths, data_paths
from pipelines.simulator import Organisation, SimulatorServer

FIRST_NIGHT = datetime(2026, 11, 16, 2, tzinfo=UTC)
SECOND_NIGHT = datetime(2026, 11, 17, 2, tzinfo=UTC)
LOOPBACK = "127.0.0.1,localhost"


# Files that take minutes go first, so that no process is left with one of them at the end.
LONG_FILES = (
    "test_random_nights.py",
    "test_models_core.py",
    "test_close.py",
    "test_backup.py",
    "test_build_publish.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LONG_FILES.index(item.path.name) if item.path.name in LONG_FILES else len(LONG_FILES))


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder that is made by one of the processes that test, and read by all of them."""
    root = factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root
    folder = root / name
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (root / f"{name}.made").exists():
            folder.mkdir()
            make(folder)
            (root / f"{name}.made").touch()
    return folder


@pytest.fixture(scope="session")
def demo_data(tmp_path_factory: pytest.TempPathFactory) -> DataPaths:
    """The demo's data folder; nobody writes to it."""

    def live_it(folder: Path) -> None:
        run_demo(data_paths(folder / "data" / "demo"))

    return data_paths(made_once(tmp_path_factory, "demo", live_it).resolve() / "data" / "demo")


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

        def live_the_first_night(folder: Path) -> None:
            place = Installation(folder / "data", server.base_url, server.api_key, date(2026, 10, 20))
            organisation.write_seeds(place.paths.seeds_dir)
            (folder / "home").mkdir()
            done = place.finish("run", "--now", instant(FIRST_NIGHT), HOME=str(folder / "home"), NO_PROXY=LOOPBACK)
            assert done == Outcome(0, "", ""), done

        folder = made_once(tmp_path_factory, "company", live_the_first_night)
        place = Installation(folder / "data", server.base_url, server.api_key, date(2026, 10, 20))
        yield Company(organisation, server, place)


@pytest.fixture
def tonight(company: Company, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A copy of the first night's data folder, with the server at the second night.

    It is the same place for every test, where dbt finds the project that it parsed in the test before.
    """
    company.server.set_now(SECOND_NIGHT)
    company.server.faults.clear()
    folder = tmp_path_factory.getbasetemp() / "tonight"
    kept = folder.with_name("partial_parse.msgpack")
    shutil.rmtree(folder, ignore_errors=True)
    place = company.copy(folder / "data")
    parsed = place.paths.build_dir / "target" / kept.name
    if kept.exists():
        shutil.copyfile(kept, parsed)
    yield place
    if parsed.exists():
        shutil.copyfile(parsed, kept)
    company.server.faults.clear()
    assert not {name for name in os.environ if name.startswith("SOURCES__")}, "a test left settings behind"
