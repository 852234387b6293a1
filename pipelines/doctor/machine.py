"""The machine: versions, file permissions, disk space. Asks nobody."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import stat
import tomllib
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from pipelines.doctor.findings import FAILING, OK, WARNING, Finding
from pipelines.paths import PROJECT_DIR, DataPaths

PACKAGE = "cursor-chargeback"
SHOWN = ("dlt", "duckdb", "dbt-core", "dbt-duckdb", "pyarrow")
INSTALL = "Install what is pinned: `.venv/bin/python -m pip install --require-hashes -r requirements.lock`."
MEGABYTE = 1_000_000


def check_versions(project: Path = PROJECT_DIR) -> Iterator[Finding]:
    """Python and the packages against what pyproject.toml wants and requirements.lock names; the package itself."""
    declared = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    python = platform.python_version()
    wrong = []
    if not SpecifierSet(declared["requires-python"]).contains(python, prereleases=True):
        wrong.append(f"Python {python}, where {declared['requires-python']} is wanted")
    for line in declared["dependencies"]:
        wanted = Requirement(line)
        installed = _installed(wanted.name)
        if installed is None:
            wrong.append(f"{wanted.name} is not installed")
        elif not wanted.specifier.contains(installed, prereleases=True):
            wrong.append(f"{wanted.name} {installed}, where {wanted.specifier} is wanted")
    if wrong:
        yield Finding(FAILING, "versions", "; ".join(wrong), INSTALL)
    else:
        names = ", ".join(f"{name} {_installed(name)}" for name in SHOWN)
        yield Finding(OK, "versions", f"Python {python}, {names}: as pyproject.toml wants")
    others = [
        f"{one.name} {_installed(one.name)} (locked: {one.specifier})"
        for one in _locked(project / "requirements.lock")
        if _differs(one)
    ]
    if others:
        yield Finding(WARNING, "versions", f"not as in requirements.lock: {', '.join(others)}", INSTALL)
    own = _installed(PACKAGE)
    if own != declared["version"]:
        yield Finding(
            WARNING, "versions", f"{PACKAGE} is installed as {own}, the code is {declared['version']}", INSTALL
        )


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _locked(lock: Path) -> list[Requirement]:
    """What the lock file names for this Python and platform."""
    lines = re.findall(r"^[a-z0-9._-]+==[^\\\n]+", lock.read_text(encoding="utf-8"), flags=re.M)
    found = [Requirement(line.strip()) for line in lines]
    return [one for one in found if one.marker is None or one.marker.evaluate()]


def _differs(wanted: Requirement) -> bool:
    """What only the tests need does not have to be there."""
    installed = _installed(wanted.name)
    return installed is not None and not wanted.specifier.contains(installed, prereleases=True)


def check_permissions(paths: DataPaths, secrets: Path) -> Iterator[Finding]:
    """Who may read what: the folder and its private files their owner, the published files everybody and no writer."""
    if os.name != "posix":
        yield Finding(OK, "permissions", "not looked at: this platform has other ones")
        return
    if _is_open(secrets):
        advice = f"`chmod 600 {secrets}`, and make a new key in Cursor's dashboard if others use this machine."
        yield Finding(FAILING, "permissions", f"{secrets} holds the key, and other users can read it", advice)
    if not paths.data_dir.exists():
        yield Finding(OK, "permissions", f"{paths.data_dir} does not exist yet: the first run makes it for you alone")
        return
    if _is_open(paths.data_dir):
        advice = f"`chmod 700 {paths.data_dir}`"
        yield Finding(FAILING, "permissions", f"the data folder {paths.data_dir} is open to other users", advice)
    private = [paths.warehouse, paths.runs, paths.lock, paths.build_dir, paths.logs_dir, *_files_in(paths.logs_dir)]
    if opened := [path for path in private if _is_open(path)]:
        names = ", ".join(str(path.relative_to(paths.data_dir)) for path in opened)
        advice = f"`chmod go-rwx` them in {paths.data_dir}."
        yield Finding(WARNING, "permissions", f"private files that others could read: {names}", advice)
    for path in (paths.published, paths.previous):
        if path.exists() and (mode := stat.S_IMODE(path.stat().st_mode)) != 0o444:
            text = f"{path} has mode {mode:04o}: whoever opens it for writing spoils it"
            yield Finding(WARNING, "permissions", text, f"`chmod 444 {path}`")
    if not os.access(paths.data_dir, os.W_OK | os.X_OK):
        advice = "Run as the user who owns it, or set CHARGEBACK__DATA_DIR."
        yield Finding(FAILING, "permissions", f"the data folder {paths.data_dir} cannot be written", advice)
    elif not (_is_open(secrets) or _is_open(paths.data_dir) or opened):
        yield Finding(OK, "permissions", f"{paths.data_dir} and what is private in it are yours alone")


def _is_open(path: Path) -> bool:
    return path.exists() and bool(stat.S_IMODE(path.stat().st_mode) & 0o077)


def _files_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []


def check_disk(paths: DataPaths) -> Iterator[Finding]:
    """Free space against what a night needs: the copy it builds in, its spill, and a warehouse written once more."""
    folder = next(one for one in (paths.data_dir, *paths.data_dir.parents) if one.exists())
    free = shutil.disk_usage(folder).free
    published, warehouse = (path.stat().st_size if path.exists() else 0 for path in (paths.published, paths.warehouse))
    needed = 2 * published + warehouse
    text = f"{free / MEGABYTE:,.0f} MB free at {folder}; a night may need {needed / MEGABYTE:,.0f} MB"
    if free < published:
        advice = "Free some space: the next build cannot even copy the published file."
        yield Finding(FAILING, "disk", text, advice)
    elif free < needed:
        yield Finding(WARNING, "disk", text, "Free some space, or set CHARGEBACK__DATA_DIR to a larger disk.")
    else:
        yield Finding(OK, "disk", text)
