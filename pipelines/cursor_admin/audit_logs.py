"""Reading one window of the audit log: whole or not at all. Knows no destination."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from .client import CursorAdminClient
from .errors import IncompleteWindowError
from .rows import audit_event_table
from .tables import AUDIT_LOGS_PATH
from .windows import ATTEMPTS


@dataclass(frozen=True)
class AuditWindow:
    """From `start_at` to before `end_at`, UTC without zone. `is_open`: it ends now, and more may be written to it."""

    start_at: datetime
    end_at: datetime
    is_open: bool = False


@dataclass(frozen=True)
class AuditWindowRead:
    """A window that was read completely. `answered_at` is the server's clock (UTC) when it was asked first."""

    window: AuditWindow
    batch_id: str
    rows: pa.Table
    answered_at: datetime | None


def read_audit_window(client: CursorAdminClient, window: AuditWindow, *, team: str, batch_id: str) -> AuditWindowRead:
    """One window, complete: the count of the first page is that of the last one, of the rows, and of their ids.

    Events of the instant at which the window ends may be among them: asked for in any case, as the API does not say
    whether the end belongs to a window, and the next window brings them again.

    Raises:
        IncompleteWindowError: the pages moved while they were read, three times in a row.
        ApiError: see `CursorAdminClient`.
    """
    start_at, end_at = window.start_at, window.end_at
    for _ in range(ATTEMPTS):
        first = last = client.audit_log_page(start_at.replace(tzinfo=UTC), end_at.replace(tzinfo=UTC), 1)
        rows: list[dict[str, Any]] = [*first.rows]
        number, is_in_order = 1, first.page == 1
        while is_in_order and last.has_next_page and last.rows and len(rows) < first.total_count:
            number += 1
            last = client.audit_log_page(start_at.replace(tzinfo=UTC), end_at.replace(tzinfo=UTC), number)
            is_in_order = last.page == number  # a page sent twice is not two pages
            rows += last.rows
        table = audit_event_table(rows, team=team, batch_id=batch_id, start_at=start_at, end_at=end_at)
        # The order of pages is not documented: where it changes between two requests, an event comes twice, one never.
        id_count = pc.count_distinct(table["event_id"]).as_py()
        is_whole = first.total_count == last.total_count == len(rows) == id_count
        if is_whole and is_in_order and not last.has_next_page:
            return AuditWindowRead(window, batch_id, table, first.date)
    raise IncompleteWindowError(
        f"The audit log from {start_at} to {end_at} changed while it was read, {ATTEMPTS} times in a row ("
        f"{AUDIT_LOGS_PATH}): announced {first.total_count}, then {last.total_count}, read {len(rows)} with {id_count} "
        "ids. Nothing of that window was stored; the next run reads it again."
    )
