"""The clock, the lock, the log and the list of runs."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pendulum
import pytest

from pipelines.errors import FileError, LockedError
from pipelines.paths import data_paths
from pipelines.runs import (
    Clock,
    Progress,
    RunRecord,
    append_run,
    file_error_message,
    prepare_data_folder,
    read_runs,
    run_lock,
)

PROJECT_DIR = Path(__file__).resolve().parents[1]
HOLDER = """
import subprocess, sys
from pipelines.paths import data_paths
from pipelines.runs import run_lock
with run_lock(data_paths(sys.argv[1]), "run") as descriptor:
    child = None
    if sys.argv[2:] == ["with a child"]:
        child = subprocess.Popen(["sleep", "1.5"], pass_fds=(descriptor,), stdout=subprocess.DEVNULL)
    print("held", flush=True)
    sys.stdin.read()
"""


def holder(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder), *arguments],
        cwd=PROJECT_DIR,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def record(run_id: str, **values: object) -> RunRecord:
    moment = "2026-11-16T02:00:00Z"
    return RunRecord(**{"run_id": run_id, "command": "run", "now": moment, "started_at": moment, **values})


def test_a_given_now_stands_still_and_is_utc():
    clock = Clock(pendulum.datetime(2026, 11, 16, 11, tz="Asia/Tokyo"))
    assert clock.now() == clock.now() == pendulum.datetime(2026, 11, 16, 2)
    assert clock.now().timezone_name == "UTC"
    assert (clock.is_fixed, Clock().is_fixed) == (True, False)


def test_a_second_run_is_told_who_holds_the_lock(tmp_path):
    paths = data_paths(tmp_path)
    process = holder(tmp_path)
    with pytest.raises(LockedError) as told, run_lock(paths, "load"):
        pass
    process.communicate("")
    assert str(told.value).startswith(f"`chargeback run` (process {process.pid}, since 20")
    assert str(told.value).endswith(f"holds the lock of {tmp_path}. Wait until it has ended; nothing was changed.")


def test_the_lock_of_a_killed_run_is_free_at_once(tmp_path):
    process = holder(tmp_path)
    process.send_signal(signal.SIGKILL)
    process.wait()
    with run_lock(data_paths(tmp_path), "run"):
        assert json.loads((tmp_path / ".lock").read_text())["pid"] == os.getpid()
    assert (tmp_path / ".lock").read_text() == ""


def test_the_lock_of_a_killed_run_waits_for_what_it_started(tmp_path):
    process = holder(tmp_path, "with a child")
    process.send_signal(signal.SIGKILL)
    process.wait()
    with (tmp_path / ".lock").open() as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the child, which lives on for a moment, holds it
    with run_lock(data_paths(tmp_path), "run"):
        assert json.loads((tmp_path / ".lock").read_text())["pid"] == os.getpid()


def test_runs_are_one_line_each_and_a_torn_line_costs_only_itself(tmp_path):
    paths = data_paths(tmp_path)
    append_run(paths, record("one", result="ok", exit_code=0))
    with paths.runs.open("a") as file:
        file.write('{"run_id": "torn", "comm')
    append_run(paths, record("two", error="Cursor refused the key"))
    assert read_runs(paths) == [
        record("one", result="ok", exit_code=0),
        record("two", error="Cursor refused the key"),
    ]
    assert len(paths.runs.read_text().splitlines()) == 3
    assert stat.S_IMODE(paths.runs.stat().st_mode) == 0o600


def test_a_line_of_a_later_version_is_read_as_far_as_it_is_known(tmp_path):
    paths = data_paths(tmp_path)
    append_run(paths, record("one"))
    paths.runs.write_text(paths.runs.read_text().replace('"run_id"', '"mood": "fine", "run_id"') + "[1, 2]\n")
    assert read_runs(paths) == [record("one")]


def test_progress_without_a_terminal_is_lines_in_the_log(tmp_path, capfd):
    with Progress(tmp_path / "logs" / "run.log") as progress:
        progress.note("acme: 90 days to read")
        progress.days(1, 90, 20, 3)
        progress.days(2, 90, 40, 4)
        progress.days(90, 90, 1800, 95)
        progress.warn("the answer for members shrank")
    lines = [line[20:] for line in (tmp_path / "logs" / "run.log").read_text().splitlines()]
    assert lines == [
        "acme: 90 days to read",
        "1 of 90 days, 20 events, 3 requests",
        "90 of 90 days, 1,800 events, 95 requests",
        "warning: the answer for members shrank",
    ]
    assert progress.warnings == ["the answer for members shrank"]
    assert capfd.readouterr() == ("", "")


def test_progress_on_a_terminal_goes_to_stderr(tmp_path, capfd):
    with Progress(tmp_path / "run.log", is_terminal=True) as progress:
        progress.days(1, 90, 20, 3)
        progress.note("a group called [red]")
    out, err = capfd.readouterr()
    assert out == ""
    assert "a group called [red]" in err


def test_the_data_folder_is_closed_to_others(tmp_path):
    paths = data_paths(tmp_path / "new" / "data")
    prepare_data_folder(paths)
    assert stat.S_IMODE(paths.data_dir.stat().st_mode) == 0o700
    paths.data_dir.chmod(0o755)
    paths.runs.touch()
    prepare_data_folder(paths)
    assert stat.S_IMODE(paths.data_dir.stat().st_mode) == 0o700


def test_a_shared_folder_of_others_is_not_taken_over(tmp_path):
    tmp_path.chmod(0o755)
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(FileError) as told:
        prepare_data_folder(data_paths(tmp_path))
    assert str(told.value) == (
        f"The data folder {tmp_path} is open to other users and holds other things (thesis.txt). "
        "Set CHARGEBACK__DATA_DIR to a folder of its own, or close this one with `chmod 700`."
    )
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


def test_a_file_where_the_data_folder_should_be_is_named(tmp_path):
    (tmp_path / "data").touch()
    with pytest.raises(FileError) as told:
        prepare_data_folder(data_paths(tmp_path / "data"))
    assert str(told.value) == (
        f"{tmp_path / 'data'} is a file where a folder is needed. Move it away, or set CHARGEBACK__DATA_DIR."
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="2026-11: needs /dev/full")
def test_a_full_disk_is_named(tmp_path):
    paths = data_paths(tmp_path)
    paths.runs.symlink_to("/dev/full")
    with pytest.raises(FileError) as told:
        append_run(paths, record("one"))
    assert str(told.value) == (
        f"The disk is full: {paths.runs} could not be written. Free some space and run again; nothing was lost."
    )


def test_a_refused_permission_names_the_file_and_what_to_do():
    assert file_error_message(PermissionError(13, "Permission denied", "/srv/data")) == (
        "No permission to use /srv/data (Permission denied). "
        "Run as the user who owns it, or set CHARGEBACK__DATA_DIR to a folder you can write."
    )
