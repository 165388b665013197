"""Several servers of which one is lost, limits, and the breaker inside a client, against real servers."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest
from proxy import Proxy
from watching import endless, running, runs, sockets, until

from polarway import AsyncPolarwayClient, CircuitBreaker, Ok, PolarwayClient, Retry, heartbeat

if TYPE_CHECKING:
    from polarway import Error, Result, Table


async def test_calls_survive_the_loss_of_either_server(servers: list[str]) -> None:
    """Queries, streams, handles and settings go on while one server after the other dies."""
    async with (
        Proxy(servers[0]) as first,
        Proxy(servers[-1]) as last,
        AsyncPolarwayClient([first.address, last.address]) as client,
    ):
        handle = (await client.handle("SELECT value FROM generate_series(1, 1000)")).unwrap()
        await client.raising.query("SET polarway.timeout = '123s'")
        over = asyncio.Event()
        answers = 0

        async def ask(number: int) -> Error | None:
            nonlocal answers
            while not over.is_set():
                number += 1
                result = await client.query(f"SELECT {number} AS n")
                if result.is_err():
                    return result.unwrap_err()
                assert result.unwrap().texts() == [[str(number)]]
                answers += 1
            return None

        tasks = [asyncio.create_task(ask(1000 * number)) for number in range(4)]

        async def more_answers() -> None:
            wanted = answers + 20

            async def there() -> bool:
                return answers >= wanted

            await until(there, "it goes on")

        for gone in (first, last, first):
            await more_answers()
            await gone.cut()
            await more_answers()
            assert (await handle.count()).unwrap() == 1000
            assert "123s" in (await client.raising.query("SHOW polarway.timeout")).texts()[0][1]
            async with (await client.stream("SELECT value FROM generate_series(1, 1000)")).unwrap() as rows:
                assert sum([len(batch.unwrap()) async for batch in rows]) == 1000
            await gone.mend()
        over.set()
        assert [await task for task in tasks] == [None] * 4


async def test_a_server_that_is_not_there_yet_is_waited_for(servers: list[str]) -> None:
    """To connect, for a query, for the first rows of a stream; what changes something is not sent a second time."""
    patient = Retry(attempts=40, reserve=100, delay=0.2, cap=0.2)
    view = f"v_{time.time_ns()}"
    async with Proxy(servers[0]) as proxy:
        await proxy.cut()
        client = AsyncPolarwayClient(proxy.address, retry=patient, retry_for=0)
        impatient = AsyncPolarwayClient(proxy.address, retry=None)
        assert (await impatient.connect()).unwrap_err().is_unavailable

        async def later() -> None:
            await asyncio.sleep(0.3)
            await proxy.mend()

        mending = asyncio.create_task(later())
        async with client:
            await mending
            await proxy.cut()
            assert (await client.query(f"CREATE VIEW {view} AS SELECT 1")).unwrap_err().is_retryable
            mending = asyncio.create_task(later())
            assert (await client.query("SELECT 1 AS one")).unwrap().texts() == [["1"]]
            await mending
            rows = (await client.stream("SELECT value FROM generate_series(1, 1000)")).unwrap()
            await proxy.cut()
            mending = asyncio.create_task(later())
            assert sum([len(batch.unwrap()) async for batch in rows]) == 1000
            await mending
            assert f"public.{view}" not in (await client.tables()).unwrap()


def test_settings_are_out_of_range_before_anything_is_asked(servers: list[str]) -> None:
    with pytest.raises(ValueError, match="max_concurrent"):
        PolarwayClient(servers, max_concurrent=0)


async def test_a_limited_client_has_so_many_queries_at_the_cluster(servers: list[str]) -> None:
    """One more waits and comes in its turn, the next is refused at once; a heartbeat and a batch go on."""
    sql, marker = endless()
    async with AsyncPolarwayClient(servers, max_concurrent=2, max_waiting=1) as client:
        tasks = [asyncio.create_task(client.query(sql)) for _ in range(2)]
        await runs(marker, 2)
        third_sql, third_marker = endless()
        third = asyncio.create_task(client.query(third_sql))
        await asyncio.sleep(0)
        began = time.monotonic()
        refused = (await client.query("SELECT 1")).unwrap_err()
        assert time.monotonic() - began < 1
        assert (refused.kind, refused.is_unavailable) == ("OVERLOADED", False)
        assert (await client.handle("SELECT 1")).unwrap_err().kind == "OVERLOADED"
        async with heartbeat(client, 0.05, timeout=30) as beats:
            async for beat in beats:
                assert beat.is_ok()
                break
        assert await running(third_marker) == 0
        tasks[0].cancel()
        await runs(third_marker)
        assert await running(marker) == 1
        for task in (tasks[1], third):
            task.cancel()
        await asyncio.wait([*tasks, third])
        await runs(marker, 0)
        await runs(third_marker, 0)
        handles = [(await client.handle(f"SELECT {number} AS n")).unwrap() for number in range(10)]
        tables = await client.batch_collect(handles, limit=10)
        assert [table.unwrap().texts() for table in tables] == [[[str(number)]] for number in range(10)]


async def test_a_limited_client_for_code_that_blocks(servers: list[str]) -> None:
    """A batch of more than it may have at once is no error; threads take their turns."""

    def ask() -> list[Result[Table, Error]]:
        with PolarwayClient(servers, max_concurrent=2, max_waiting=0) as client:
            handles = [client.handle(f"SELECT {number} AS n").unwrap() for number in range(10)]
            return client.batch_collect(handles, limit=10)

    tables = await asyncio.to_thread(ask)
    assert [table.unwrap().texts() for table in tables] == [[[str(number)]] for number in range(10)]
    sql, marker = endless()
    with PolarwayClient(servers, max_concurrent=1, max_waiting=0) as client:
        waiting = asyncio.create_task(asyncio.to_thread(client.query, sql))
        await runs(marker)
        assert client.query("SELECT 1").unwrap_err().kind == "OVERLOADED"
        client.close(wait=False)
        assert (await waiting).unwrap_err().kind == "CANCELLED"
    await runs(marker, 0)


async def test_a_breaker_inside_a_client_opens_and_closes(servers: list[str]) -> None:
    """It counts a call with its retries once, and bad SQL not at all."""
    breaker = CircuitBreaker(threshold=2, timeout=0.5)
    async with (
        Proxy(servers[0]) as proxy,
        AsyncPolarwayClient(proxy.address, breaker=breaker, retry=Retry(attempts=2, delay=0.01), retry_for=0) as client,
    ):
        for _ in range(3):
            assert (await client.query("SELEKT 1")).unwrap_err().kind == "SYNTAX"
        await proxy.cut()
        for failures in (1, 2):
            assert (await client.query("SELECT 1")).unwrap_err().is_unavailable
            assert breaker.failures == failures
        refused = (await client.query("SELECT 1")).unwrap_err()
        assert (refused.kind, refused.is_retryable) == ("DRAINING", True)
        assert refused.retry_after
        assert "circuit" in refused.message
        await proxy.mend()

        async def answers() -> bool:
            return (await client.query("SELECT 1")).is_ok()

        await until(answers, "it is closed")
        assert breaker.state == "CLOSED"


async def test_row_40_a_server_that_has_died_is_told_of_and_found_again(servers: list[str]) -> None:
    """Within interval and timeout; the task ends at once with its context, and leaves nothing."""
    async with Proxy(servers[0]) as proxy, AsyncPolarwayClient(proxy.address, retry_for=0) as client:
        tasks = len(asyncio.all_tasks())
        async with heartbeat(client, 0.2, timeout=2.0) as beats:
            async for beat in beats:
                assert beat.is_ok()
                break
            await proxy.cut()
            began = time.monotonic()
            async for beat in beats:
                if beat.is_err():
                    assert beat.unwrap_err().is_unavailable
                    break
            assert time.monotonic() - began < 0.2 + 2.0
            await proxy.mend()

            async def alive() -> bool:
                return beats.is_alive

            await until(alive, "it is found again")
            assert beats.last.unwrap().unwrap() > 0
            began = time.monotonic()
        assert time.monotonic() - began < 0.1
        await until(lambda: asyncio.sleep(0, len(asyncio.all_tasks()) <= tasks + 4), "the task has ended")
        assert not [task for task in asyncio.all_tasks() if task.get_name() == "polarway.heartbeat"]


async def test_a_client_has_one_connection_to_a_server_however_many_calls(servers: list[str]) -> None:
    before = sockets()
    async with AsyncPolarwayClient(servers[0]) as client:
        results = await asyncio.gather(*(client.query(f"SELECT {number}") for number in range(50)))
        assert all(isinstance(result, Ok) for result in results)
        assert sockets() - before <= 1
