"""What closing a client does to uploads and to queries whose progress is shown; against real servers."""

from __future__ import annotations

import asyncio
import io
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from watching import endless, runs

from polarway import AsyncPolarwayClient, Ok, PolarwayClient, async_client, client
from polarway._meter import Meter
from polarway._screens import Terminal

if TYPE_CHECKING:
    from collections.abc import Iterator


class Rows:
    """Rows without an end until they are told to end, and how many were taken."""

    def __init__(self) -> None:
        self.taken = 0
        self.begun = threading.Event()
        self.end = threading.Event()

    def __iter__(self) -> Iterator[dict[str, int]]:
        while not self.end.is_set():
            # Not so many that a test of waiting has a table of millions.
            if self.taken > 50_000:
                self.begun.set()
                self.end.wait(0.001)
            self.taken += 1
            yield {"n": self.taken}


@pytest.fixture
def name() -> str:
    return f"t_{uuid.uuid4().hex}"


async def test_closing_waits_for_uploads(servers: list[str], name: str) -> None:
    """Their rows are in the table then, all of them; a handle of it is not made any more, which is told."""
    client, rows = AsyncPolarwayClient(servers), Rows()
    (await client.connect()).unwrap()
    schema = {"n": "BIGINT"}
    upload = asyncio.create_task(client.from_records(iter(rows), schema=schema, table=name))
    assert await asyncio.to_thread(rows.begun.wait, 60)
    closing = asyncio.create_task(client.close(timeout=60))
    await asyncio.sleep(0.2)
    assert not closing.done()
    assert (await client.from_records([{"n": 1}])).unwrap_err().kind == "DRAINING"
    rows.end.set()
    error = (await upload).unwrap_err()
    assert (error.kind, f"{rows.taken:,} rows are in" in error.message) == ("DRAINING", True)
    await closing
    async with AsyncPolarwayClient(servers) as other:
        assert await (await other.table(name)).unwrap().count() == Ok(rows.taken)


@pytest.mark.parametrize("table", [True, False])
async def test_closing_without_waiting_ends_uploads(servers: list[str], name: str, table: bool) -> None:
    """Of which nothing is left, and no further rows are taken."""
    client, rows = AsyncPolarwayClient(servers), Rows()
    (await client.connect()).unwrap()
    sent = client.from_records(iter(rows), schema={"n": "BIGINT"}, table=name if table else None)
    upload = asyncio.create_task(sent)
    assert await asyncio.to_thread(rows.begun.wait, 60)
    await client.close(wait=False)
    assert (await upload).unwrap_err().kind == "CANCELLED"
    await _is_still(rows)
    async with AsyncPolarwayClient(servers) as other:
        assert (await other.schema(name)).unwrap_err().kind == "TABLE_NOT_FOUND"


async def test_closing_without_waiting_ends_uploads_of_other_threads(servers: list[str], name: str) -> None:
    with PolarwayClient(servers) as blocking, ThreadPoolExecutor(1) as threads:
        rows = Rows()
        upload = threads.submit(blocking.from_records, iter(rows), schema={"n": "BIGINT"}, table=name)
        assert rows.begun.wait(60)
        blocking.close(wait=False)
        assert upload.result(60).unwrap_err().kind == "CANCELLED"
        await _is_still(rows)


async def _is_still(rows: Rows) -> None:
    for _ in range(100):
        before = rows.taken
        await asyncio.sleep(0.2)
        if rows.taken == before:
            return
    pytest.fail("rows are still taken")


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """Where the progress of all queries is shown."""
    shown = io.StringIO()
    for module in (client, async_client):
        monkeypatch.setattr(module, "meter", lambda _: Meter(Terminal(shown)))
    return shown


async def test_queries_whose_progress_is_shown_end_with_their_clients(servers: list[str], screen: io.StringIO) -> None:
    """Closed with a time to wait, and cancelled; they have their places until then."""
    sql, marker = endless()
    client = AsyncPolarwayClient(servers, max_concurrent=1, max_waiting=0)
    (await client.connect()).unwrap()
    query = asyncio.create_task(client.query(sql))
    await runs(marker)
    assert (await client.query("SELECT 1")).unwrap_err().kind == "OVERLOADED"
    while not screen.getvalue():  # noqa: ASYNC110 - a stream of text has no event
        await asyncio.sleep(0.05)
    query.cancel()
    with pytest.raises(asyncio.CancelledError):
        await query
    await runs(marker, 0)
    query = asyncio.create_task(client.query(sql))
    await runs(marker)
    await client.close(timeout=0.1)
    assert (await query).unwrap_err().kind == "CANCELLED"
    await runs(marker, 0)
    assert screen.getvalue().endswith("\r\x1b[K")


@pytest.mark.usefixtures("screen")
async def test_queries_whose_progress_is_shown_end_with_their_clients_in_threads(servers: list[str]) -> None:
    sql, marker = endless()
    with PolarwayClient(servers) as blocking, ThreadPoolExecutor(1) as threads:
        query = threads.submit(blocking.query, sql)
        await runs(marker)
        blocking.close(wait=False)
        assert query.result(60).unwrap_err().kind == "CANCELLED"
        await runs(marker, 0)
