"""Handles, the verbs on them, and many files at once, against real servers."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import textwrap
import threading
import time
from functools import partial
from typing import TYPE_CHECKING

import polars
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.json
import pyarrow.parquet
import pytest
from proxy import Proxy

from polarway import AsyncPolarwayClient, Error, PolarwayClient, heartbeat, lit
from polarway._calls import awaited

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence
    from pathlib import Path

    from polarway import AsyncHandle, Handle, Heartbeat, Result

ROWS = pa.table({"n": [3, 1, 2, None], "text": ["it's", "ü", None, ""], "Price (net)": [1.5, -0.25, None, 2.0]})


@pytest.fixture
def rows(data: Path) -> Path:
    """A Parquet file of `ROWS`."""
    path = data / "rows.parquet"
    pa.parquet.write_table(ROWS, path)
    return path


def _hundred(data: Path) -> list[str]:
    """Paths of 100 files of four formats, of which 3 are missing and 2 corrupt."""
    paths: list[str] = []
    for number in range(100):
        table = pa.table({"file": [number] * 3, "text": [f"row {row} of {number}" for row in range(3)]})
        ending = ("parquet", "csv", "ndjson", "arrow")[number % 4]
        path = data / f"it's number {number}.{ending}"
        paths.append(str(path))
        if number in {7, 50, 99}:
            continue
        if number in {0, 64}:
            path.write_bytes(b"PAR1 and then nothing that belongs there")
        elif ending == "parquet":
            pa.parquet.write_table(table, path)
        elif ending == "csv":
            pa.csv.write_csv(table, path)
        elif ending == "arrow":
            pa.feather.write_feather(table, str(path), compression="uncompressed")
        else:
            lines = [f'{{"file": {row["file"]}, "text": "{row["text"]}"}}' for row in table.to_pylist()]
            path.write_text("\n".join(lines) + "\n")
    return paths


def _as_expected(paths: list[str], results: Sequence[Result[AsyncHandle | Handle, Error]]) -> None:
    assert len(results) == 100
    for number, (path, result) in enumerate(zip(paths, results, strict=True)):
        if number in {7, 50, 99, 0, 64}:
            error = result.unwrap_err()
            assert error.kind == ("CORRUPT_FILE" if number in {0, 64} else "FILE_NOT_FOUND")
            assert path in error.message
        else:
            assert result.unwrap().columns == ["file", "text"]
    assert sum(result.is_ok() for result in results) == 95


async def test_row_34_a_hundred_files_of_which_some_are_bad(client: AsyncPolarwayClient, data: Path) -> None:
    """In order, 95 of them readable; each error names its path."""
    paths = _hundred(data)
    results = await client.batch_read(paths, limit=8)
    _as_expected(paths, results)
    tables = await client.batch_collect([handle for result in results for handle in result])
    wanted = [number for number, result in enumerate(results) if result.is_ok()]
    assert [table.unwrap().to_dicts()[0]["file"] for table in tables] == wanted
    with pytest.raises(Error, match="number 0"):
        await client.raising.batch_read(paths)
    good = await client.raising.batch_read(path for path in paths[1:5])
    assert [len(table) for table in await client.raising.batch_collect(handle.limit(2) for handle in good)] == [2] * 4
    with pytest.raises(TypeError, match="several"):
        await client.batch_read(paths[1])


def test_row_34_a_hundred_files_for_code_that_blocks(blocking: PolarwayClient, data: Path) -> None:
    """The same."""
    paths = _hundred(data)
    results = blocking.batch_read(paths, limit=8)
    _as_expected(paths, results)
    tables = blocking.batch_collect([handle for result in results for handle in result], limit=3)
    wanted = [number for number, result in enumerate(results) if result.is_ok()]
    assert [table.unwrap().to_dicts()[0]["file"] for table in tables] == wanted
    with pytest.raises(Error, match="number 0"):
        blocking.raising.batch_read(paths)
    good = blocking.raising.batch_read(path for path in paths[1:5])
    assert [len(table) for table in blocking.raising.batch_collect(handle.limit(2) for handle in good)] == [2] * 4
    good[0].close()
    assert [table.is_ok() for table in blocking.batch_collect(good)] == [False, True, True, True]


async def test_row_34_the_input_is_taken_as_there_is_room(client: AsyncPolarwayClient, rows: Path) -> None:
    """No more handles are made at once than the limit, however long the input is."""
    taken = 0
    done = 0

    def paths() -> Iterator[str]:
        nonlocal taken
        for _ in range(200):
            taken += 1
            yield str(rows)

    lead: list[int] = []
    read = client._lease

    async def counted(sql: Result[str, Error], ttl: float) -> Result[AsyncHandle, Error]:
        nonlocal done
        lead.append(taken - done)
        found = await read(sql, ttl)
        done += 1
        return found

    client._lease = counted  # type: ignore[method-assign]
    assert all(result.is_ok() for result in await client.batch_read(paths(), limit=5))
    assert max(lead) <= 5


async def test_row_35_tables_are_those_of_pyarrow(client: AsyncPolarwayClient, data: Path, rows: Path) -> None:
    """Of each format, as a table and as a stream."""
    pa.csv.write_csv(ROWS, data / "rows.csv")
    pa.feather.write_feather(ROWS, str(data / "rows.arrow"), compression="uncompressed")
    (data / "rows.json").write_text('{"n": 1, "text": "it\'s"}\n{"n": null, "text": "ü"}\n')
    handle = (await client.read_parquet(rows)).unwrap()
    assert handle.columns == ROWS.column_names
    assert handle.schema == {"n": "Int64", "text": "Utf8", "Price (net)": "Float64"}
    assert (await handle.collect()).unwrap().to_arrow().equals(ROWS)
    assert (await handle.count()).unwrap() == 4
    async with (await handle.stream()).unwrap() as stream:
        batches = [batch.unwrap().to_arrow() async for batch in stream]
    assert pa.Table.from_batches(batches).equals(ROWS)
    assert "rows.parquet" in (await handle.explain()).unwrap()
    assert "summary" in (await handle.explain(analyze=True)).unwrap()

    some = await client.raising.read_parquet(str(rows), columns=["Price (net)", "n"])
    assert (await some.collect()).unwrap().to_arrow().equals(ROWS.select(["Price (net)", "n"]))
    csv = await client.raising.read_csv(data / "rows.csv", columns=["n", "Price (net)"])
    read = pa.csv.read_csv(data / "rows.csv").select(["n", "Price (net)"])
    assert (await csv.collect()).unwrap().to_arrow().equals(read)
    arrow = await client.raising.read_arrow(data / "rows.arrow")
    assert (await arrow.collect()).unwrap().to_arrow().equals(ROWS)
    json = await client.raising.read_json(data / "rows.json")
    assert (await json.collect()).unwrap().to_arrow().equals(pa.json.read_json(data / "rows.json"))


async def test_a_path_is_a_path_and_nothing_else(client: AsyncPolarwayClient, data: Path) -> None:
    """Whatever signs it has."""
    for name in ("it's.parquet", "'; SELECT 1 --.parquet", 'a"b.parquet', "a b\\'c.parquet", "ü.parquet", "--.parquet"):
        pa.parquet.write_table(ROWS, data / name)
        handle = (await client.read_parquet(data / name)).unwrap()
        assert (await handle.count()).unwrap() == 4
    assert (await client.read_csv(data / "it's.parquet")).unwrap_err().kind == "PLAN"
    assert (await client.read_csv("\0.csv")).unwrap_err().kind == "PLAN"
    missing = (await client.read_parquet("' UNION SELECT 1 --.parquet")).unwrap_err()
    assert missing.kind in {"FILE_NOT_FOUND", "PATH_NOT_ALLOWED"}


async def test_what_is_no_query_has_no_handle(client: AsyncPolarwayClient) -> None:
    """And a name that is no table."""
    name = f"Odd {time.time_ns()}"
    await client.raising.query(f'CREATE VIEW "{name}" AS SELECT 1 AS one')
    assert (await (await client.raising.table(name)).collect()).unwrap().texts() == [["1"]]
    assert (await (await client.raising.table(f"public.{name}")).count()).unwrap() == 1
    await client.raising.query(f'DROP VIEW "{name}"')
    assert (await client.table(name)).unwrap_err().kind == "TABLE_NOT_FOUND"
    assert (await client.handle("CREATE VIEW v AS SELECT 1")).unwrap_err().kind == "UNSUPPORTED"
    assert (await client.handle("SELEKT 1")).unwrap_err().kind == "SYNTAX"
    for ttl in (float("nan"), -1.0):
        assert (await client.handle("SELECT 1 AS one", ttl=ttl)).unwrap_err().kind == "INVALID_SETTING"
    unconnected = AsyncPolarwayClient("127.0.0.1:1")
    assert (await unconnected.handle("SELECT 1")).unwrap_err().hint
    assert (await unconnected.batch_read(["a.csv"]))[0].unwrap_err().message.startswith("`a.csv`")
    assert PolarwayClient("127.0.0.1:1").batch_read(["a.csv"])[0].unwrap_err().message.startswith("`a.csv`")


async def _gone(client: AsyncPolarwayClient, id_: str) -> bool:
    found = await client.query(f"SELECT count(*) FROM handle.{id_}")
    assert found.is_ok() or found.unwrap_err().kind == "NOT_FOUND"
    return found.is_err()


async def _until(condition: Callable[[], Awaitable[bool]], what: str, within: float = 30.0) -> None:
    deadline = time.monotonic() + within
    while not await condition():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.05)


async def test_row_42_a_heartbeat_keeps_handles_beyond_their_time(
    client: AsyncPolarwayClient, servers: list[str], rows: Path
) -> None:
    """Made at one server, read at the other; at both after more than twice its time."""
    async with AsyncPolarwayClient(servers[0]) as first, AsyncPolarwayClient(servers[-1]) as last:
        handles = [(await first.read_parquet(rows, ttl=1.0)).unwrap() for _ in range(3)]
        for _ in range(6):
            await asyncio.sleep(0.5)
            for handle in handles:
                found = await last.query(f"SELECT * FROM handle.{handle.id}")
                assert found.unwrap().to_arrow().equals(ROWS)
        assert (await handles[0].count()).unwrap() == 4
        tasks = [task for task in asyncio.all_tasks() if task.get_name() == "polarway.handles"]
        assert len(tasks) == 1
    assert tasks[0].done()
    for handle in handles:
        assert await _gone(client, handle.id)


def _abandoned(servers: list[str], path: Path) -> list[str]:
    """Ids of handles of one second, made by a process that ends without a word."""
    program = f"""
        import os
        from polarway import PolarwayClient
        client = PolarwayClient({servers!r})
        client.connect().unwrap()
        print(client.raising.read_parquet({str(path)!r}, ttl=1.0).id, flush=True)
        os._exit(0)
    """
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True)
    return ended.stdout.split()


async def test_row_42_without_a_heartbeat_a_handle_ends_with_its_time(
    client: AsyncPolarwayClient, servers: list[str], rows: Path
) -> None:
    """Of a process that died; a late heartbeat does not bring it back."""
    [id_] = await asyncio.to_thread(_abandoned, servers, rows)
    began = time.monotonic()
    await _until(lambda: _gone(client, id_), "it has ended")
    assert time.monotonic() - began < 5
    renewed = await awaited(partial(client._connected().unwrap().renew_handle, id_))
    assert renewed.unwrap_err().kind == "NOT_FOUND"
    assert await _gone(client, id_)


async def test_row_42_a_handle_that_nothing_holds_ends_with_its_time(client: AsyncPolarwayClient, rows: Path) -> None:
    """A query over it holds it; the task that renews ends with the last."""
    handle = (await client.read_parquet(rows, ttl=1.0)).unwrap()
    id_, query = handle.id, handle.filter("n > 1")
    del handle
    gc.collect()
    await asyncio.sleep(2)
    assert (await query.count()).unwrap() == 2
    del query
    gc.collect()
    await _until(lambda: _gone(client, id_), "it has ended", within=5)

    async def no_task() -> bool:
        return not [task for task in asyncio.all_tasks() if task.get_name() == "polarway.handles"]

    await _until(no_task, "nothing is renewed", within=5)
    # And there is one again for the next.
    async with (await client.read_parquet(rows, ttl=1.0)).unwrap() as again:
        await asyncio.sleep(2)
        assert (await again.count()).unwrap() == 4
    assert await _gone(client, again.id)


async def test_row_42_renewals_go_on_after_a_time_without_a_server(servers: list[str], rows: Path) -> None:
    """Shorter than the lease: it is still there. Longer: it has ended, and says so."""
    async with (
        Proxy(servers[0]) as proxy,
        AsyncPolarwayClient(proxy.address) as client,
        AsyncPolarwayClient(servers) as other,
    ):
        handle = (await client.read_parquet(rows, ttl=4.0)).unwrap()
        proxy.stop()
        await asyncio.sleep(2.5)
        proxy.go_on()
        await asyncio.sleep(4)
        assert (await handle.count()).unwrap() == 4
        proxy.stop()
        await _until(lambda: _gone(other, handle.id), "it has ended", within=10)
        proxy.go_on()
        assert (await handle.count()).unwrap_err().kind == "NOT_FOUND"


async def test_row_42_closing(client: AsyncPolarwayClient, servers: list[str], rows: Path) -> None:
    """Closes handles on the server, ends the task, and takes no time when the server is gone."""
    async with Proxy(servers[0]) as proxy:
        own = AsyncPolarwayClient(proxy.address)
        (await own.connect()).unwrap()
        handles = [(await own.read_parquet(rows)).unwrap() for _ in range(50)]
        await handles[0].close()
        await handles[0].close()
        assert await _gone(client, handles[0].id)
        assert (await handles[0].collect()).unwrap_err().kind == "NOT_FOUND"
        assert (await handles[0].filter("n > 1").handle()).unwrap_err().kind == "NOT_FOUND"
        await own.close()
        assert all([await _gone(client, handle.id) for handle in handles])
        assert (await handles[1].collect()).is_err()

        (await own.connect()).unwrap()
        lost = (await own.read_parquet(rows, ttl=1.0)).unwrap()
        task = next(task for task in asyncio.all_tasks() if task.get_name() == "polarway.handles")
        proxy.stop()
        await asyncio.sleep(0.5)
        began = time.monotonic()
        closing = asyncio.create_task(own.close())
        await asyncio.wait([task])
        assert time.monotonic() - began < 0.1
        await closing
        assert time.monotonic() - began < 3
        await _until(lambda: _gone(client, lost.id), "it has ended", within=5)


async def test_a_handle_of_a_query_outlives_those_that_it_is_made_of(client: AsyncPolarwayClient, rows: Path) -> None:
    """Closed, they go with it."""
    base = (await client.read_parquet(rows, ttl=1.0)).unwrap()
    middle = (await base.filter("n > 1").handle(ttl=1.0)).unwrap()
    top = await client.raising.lease(middle.select("text").join(base, "text"), ttl=1.0)
    await base.close()
    await middle.close()
    assert (await base.count()).unwrap_err().kind == "NOT_FOUND"
    del base, middle
    gc.collect()
    await asyncio.sleep(2.5)
    assert (await top.collect()).unwrap().to_dicts() == [{"text": "it's", "n": 3, "Price (net)": 1.5}]
    parents = [parent.id for parent in top._lease._parents]
    await top.close()
    for id_ in (top.id, *parents):
        assert await _gone(client, id_)


def test_row_42_the_blocking_client_keeps_handles_too(servers: list[str], rows: Path) -> None:
    """With one thread, that ends with the client."""
    before = threading.active_count()
    with PolarwayClient(servers) as client, PolarwayClient(servers) as other:
        assert threading.active_count() == before
        handles = [client.read_parquet(rows, ttl=1.0).unwrap() for _ in range(3)]
        closed = client.raising.read_parquet(rows)
        with closed:
            assert closed.count().unwrap() == 4
        assert closed.collect().unwrap_err().kind == "NOT_FOUND"
        time.sleep(2.5)
        assert threading.active_count() == before + 1
        for handle in handles:
            assert handle.collect().unwrap().to_arrow().equals(ROWS)
            assert other.query(f"SELECT * FROM handle.{handle.id}").is_ok()
        rest = handles[0].filter("n > 1").group_by("text").agg(n=lit(1).count()).handle(ttl=1.0).unwrap()
        assert rest.schema == {"text": "Utf8", "n": "Int64"}
        with handles[0].stream().unwrap() as stream:
            assert sum(len(batch.unwrap()) for batch in stream) == 4
        began = time.monotonic()
        client.close()
        assert time.monotonic() - began < 0.5
        assert threading.active_count() == before
        for handle in (*handles, rest):
            assert other.query(f"SELECT * FROM handle.{handle.id}").unwrap_err().kind == "NOT_FOUND"


def test_row_42_the_thread_ends_when_nothing_is_held(blocking: PolarwayClient, rows: Path) -> None:
    """Also if the client is still there."""
    before = threading.active_count()
    handle = blocking.raising.read_parquet(rows, ttl=1.0)
    assert threading.active_count() == before + 1
    del handle
    gc.collect()
    deadline = time.monotonic() + 5
    while threading.active_count() > before:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    with blocking.raising.read_parquet(rows, ttl=1.0) as again:
        time.sleep(2)
        assert again.count().unwrap() == 4


def test_a_forked_process_leaves_the_handles_to_its_parent(servers: list[str], rows: Path) -> None:
    """Leaving the client's context there closes nothing."""
    program = f"""
        import os
        from polarway import PolarwayClient
        with PolarwayClient({servers!r}) as client:
            handle = client.raising.read_parquet({str(rows)!r}, ttl=1.0)
            child = os.fork()
            if child == 0:
                handle.close()
                client.close()
                os._exit(0)
            _, status = os.waitpid(child, 0)
            import time
            time.sleep(2)
            print(status, handle.count())
    """
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True)
    assert ended.stdout == "0 Ok(4)\n"


async def test_row_40_a_heartbeat_tells_whether_the_servers_answer(servers: list[str]) -> None:
    """Within interval and timeout, both ways; it goes on when they are there again."""
    async with Proxy(servers[0]) as proxy, AsyncPolarwayClient(proxy.address) as client:
        async with heartbeat(client, 0.2, timeout=0.5) as beats:
            async for beat in beats:
                assert beat.is_ok()
                break
            assert beats.is_alive
            proxy.stop()
            began = time.monotonic()
            async for beat in beats:
                if beat.is_err():
                    break
            assert time.monotonic() - began < 0.2 + 0.5 + 0.2
            assert beat.unwrap_err().is_unavailable
            assert not beats.is_alive
            await asyncio.sleep(1)
            proxy.go_on()
            await _until(lambda: asyncio.sleep(0, beats.is_alive), "it is there again", within=3)
            proxy.stop()
            waiting = asyncio.create_task(_all(beats))
            await asyncio.sleep(0.1)
            began = time.monotonic()
        assert time.monotonic() - began < 0.1
        await asyncio.wait_for(waiting, 1)
        assert not [task for task in asyncio.all_tasks() if task.get_name() == "polarway.heartbeat"]
        proxy.go_on()
        async for beat in heartbeat(client, 0.05):
            assert beat.is_ok()
            break
    with pytest.raises(ValueError, match="above 0"):
        heartbeat(client, 0)


async def _all(beats: Heartbeat) -> int:
    return len([beat async for beat in beats])


def test_polars_takes_them(blocking: PolarwayClient, rows: Path) -> None:
    """As frames."""
    frame = blocking.raising.read_parquet(rows).select("n", "text").collect().unwrap().to_polars()
    assert frame.equals(polars.DataFrame(ROWS.select(["n", "text"])))
