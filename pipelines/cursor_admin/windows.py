"""Reading one UTC day of usage events: whole or not at all, spooled to Parquet, with a digest. Knows no destination."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from types import TracebackType

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from .answers import EventPage
from .client import CursorAdminClient
from .errors import IncompleteWindowError
from .rows import usage_event_batch
from .tables import SCHEMAS, USAGE_EVENTS_PATH

ATTEMPTS = 3
PAGES_AHEAD = 3
ROWS_PER_GROUP = 16_384


@dataclass(frozen=True)
class DayWindow:
    """One UTC day to read. `until` is None for a closed day, else the instant up to which the open day is read."""

    day: date
    until: datetime | None = None

    @property
    def start_ms(self) -> int:
        return int(datetime.combine(self.day, time.min, UTC).timestamp() * 1000)

    @property
    def end_ms(self) -> int:
        """Inclusive, as both bounds of the API are: the last millisecond of the day, or `until`."""
        last = self.start_ms + 86_400_000 - 1
        return last if self.until is None else min(last, int(self.until.timestamp() * 1000))


@dataclass(frozen=True)
class WindowRead:
    """A day that was read completely. `path` holds the rows as Parquet under `batch_id`; cents are US cents."""

    window: DayWindow
    batch_id: str
    path: Path
    announced_count: int
    row_count: int
    charged_cents: Decimal
    digest: str
    answered_at: datetime | None


class RowDigest:
    """A digest of a set of rows that does not depend on their order: the sum modulo 2^128 of the MD5 of each row.

    With the row count beside it, identical rows do not cancel. `skip` names columns that say where a row is stored
    and not what it says. The text that is hashed uses no engine default, so the digest outlives engine versions.
    """

    def __init__(
        self, schema: pa.Schema, skip: frozenset[str] = frozenset({"team", "batch_id", "snapshot_id"})
    ) -> None:
        def as_text(field: pa.Field) -> str:
            if pa.types.is_timestamp(field.type):
                return f"cast(epoch_us({field.name}) as varchar)"
            return f"cast({field.name} as varchar)"

        columns = [f"coalesce({as_text(field)}, chr(30))" for field in schema if field.name not in skip]
        # Two halves, as a sum of 128-bit numbers would overflow; they are put together below.
        self._sql = (
            "select coalesce(sum(cast(md5_number_upper(line) as hugeint)), 0), "
            "coalesce(sum(cast(md5_number_lower(line) as hugeint)), 0) "
            f"from (select concat_ws(chr(31), {', '.join(columns)}) as line from rows_to_digest)"
        )
        self._connection = duckdb.connect(config={"threads": 1})
        self._sum = 0

    def add(self, rows: pa.Table) -> None:
        self._connection.register("rows_to_digest", rows)
        upper, lower = self._connection.execute(self._sql).fetchall()[0]
        self._connection.unregister("rows_to_digest")
        self._sum = (self._sum + (int(upper) << 64) + int(lower)) % (1 << 128)

    def hex(self) -> str:
        return f"{self._sum:032x}"

    def close(self) -> None:
        self._connection.close()


def table_digest(*tables: pa.Table) -> str:
    """Digest of whole answers that fit in memory; several tables count as one content."""
    whole = hashlib.md5(usedforsecurity=False)
    for table in tables:
        digest = RowDigest(table.schema)
        digest.add(table)
        whole.update(f"{table.num_rows}:{digest.hex()};".encode())
        digest.close()
    return whole.hexdigest()


class _Spool:
    """Rows on their way to one Parquet file; memory holds one row group, whatever the day's size."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.row_count = 0
        self.charged_cents = Decimal(0)
        self._schema = SCHEMAS["usage_events"]
        self._digest = RowDigest(self._schema)
        self._writer = pq.ParquetWriter(path, self._schema, compression="lz4")
        self._batches: list[pa.RecordBatch] = []
        self._buffered = 0

    def add(self, batch: pa.RecordBatch) -> None:
        self._batches.append(batch)
        self._buffered += batch.num_rows
        if self._buffered >= ROWS_PER_GROUP:
            self._flush()

    def _flush(self) -> None:
        rows = pa.Table.from_batches(self._batches, self._schema)
        self._digest.add(rows)
        self.charged_cents += pc.sum(rows["charged_cents"]).as_py() or Decimal(0)
        self.row_count += rows.num_rows
        self._writer.write_table(rows)
        self._batches, self._buffered = [], 0

    def finish(self) -> str:
        """Write what is left and return the digest."""
        self._flush()
        return self._digest.hex()

    def __enter__(self) -> _Spool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()
        self._digest.close()


class WindowReader:
    """Reads days into a spool folder, with pages of one day prefetched on `pool`."""

    def __init__(self, client: CursorAdminClient, *, team: str, spool_dir: Path, pool: ThreadPoolExecutor) -> None:
        self._client = client
        self._team = team
        self._spool_dir = spool_dir
        self._pool = pool

    def read(self, window: DayWindow, batch_id: str) -> WindowRead:
        """One day, complete: the count of the first page is the count of the last page and the number of rows.

        Raises:
            IncompleteWindowError: the pages moved while they were read, three times in a row.
            ApiError: see `CursorAdminClient`.
        """
        path = self._spool_dir / f"{batch_id}.parquet"
        for _ in range(ATTEMPTS):
            is_in_order = True
            with _Spool(path) as spool:
                first, rows = self._page(window, 1, batch_id)
                spool.add(rows)
                last = first
                for number, (last, rows) in enumerate(self._further_pages(window, first.page_count, batch_id), start=2):
                    is_in_order = is_in_order and last.page == number  # a page sent twice is not two pages
                    spool.add(rows)
                digest = spool.finish()
            is_whole = first.total_count == last.total_count == spool.row_count
            if is_whole and is_in_order and not last.has_next_page:
                return WindowRead(
                    window=window,
                    batch_id=batch_id,
                    path=path,
                    announced_count=first.total_count,
                    row_count=spool.row_count,
                    charged_cents=spool.charged_cents,
                    digest=digest,
                    answered_at=first.date,
                )
        path.unlink(missing_ok=True)
        raise IncompleteWindowError(
            f"The usage events of {window.day} changed while they were read, {ATTEMPTS} times in a row "
            f"({USAGE_EVENTS_PATH}): announced {first.total_count}, then {last.total_count}, read {spool.row_count}. "
            "Nothing of that day was stored; the next run reads it again."
        )

    def _page(self, window: DayWindow, page: int, batch_id: str) -> tuple[EventPage, pa.RecordBatch]:
        """A page and its rows as Arrow, which take a tenth of the memory: those of the page are let go."""
        answer = self._client.usage_event_page(window.start_ms, window.end_ms, page)
        rows = usage_event_batch(answer.rows, team=self._team, batch_id=batch_id, day=window.day)
        return replace(answer, rows=[]), rows

    def _further_pages(
        self, window: DayWindow, page_count: int, batch_id: str
    ) -> Iterator[tuple[EventPage, pa.RecordBatch]]:
        """Pages 2 to the last, in order. The middle ones are fetched side by side; the last one strictly after them,
        so that whatever moved between the first and the last request shows as a different count."""
        waiting: deque[Future[tuple[EventPage, pa.RecordBatch]]] = deque()
        try:
            for page in range(2, page_count):
                waiting.append(self._pool.submit(self._page, window, page, batch_id))
                if len(waiting) >= PAGES_AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
        if page_count > 1:
            yield self._page(window, page_count, batch_id)


def merge_spools(reads: Iterable[WindowRead], path: Path) -> int:
    """Put the rows of several days into one Parquet file, a row group at a time; answers the number of rows.

    A destination starts one job a file, and DuckDB writes a checkpoint after each: one file is three times faster.
    """
    count = 0
    with pq.ParquetWriter(path, SCHEMAS["usage_events"], compression="lz4") as writer:
        for read in reads:
            with pq.ParquetFile(read.path) as spool:
                for group in range(spool.num_row_groups):
                    writer.write_table(spool.read_row_group(group))
            count += read.row_count
    return count


def days_between(first: date, last: date) -> list[date]:
    """Both inclusive, oldest first; empty when `last` is earlier."""
    return [first + timedelta(days=offset) for offset in range((last - first).days + 1)]
