"""Stands in for dbt's `adapter` while sqlfluff renders templates: a dispatched macro becomes a call of its own name."""

from __future__ import annotations

from collections.abc import Callable


def dispatch(name: str, package: str) -> Callable[..., str]:  # noqa: ARG001
    return lambda *arguments: f"{name}({', '.join(map(str, arguments))})"
