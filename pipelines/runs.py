"""What every run has: a clock, a lock, a log with progress, and one line in `runs.jsonl`."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import secrets
import stat
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TextIO

import pendulum
from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from pipelines.errors import FileError, LockedError
from pipelines.paths import DataPaths

LOG_LINE_SECONDS = 10.0  # the log says this often how far loading is, and when it is done
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
DYING_HOLDER_SECONDS = 10.0  # a killed run's dbt lives on for a moment and still holds the lock


class Clock:
    """The time of a run: the system's, or the instant given with `--now`, which then stands still."""

    def __init__(self, now: pendulum.DateTime | None = None) -> None:
        self._now = now.in_timezone("UTC") if now is not None else None

    def now(self) -> pendulum.DateTime:
        """An aware UTC time."""
        return self._now if self._now is not None else pendulum.now("UTC")

    @property
    def is_fixed(self) -> bool:
        return self._now is not None


class Progress:
    """Tells a person how far a run is: on stderr when that is a terminal, and always as lines in the run's log.

    Everything may be called from several threads. Text must carry no key and no full e-mail.
    """

    def __init__(self, log_path: Path | None = None, *, is_terminal: bool | None = None) -> None:
        self.warnings: list[str] = []
        self.log_path = log_path
        self._lock = threading.Lock()
        self._log: TextIO | None = None
        self._said_at = 0.0
        self._task: TaskID | None = None
        self._rich: RichProgress | None = None
        if sys.stderr.isatty() if is_terminal is None else is_terminal:
            self._rich = RichProgress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                TextColumn("{task.fields[text]}"),
                TimeRemainingColumn(compact=True),
                console=Console(stderr=True),
                transient=True,
            )

    def __enter__(self) -> Progress:
        if self._rich is not None:
            self._rich.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._rich is not None:
            self._rich.stop()
        with self._lock:
            if self._log is not None:
                self._log.close()
                self._log = None

    def note(self, text: str) -> None:
        """One line about what happens now."""
        self._write_log(text)
        if self._rich is not None:
            self._rich.console.print(text, highlight=False, markup=False)

    def warn(self, text: str) -> None:
        """Something a person should know although the run goes on; also kept for the run's record."""
        with self._lock:
            self.warnings.append(text)
        self._write_log(f"warning: {text}")
        if self._rich is not None:
            self._rich.console.print(f"warning: {text}", style="yellow", highlight=False, markup=False)

    def days(self, done: int, total: int, events: int, requests: int) -> None:
        """How far loading is; cheap enough to call for every day. The time left is worked out from the days."""
        text = f"{done:,} of {total:,} days, {events:,} events, {requests:,} requests"
        if self._rich is not None:
            with self._lock:
                if self._task is None:
                    self._task = self._rich.add_task("loading", text=text)
            self._rich.update(self._task, completed=done, total=total, text=text)
        now = time.monotonic()
        with self._lock:
            is_due = done == total or now - self._said_at >= LOG_LINE_SECONDS
            self._said_at = now if is_due else self._said_at
        if is_due:
            self._write_log(text)

    def _write_log(self, text: str) -> None:
        if self.log_path is None:
            return
        with self._lock, usable(self.log_path):
            if self._log is None:
                make_private_folder(self.log_path.parent)
                descriptor = os.open(self.log_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
                self._log = os.fdopen(descriptor, "a", encoding="utf-8")
            self._log.write(f"{pendulum.now('UTC').format('YYYY-MM-DD HH:mm:ss')} {text}\n")
            self._log.flush()


@dataclass
class RunRecord:
    """One line of `runs.jsonl`. Times are ISO strings in UTC; `now` is the run's clock, the others the system's."""

    run_id: str
    command: str
    now: str
    started_at: str
    ended_at: str = ""
    result: str = "failed"  # ok | failed | interrupted
    exit_code: int = 1
    error: str | None = None
    published: bool = False
    load: dict[str, Any] | None = None
    build: dict[str, Any] | None = None
    failing: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    refused_snapshots: list[str] = field(default_factory=list)
    suspect_days: list[str] = field(default_factory=list)
    failed_teams: list[str] = field(default_factory=list)


def new_run_id(now: pendulum.DateTime) -> str:
    """Sorts by the run's clock; the ending keeps two runs at one instant apart."""
    return f"{now.in_timezone('UTC').format('YYYYMMDD[T]HHmmss')}-{secrets.token_hex(3)}"


def append_run(paths: DataPaths, record: RunRecord) -> None:
    """Adds one line in one write, so that two lines never mix; a torn last line of a full disk is closed first."""
    line = json.dumps(asdict(record), ensure_ascii=False, default=str).encode() + b"\n"
    with usable(paths.runs):
        descriptor = os.open(paths.runs, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            size = os.fstat(descriptor).st_size
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                line = b"\n" + line
            written = os.write(descriptor, line)
            if written != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def read_runs(paths: DataPaths) -> list[RunRecord]:
    """All runs, oldest first. Lines that are torn or not ours are passed over."""
    if not paths.runs.exists():
        return []
    known = RunRecord.__dataclass_fields__.keys()
    records = []
    with usable(paths.runs):
        lines = paths.runs.read_bytes().splitlines()
    for line in lines:
        with contextlib.suppress(ValueError, TypeError, AttributeError):
            values = json.loads(line)
            records.append(RunRecord(**{key: value for key, value in values.items() if key in known}))
    return records


@contextlib.contextmanager
def run_lock(paths: DataPaths, command: str) -> Iterator[int]:
    """Holds the one lock of a data folder; yields its descriptor, which a child process must inherit.

    The lock belongs to the open file, so that the dbt of a killed run keeps it until it has gone as well.

    Raises:
        LockedError: another run holds it; the message names it.
    """
    with usable(paths.lock):
        descriptor = os.open(paths.lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _take(descriptor, paths)
        holder = {"pid": os.getpid(), "command": command, "since": pendulum.now("UTC").to_iso8601_string()}
        with usable(paths.lock):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(holder).encode(), 0)
        yield descriptor
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def _take(descriptor: int, paths: DataPaths) -> None:
    deadline = time.monotonic() + DYING_HOLDER_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            holder = _holder(descriptor)
            # A holder that no longer lives was killed: only its dbt is left, which ends by itself within a moment.
            if not holder or _is_alive(holder["pid"]) or time.monotonic() > deadline:
                raise LockedError(_locked_message(holder, paths)) from None
            time.sleep(0.05)


def _holder(descriptor: int) -> dict[str, Any] | None:
    try:
        holder = json.loads(os.pread(descriptor, 4096, 0))
        return {"pid": int(holder["pid"]), "command": str(holder["command"]), "since": str(holder["since"])}
    except (ValueError, KeyError, TypeError):
        return None  # taken a moment ago and not yet written


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _locked_message(holder: dict[str, Any] | None, paths: DataPaths) -> str:
    if holder is None:
        who = "Another run"
    else:
        who = f"`chargeback {holder['command']}` (process {holder['pid']}, since {holder['since']})"
    return f"{who} holds the lock of {paths.data_dir}. Wait until it has ended; nothing was changed."


def prepare_data_folder(paths: DataPaths) -> None:
    """The data folder exists and is open to its owner alone (0700).

    Raises:
        FileError: it cannot be made or written, or it is a folder of somebody else's that we must not close.
    """
    with usable(paths.data_dir):
        paths.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        if stat.S_IMODE(paths.data_dir.stat().st_mode) & 0o077:
            ours = {path.name for path in _known_paths(paths)}
            others = sorted(
                entry.name for entry in paths.data_dir.iterdir() if entry.name not in ours and entry.name[0] != "."
            )
            if others:
                raise FileError(
                    f"The data folder {paths.data_dir} is open to other users and holds other things ({others[0]}). "
                    "Set CHARGEBACK__DATA_DIR to a folder of its own, or close this one with `chmod 700`."
                )
            paths.data_dir.chmod(0o700)
        if not os.access(paths.data_dir, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(paths.data_dir))


def _known_paths(paths: DataPaths) -> list[Path]:
    named = [paths.warehouse, paths.published, paths.previous.parent, paths.runs, paths.logs_dir, paths.seeds_dir]
    return [*named, *(path.with_name(f"{path.name}.wal") for path in named[:2]), paths.data_dir / "demo"]


def make_private_folder(folder: Path) -> None:
    """A folder only its owner can enter."""
    with usable(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)


@contextlib.contextmanager
def usable(path: Path) -> Iterator[None]:
    """Turns the operating system's refusals into a FileError that names the path and the next step."""
    try:
        yield
    except OSError as error:
        raise FileError(file_error_message(error, path)) from error


def file_error_message(error: OSError, path: Path | None = None) -> str:
    """What the operating system refused, for a person."""
    where = path or error.filename or "a file"
    if error.errno in DISK_FULL:
        return f"The disk is full: {where} could not be written. Free some space and run again; nothing was lost."
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return (
            f"No permission to use {where} ({os.strerror(error.errno)}). "
            "Run as the user who owns it, or set CHARGEBACK__DATA_DIR to a folder you can write."
        )
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        where = next((above for above in reversed(Path(where).parents) if above.is_file()), where)
        return f"{where} is a file where a folder is needed. Move it away, or set CHARGEBACK__DATA_DIR."
    if error.errno == errno.EISDIR:
        return f"{where} is a folder where a file is needed. Move it away."
    return f"{where} could not be used: {error.strerror or error}."
