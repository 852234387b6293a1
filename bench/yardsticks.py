"""What the product is compared with: the barest loop that does the same transfer, and dlt's own default path."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

from bench.measure import NOW


def pages(base_url: str, api_key: str, start: date, last: date) -> Iterator[dict[str, Any]]:
    """Every page of every day, one request after the other on one connection, parsed with orjson."""
    import orjson
    import requests

    session = requests.Session()
    session.trust_env = False
    token = base64.b64encode(f"{api_key}:".encode()).decode()
    headers = {"Authorization": f"Basic {token}", "Content-Type": "application/json"}
    url = f"{base_url}/teams/filtered-usage-events"
    day = start
    while day <= last:
        first_ms = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)
        last_ms = min(first_ms + 86_399_999, int(NOW.timestamp() * 1000))
        page, more = 1, True
        while more:
            body = {"startDate": first_ms, "endDate": last_ms, "page": page, "pageSize": 1000}
            answer = orjson.loads(session.post(url, data=orjson.dumps(body), headers=headers, timeout=60).content)
            yield answer
            page, more = page + 1, answer["pagination"]["hasNextPage"]
        day += timedelta(days=1)


def bare_loop(base_url: str, api_key: str, file: str, start: date) -> tuple[float, int]:
    """Fetch, parse, and hand DuckDB one Arrow table a page: no types checked, no digest, no ledger."""
    import duckdb
    import pyarrow as pa

    tokens = pa.struct(
        [(name, pa.int64()) for name in ("inputTokens", "outputTokens", "cacheWriteTokens", "cacheReadTokens")]
        + [(name, pa.float64()) for name in ("totalCents", "discountPercentOff")]
    )
    text = ("timestamp", "userEmail", "serviceAccountId", "serviceAccountName", "cloudAgentId", "automationId")
    schema = pa.schema(
        [(name, pa.string()) for name in (*text, "conversationId", "model", "kind")]
        + [(name, pa.bool_()) for name in ("maxMode", "isTokenBasedCall", "isChargeable", "isHeadless")]
        + [(name, pa.float64()) for name in ("requestsCosts", "chargedCents", "cursorTokenFee")]
        + [("tokenUsage", tokens)]
    )
    began = time.perf_counter()
    connection = duckdb.connect(file)
    connection.register("page", schema.empty_table())
    connection.execute("create table events as select * from page")
    count = 0
    for answer in pages(base_url, api_key, start, NOW.date()):
        connection.register("page", pa.Table.from_pylist(answer["usageEvents"], schema=schema))
        connection.execute("insert into events select * from page")
        count += len(answer["usageEvents"])
    connection.close()
    return time.perf_counter() - began, count


def dlt_default(base_url: str, api_key: str, folder: str, start: date) -> tuple[float, int]:
    """The same pages as dictionaries into dlt's DuckDB destination, with dlt's own defaults."""
    import dlt

    @dlt.resource(name="events", write_disposition="append")
    def events() -> Iterator[list[dict[str, Any]]]:
        for answer in pages(base_url, api_key, start, NOW.date()):
            yield answer["usageEvents"]

    began = time.perf_counter()
    pipeline = dlt.pipeline(
        "dictionaries",
        pipelines_dir=f"{folder}/dlt",
        destination=dlt.destinations.duckdb(f"{folder}/events.duckdb"),
        dataset_name="raw",
    )
    pipeline.run(events())
    seconds = time.perf_counter() - began
    with pipeline.sql_client() as client:
        count = (client.execute_sql("select count(*) from events") or [(0,)])[0][0]
    return seconds, count
