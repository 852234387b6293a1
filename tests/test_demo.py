"""Which nights the demo lives through; what they build is shown, and tested, by the README."""

from __future__ import annotations

import pytest

from pipelines import demo
from pipelines.paths import data_paths
from pipelines.runs import RunRecord, append_run


@pytest.fixture
def paths(tmp_path):
    return data_paths(tmp_path / "demo")


@pytest.fixture
def nights(monkeypatch):
    lived: list[str] = []
    monkeypatch.setattr(demo, "run", lambda *arguments: lived.append(arguments[-1].now().to_iso8601_string()))
    return lived


def test_a_new_demo_is_set_up_ninety_days_ago_and_then_lives_two_nights(paths, nights):
    assert demo.run_demo(paths) == demo.DEMO_NOW
    assert nights == ["2026-08-18T02:00:00Z", "2026-11-15T02:00:00Z", "2026-11-16T02:00:00Z"]


@pytest.mark.parametrize(
    ("last", "expected"),
    [("2026-11-16T02:00:00Z", "2026-11-16T02:00:00Z"), ("2026-11-22T05:45:16.620032Z", "2026-11-22T05:45:16.620032Z")],
)
def test_a_demo_that_is_there_goes_on_at_its_last_clock(paths, nights, last, expected):
    paths.data_dir.mkdir()
    append_run(paths, RunRecord("one", "close", now=last, started_at=last, result="ok", exit_code=0))
    refused = "2026-12-01T00:00:00Z"
    append_run(paths, RunRecord("two", "run", now=refused, started_at=refused, exit_code=2))
    demo.run_demo(paths)
    assert nights == [expected]
