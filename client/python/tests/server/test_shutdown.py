"""What is left when clients are closed, left by an error, interrupted or forked: nothing; against real servers."""

from __future__ import annotations

import asyncio
import json
import signal
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet
import pytest
from proxy import Proxy
from watching import endless, runs, script, sockets, sockets_are

from polarway import AsyncPolarwayClient, PolarwayClient

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from polarway import Error, Result, Table

MANY = "SELECT value AS n FROM generate_series(1, 500000000)"


async def test_row_33_a_wait_that_times_out_leaves_no_query(client: AsyncPolarwayClient) -> None:
    sql, marker = endless()
    waiting = asyncio.create_task(asyncio.wait_for(client.query(sql), 3600))
    await runs(marker)
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(waiting, 0.001)
    await runs(marker, 0)
    assert (await client.ping()).is_ok()


async def _are_cancelled(tasks: list[asyncio.Task[Result[Table, Error]]]) -> None:
    """Whoever awaits one is told."""
    for result in await asyncio.wait_for(asyncio.gather(*tasks), 60):
        assert result.unwrap_err().kind == "CANCELLED"


async def test_row_33_closing_without_waiting_leaves_no_query(servers: list[str]) -> None:
    """Nor a stream; who waited is told, and who reads on too."""
    before = sockets()
    async with AsyncPolarwayClient(servers) as client:
        sql, marker = endless()
        tasks = [asyncio.create_task(client.query(sql)) for _ in range(3)]
        rows = (await client.stream(f"SELECT n, {marker} FROM ({MANY})")).unwrap()
        assert (await rows.next()).is_ok()
        await runs(marker, 4)
        began = time.monotonic()
        await client.close(wait=False)
        assert time.monotonic() - began < 5
        await _are_cancelled(tasks)
        assert (await rows.next()).unwrap_err().kind == "CANCELLED"
        assert [item.unwrap_err().kind async for item in rows] == ["CANCELLED"]
        await rows.close()
        await runs(marker, 0)
        await sockets_are(before)
        assert (await client.query("SELECT 1")).unwrap_err().kind == "DRAINING"


async def test_row_33_closing_without_waiting_for_code_that_blocks(servers: list[str]) -> None:
    """The same for other threads."""
    before = sockets()
    with PolarwayClient(servers) as client, ThreadPoolExecutor(3) as threads:
        sql, marker = endless()
        waiting = [threads.submit(client.query, sql) for _ in range(3)]
        rows = client.stream(f"SELECT n, {marker} FROM ({MANY})").unwrap()
        assert rows.next().is_ok()
        await runs(marker, 4)
        client.close(wait=False)
        assert [future.result().unwrap_err().kind for future in waiting] == ["CANCELLED"] * 3
        assert rows.next().unwrap_err().kind == "CANCELLED"
        assert [item.unwrap_err().kind for item in rows] == ["CANCELLED"]
        rows.close()
        await runs(marker, 0)
        await sockets_are(before)


async def test_closing_waits_for_what_runs(servers: list[str]) -> None:
    """And takes nothing new meanwhile; then the next connection can be made."""
    async with Proxy(servers[0]) as proxy, AsyncPolarwayClient(proxy.address) as client:
        proxy.stop()
        running_query = asyncio.create_task(client.query("SELECT 7 AS n"))
        await asyncio.sleep(0)
        closing = asyncio.create_task(client.close(timeout=60))
        await asyncio.sleep(0.2)
        assert not closing.done()
        assert (await client.query("SELECT 1")).unwrap_err().kind == "DRAINING"
        proxy.go_on()
        assert (await running_query).unwrap().texts() == [["7"]]
        await closing
        assert (await client.connect()).is_ok()
        assert (await client.query("SELECT 1")).is_ok()


async def test_closing_waits_for_who_reads(servers: list[str]) -> None:
    """All rows come, though the client is closed meanwhile; a stream that nobody iterates over is not waited for."""
    client = AsyncPolarwayClient(servers)
    (await client.connect()).unwrap()
    idle = (await client.stream(MANY)).unwrap()
    assert (await idle.next()).is_ok()
    rows = (await client.stream("SELECT value FROM generate_series(1, 300000)")).unwrap()
    seen = 0
    closing = None
    async for batch in rows:
        seen += len(batch.unwrap())
        if closing is None:
            closing = asyncio.create_task(client.close(timeout=60))
        await asyncio.sleep(0.01)
    assert seen == 300_000
    assert closing is not None
    began = time.monotonic()
    await closing
    assert time.monotonic() - began < 10
    assert (await idle.next()).unwrap_err().kind == "CANCELLED"


def test_closing_in_a_loop_over_its_own_rows_does_not_wait_for_itself(servers: list[str]) -> None:
    client = PolarwayClient(servers)
    client.connect().unwrap()
    kinds: list[str] = []
    began = time.monotonic()
    for item in client.stream(MANY).unwrap():
        kinds.append("rows" if item.is_ok() else item.unwrap_err().kind)
        client.close(timeout=60)
    assert kinds == ["rows", "CANCELLED"]
    assert time.monotonic() - began < 30


async def test_closing_ends_what_takes_too_long(servers: list[str]) -> None:
    """On the cluster."""
    client = AsyncPolarwayClient(servers)
    (await client.connect()).unwrap()
    sql, marker = endless()
    task = asyncio.create_task(client.query(sql))
    await runs(marker)
    await client.close(timeout=0.1)
    await _are_cancelled([task])
    await runs(marker, 0)


async def test_row_33_a_close_that_is_cancelled_closes_all_the_same(servers: list[str], rows: Path) -> None:
    """And the cancellation is passed on."""
    before = sockets()
    client = AsyncPolarwayClient(servers)
    (await client.connect()).unwrap()
    handle = (await client.read_parquet(rows)).unwrap()
    sql, marker = endless()
    task = asyncio.create_task(client.query(sql))
    await runs(marker)
    closing = asyncio.create_task(client.close(timeout=3600))
    await asyncio.sleep(0.05)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    await _are_cancelled([task])
    await runs(marker, 0)
    await sockets_are(before)
    async with AsyncPolarwayClient(servers) as other:
        assert (await other.query(f"SELECT * FROM handle.{handle.id}")).unwrap_err().kind == "NOT_FOUND"


@pytest.fixture
def rows(data: Path) -> Path:
    """A Parquet file."""
    path = data / "rows.parquet"
    pa.parquet.write_table(pa.table({"n": [1, 2, 3]}), path)
    return path


async def _are_gone(client: AsyncPolarwayClient, ids: list[str]) -> None:
    for id_ in ids:
        assert (await client.query(f"SELECT * FROM handle.{id_}")).unwrap_err().kind == "NOT_FOUND"


async def test_row_33_a_hundred_contexts_that_raise_leave_nothing(
    client: AsyncPolarwayClient, servers: list[str], rows: Path
) -> None:
    """No handle, no query, no stream, no socket, no task."""
    sql, marker = endless()
    assert (await client.ping()).is_ok()
    before, tasks_before = sockets(), len(asyncio.all_tasks())
    began = 0.0
    ids: list[str] = []
    tasks: list[asyncio.Task[Result[Table, Error]]] = []
    for number in range(100):
        with pytest.raises(ZeroDivisionError):
            async with AsyncPolarwayClient(servers) as one:
                handle = (await one.read_parquet(rows)).unwrap()
                ids.append(handle.id)
                async with (await handle.filter("n > 1").handle()).unwrap() as inner:
                    ids.append(inner.id)
                    if number % 10 == 0:
                        tasks.append(asyncio.create_task(one.query(sql)))
                        await asyncio.sleep(0)
                        (await one.stream(f"SELECT n, {marker} FROM ({MANY})")).unwrap()
                    began = time.monotonic()
                    raise ZeroDivisionError
        # An exception is not held up by calls that run: that would be 10 s.
        assert time.monotonic() - began < 9
    await _are_cancelled(tasks)
    await _are_gone(client, ids)
    await sockets_are(before)
    await runs(marker, 0)
    assert len(asyncio.all_tasks()) == tasks_before


async def test_row_33_a_hundred_contexts_that_raise_for_code_that_blocks(
    client: AsyncPolarwayClient, servers: list[str], rows: Path
) -> None:
    """The same, and no thread."""
    _, marker = endless()
    assert (await client.ping()).is_ok()
    before = sockets()
    ids: list[str] = []
    for number in range(100):
        with (
            pytest.raises(ZeroDivisionError),
            PolarwayClient(servers) as one,
            one.read_parquet(rows).unwrap() as handle,
        ):
            ids += [handle.id, handle.filter("n > 1").handle().unwrap().id]
            if number % 10 == 0:
                one.stream(f"SELECT n, {marker} FROM ({MANY})").unwrap()
            raise ZeroDivisionError
    await _are_gone(client, ids)
    await sockets_are(before)
    await runs(marker, 0)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("polarway")]


async def _interrupted(process: subprocess.Popen[str], marker: str) -> None:
    """SIGINT, while its query runs, ends the process at once and the query with it."""
    try:
        await runs(marker)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, told = await asyncio.to_thread(process.communicate, timeout=60)
        assert time.monotonic() - began < 10
        assert "KeyboardInterrupt" in told
        # As of whatever else Ctrl-C ends; another one would be a crash on the way out.
        assert process.returncode == -signal.SIGINT
        await runs(marker, 0)
    finally:
        process.kill()
        process.communicate()


BLOCKING = """
    with PolarwayClient(os.environ["POLARWAY_TEST_SERVERS"]) as client:
        {}
"""

ASYNC = """
    async def main():
        async with AsyncPolarwayClient(os.environ["POLARWAY_TEST_SERVERS"]) as client:
            {}
    asyncio.run(main())
"""


@pytest.mark.parametrize(
    "body",
    [
        BLOCKING.format("client.raising.query(sql)"),
        BLOCKING.format("list(client.raising.stream(sql))"),
        BLOCKING.format("client.batch_collect([client.raising.handle(sql).select('*', again)] * 2, limit=1)"),
        BLOCKING.format(
            """threading.Thread(target=client.query, args=[sql]).start()
        while not client._traffic._running:
            time.sleep(0.01)
        client.close(timeout=999)"""
        ),
        ASYNC.format("await client.raising.query(sql)"),
        ASYNC.format("[rows async for rows in await client.raising.stream(sql)]"),
        ASYNC.format(
            "query = asyncio.create_task(client.query(sql)); await asyncio.sleep(0); await client.close(timeout=999)"
        ),
    ],
    ids=["query", "stream", "batch", "close", "async query", "async stream", "async close"],
)
async def test_row_33_ctrl_c_ends_whatever_is_awaited(servers: list[str], body: str) -> None:
    """With KeyboardInterrupt, and the query with it."""
    sql, marker = endless()
    number = marker.split()[0]
    given = f"sql, again = {sql!r}, '{number} AS again'\n"
    await _interrupted(script(servers, given + textwrap.dedent(body)), number)


def test_a_forked_process_is_told_that_the_client_is_its_parents(servers: list[str]) -> None:
    """At once, whatever it does with it; the parent's goes on."""
    process = script(
        servers,
        """
        import json
        servers = os.environ["POLARWAY_TEST_SERVERS"]
        client = PolarwayClient(servers, max_concurrent=2)
        client.connect().unwrap()
        handle = client.raising.handle("SELECT 1 AS one")
        rows = client.raising.stream("SELECT value FROM generate_series(1, 500000000)")
        async_client = AsyncPolarwayClient(servers)
        async def connect():
            (await async_client.connect()).unwrap()
        asyncio.run(connect())
        rows.next().unwrap()
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            async def ask():
                return (await async_client.query("SELECT 2")).unwrap_err()
            failures = [
                client.query("SELECT 2").unwrap_err(),
                client.ping().unwrap_err(),
                handle.collect().unwrap_err(),
                client.handle("SELECT 1").unwrap_err(),
                client.batch_read(["a.csv"])[0].unwrap_err(),
                rows.next().unwrap_err(),
                next(iter(rows)).unwrap_err(),
                asyncio.run(ask()),
            ]
            rows.close()
            handle.close()
            client.close()
            asyncio.run(async_client.close())
            assert all("forked" in error.message and error.hint for error in failures)
            with PolarwayClient(servers) as own:
                told = own.raising.query("SELECT 2").texts()
            os.write(writer, json.dumps([[error.kind for error in failures], told]).encode())
            os._exit(0)
        os.close(writer)
        told = json.loads(os.fdopen(reader).read())
        _, status = os.waitpid(child, 0)
        rest = rows.next().is_ok()
        rows.close()
        print(json.dumps([status, told, rest, handle.count().unwrap()]))
        """,
    )
    output, told = process.communicate(timeout=120)
    assert process.returncode == 0, told
    assert json.loads(output) == [0, [["CONFIGURATION"] * 8, [["2"]]], True, 1]
