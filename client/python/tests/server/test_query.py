"""Statements and their results, against real servers."""

from __future__ import annotations

import asyncio
import datetime
import decimal
import json
import math
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import polars
import pyarrow as pa
import pytest
from watching import endless, runs, script, sockets, sockets_are, until

from polarway import (
    AsyncPolarwayClient,
    Batch,
    CircuitBreaker,
    CircuitOpen,
    Err,
    Error,
    Ok,
    PolarwayClient,
    traverse_async,
)
from polarway.async_client import AsyncPolarwayClient as AsGuideImports

if TYPE_CHECKING:
    from polarway import Table
    from polarway.parameters import Value

MANY = "SELECT value AS n, 'row ' || value AS text FROM generate_series(1, {rows})"


async def test_row_38_parameters_are_values_and_never_sql(client: AsyncPolarwayClient) -> None:
    """By position and by name, of every type that Python has a literal for."""
    berlin = datetime.timezone(datetime.timedelta(hours=2))
    values: dict[str, Value] = {
        "text": 'it\'s \\ "?" $1 é',
        "bytes": b"\x00\xff'",
        "truth": True,
        "small": -(2**63),
        "large": 2**64 - 1,
        "huge": 10**30,
        "float": 0.1 + 0.2,
        "decimal": decimal.Decimal("-12.340"),
        "moment": datetime.datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=berlin),
        "local": datetime.datetime(2026, 1, 2, 3, 4, 5, 678901),
        "date": datetime.date(1900, 2, 28),
        "time": datetime.time(23, 59, 59, 1),
        "duration": datetime.timedelta(days=-1, microseconds=1),
        "nothing": None,
    }
    table = (await client.query("SELECT " + ", ".join(f"${name} AS {name}" for name in values), values)).unwrap()
    assert table.to_dicts() == [values]
    assert table.to_arrow().schema.field("decimal").type == pa.decimal128(5, 3)
    added = "SELECT ? + ? AS sum, ? AS text"
    assert (await client.raising.query(added, [1, 2, "x"])).to_dicts() == [{"sum": 3, "text": "x"}]
    async with await client.raising.stream("SELECT value FROM generate_series(1, ?)", [3]) as rows:
        batches = [batch.unwrap() async for batch in rows]
    assert sum(len(batch) for batch in batches) == 3


async def test_parameters_that_do_not_fit_are_errors(client: AsyncPolarwayClient) -> None:
    """Before and after they are sent."""
    missing = (await client.query("SELECT ?, ?", [1])).unwrap_err()
    assert (missing.kind, missing.place) == ("PLAN", (1, 11))
    for values in ([object()], "text", [decimal.Decimal("NaN")], {"a": [1]}):
        refused = (await client.query("SELECT 1", values)).unwrap_err()  # type: ignore[arg-type]
        assert refused.kind == "TYPE_MISMATCH"


async def test_row_38_a_result_is_a_table(client: AsyncPolarwayClient) -> None:
    """Length, truth, iteration, columns."""
    result = await client.query(MANY.format(rows=3) + " ORDER BY n")
    table = result.unwrap()
    assert len(table) == 3
    assert table
    assert table.columns == ["n", "text"]
    assert list(table) == [{"n": 1, "text": "row 1"}, {"n": 2, "text": "row 2"}, {"n": 3, "text": "row 3"}]
    assert table.texts() == [["1", "row 1"], ["2", "row 2"], ["3", "row 3"]]
    assert table.route in {"direct", "staged", "metadata"}
    assert table.nbytes > 0
    assert table.took > 0
    assert "row 3" in repr(table)
    assert "3 rows, 2 columns" in repr(table)
    empty = (await client.query(MANY.format(rows=3) + " WHERE value > 5")).unwrap()
    assert len(empty) == 0
    assert not empty
    assert empty.columns == ["n", "text"]
    assert list(empty) == []


async def test_row_38_values_keep_their_types(client: AsyncPolarwayClient) -> None:
    """Nulls, times with zones, decimals, lists, structs, text of any sort."""
    table = await client.raising.query("""
        SELECT NULL::bigint AS nothing,
               TIMESTAMP '2026-11-30 01:02:03' AT TIME ZONE 'UTC' AS at,
               12.50::decimal(10, 2) AS price,
               [1, 2, NULL] AS numbers,
               named_struct('a', 1, 'b', 'x') AS pair,
               'ü | <b> \U0001f600' AS text,
               'nan'::double AS nan
    """)
    [row] = list(table)
    nan = row.pop("nan")
    assert math.isnan(nan)
    assert row == {
        "nothing": None,
        "at": datetime.datetime(2026, 11, 30, 1, 2, 3, tzinfo=datetime.timezone.utc),
        "price": decimal.Decimal("12.50"),
        "numbers": [1, 2, None],
        "pair": {"a": 1, "b": "x"},
        "text": "ü | <b> \U0001f600",
    }
    assert "&lt;b&gt;" in table._repr_html_()
    assert "<b>" not in table._repr_html_()


async def test_row_38_other_libraries_take_it_as_it_is(client: AsyncPolarwayClient) -> None:
    """PyCapsules of a table, of a batch and of a schema."""
    table = await client.raising.query(MANY.format(rows=20_000) + " ORDER BY n")
    arrow = pa.table(table)
    assert arrow.num_rows == 20_000
    assert arrow.equals(table.to_arrow())
    assert pa.schema(table) == arrow.schema  # type: ignore[arg-type]
    assert polars.DataFrame(table)["n"].sum() == 200_010_000
    assert table.to_polars().equals(polars.DataFrame(arrow))
    assert table.to_pandas()["n"].sum() == 200_010_000
    # The columns outlive the table.
    del table
    assert arrow["text"][19_999].as_py() == "row 20000"


async def test_row_35_a_stream_gives_batches_as_they_come(client: AsyncPolarwayClient) -> None:
    """All rows, in order, in more than one batch."""
    rows = (await client.stream(MANY.format(rows=100_000) + " ORDER BY n")).unwrap()
    batches: list[Batch] = [result.unwrap() async for result in rows]
    assert len(batches) > 1
    assert sum(len(batch) for batch in batches) == 100_000
    assert [batch.to_arrow()["n"][0].as_py() for batch in batches] == sorted(
        batch.to_arrow()["n"][0].as_py() for batch in batches
    )
    assert pa.record_batch(batches[0]).num_rows == len(batches[0])
    assert (await rows.next()) == Ok(None)


async def test_row_35_an_error_in_a_stream_is_its_last_item(client: AsyncPolarwayClient) -> None:
    """A cast that fails late."""
    sql = "SELECT CAST(CASE WHEN value = 400000 THEN 'x' ELSE '1' END AS int) FROM generate_series(1, 400000)"
    opened = await client.stream(sql)
    results = [opened] if opened.is_err() else [result async for result in opened.unwrap()]
    assert results[-1].is_err()
    assert all(result.is_ok() for result in results[:-1])


async def test_row_31_errors_are_values_with_kind_place_and_hint(client: AsyncPolarwayClient) -> None:
    """What a user can act on."""
    match (await client.query("SELECT\n  nope FROM (SELECT 1 AS one)")).variant:
        case Err(error):
            assert error.kind == "COLUMN_NOT_FOUND"
            assert error.hint
            assert not error.is_retryable
            assert not error.is_unavailable
        case Ok(table):
            pytest.fail(f"there is no such column: {table}")
    syntax = (await client.query("SELEKT 1")).unwrap_err()
    assert (syntax.kind, syntax.place) == ("SYNTAX", (1, 1))
    with pytest.raises(Error, match="TABLE_NOT_FOUND"):
        await client.raising.query("SELECT * FROM nowhere")
    chained = await client.query("SELECT * FROM nowhere")
    with pytest.raises(Exception, match="nowhere") as raised:
        chained.unwrap()
    assert raised.value.__cause__ == chained.unwrap_err()


async def test_what_there_is_can_be_asked_for(client: AsyncPolarwayClient) -> None:
    """Tables, columns, plans, the time of a ping."""
    name = f"v_{time.time_ns()}"
    await client.raising.query(f"CREATE VIEW {name} AS SELECT 1 AS one, 'a' AS letter")
    assert f"public.{name}" in (await client.tables()).unwrap()
    assert list((await client.schema(name)).unwrap()) == ["one", "letter"]
    assert "Projection" in (await client.explain(f"SELECT * FROM {name}")).unwrap()
    assert "summary" in (await client.explain(f"SELECT * FROM {name}", analyze=True)).unwrap()
    assert 0 < (await client.ping()).unwrap() < 60
    await client.raising.query(f"DROP VIEW {name}")
    assert (await client.schema(name)).unwrap_err().kind == "TABLE_NOT_FOUND"


async def test_settings_hold_for_the_session(client: AsyncPolarwayClient, servers: list[str]) -> None:
    """Another client does not see them."""
    await client.raising.query("SET polarway.timeout = '123s'")
    shown = await client.raising.query("SHOW polarway.timeout")
    assert "123s" in shown.texts()[0][1]
    async with AsyncPolarwayClient(servers) as other:
        assert "123s" not in (await other.raising.query("SHOW polarway.timeout")).texts()[0][1]


async def test_row_33_a_cancelled_await_cancels_the_query(client: AsyncPolarwayClient) -> None:
    """The cluster stops working on it."""
    sql, marker = endless()
    task = asyncio.create_task(client.query(sql))
    await runs(marker)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    await runs(marker, 0)


async def test_row_33_a_closed_stream_cancels_its_query(client: AsyncPolarwayClient) -> None:
    """Also one that is left early by an exception."""
    sql = MANY.format(rows=50_000_000)
    with pytest.raises(ZeroDivisionError):
        async with (await client.stream(sql)).unwrap() as rows:
            async for _ in rows:
                raise ZeroDivisionError
    state = (await rows.progress()).unwrap().unwrap().state
    assert state in {"cancelled", "running"}

    async def ended() -> bool:
        return (await rows.progress()).unwrap().unwrap().state == "cancelled"

    await until(ended, "it has stopped")
    assert (await rows.next()) == Ok(None)


async def test_row_33_a_hundred_contexts_that_raise_leave_no_socket(servers: list[str]) -> None:
    """Counted in this process."""

    before = sockets()
    for _ in range(100):
        with pytest.raises(ZeroDivisionError):
            async with AsyncPolarwayClient(servers) as client:
                assert (await client.query("SELECT 1")).is_ok()
                raise ZeroDivisionError

    await sockets_are(before)


async def test_many_at_once_keep_the_loop_free(client: AsyncPolarwayClient) -> None:
    """Hundreds of awaits, in the order in which they were asked for."""

    async def ask(number: int) -> Ok[str] | Err[Error]:
        return (await client.query(f"SELECT {number} AS n")).map(lambda table: table.texts()[0][0]).variant

    answers = await traverse_async(range(300), ask, limit=100)
    assert answers.unwrap() == [str(number) for number in range(300)]


async def test_row_41_a_breaker_opens_when_nobody_is_there_and_not_for_bad_sql(client: AsyncPolarwayClient) -> None:
    """It stands around calls as they are."""
    breaker = CircuitBreaker(threshold=2, timeout=60.0)
    for _ in range(5):
        assert (await breaker.try_call(client.query, "SELEKT 1")).unwrap_err().kind == "SYNTAX"  # type: ignore[union-attr]
    nobody = AsyncPolarwayClient("127.0.0.1:1")
    for _ in range(2):
        error = (await breaker.try_call(nobody.connect)).unwrap_err()
        assert isinstance(error, Error)
        assert error.is_unavailable
    assert isinstance((await breaker.try_call(nobody.connect)).unwrap_err(), CircuitOpen)


async def test_a_client_that_is_not_connected_says_so(servers: list[str]) -> None:
    """Before, and after."""
    client = AsGuideImports(servers)
    assert (await client.query("SELECT 1")).unwrap_err().hint
    assert (await client.connect()).is_ok()
    assert (await client.connect()).is_ok()
    assert (await client.query("SELECT 1")).is_ok()
    await client.close()
    assert (await client.query("SELECT 1")).is_err()
    bad = await AsGuideImports("nowhere:port").connect()
    assert bad.unwrap_err().kind == "CONFIGURATION"
    with pytest.raises(Error, match="cannot reach"):
        async with AsGuideImports("127.0.0.1:1"):
            pass


def test_the_blocking_client_is_the_same(blocking: PolarwayClient) -> None:
    """Query, stream, errors."""
    table: Table = blocking.query(MANY.format(rows=3)).unwrap()
    assert len(table) == 3
    with blocking.raising.stream(MANY.format(rows=30_000)) as rows:
        assert sum(len(result.unwrap()) for result in rows) == 30_000
    assert blocking.query("SELEKT 1").unwrap_err().kind == "SYNTAX"
    assert blocking.ping().is_ok()
    threads = [threading.Thread(target=lambda: blocking.raising.query("SELECT 1")) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


async def test_row_33_ctrl_c_ends_a_blocking_call(servers: list[str]) -> None:
    """With KeyboardInterrupt, and the query with it."""
    sql, marker = endless()
    process = script(
        servers,
        f"""
        with PolarwayClient(os.environ["POLARWAY_TEST_SERVERS"]) as client:
            client.query({sql!r})
        """,
    )
    await runs(marker)
    process.send_signal(signal.SIGINT)
    _, told = await asyncio.to_thread(process.communicate, timeout=60)
    assert process.returncode == -signal.SIGINT
    assert "KeyboardInterrupt" in told

    await runs(marker, 0)


def test_a_forked_process_has_threads_of_its_own(servers: list[str]) -> None:
    """The parent's clients go on, and the child makes its own."""
    process = script(
        servers,
        """
        import json
        servers = os.environ["POLARWAY_TEST_SERVERS"]
        with PolarwayClient(servers) as client:
            client.raising.query("SELECT 1")
            child = os.fork()
            with PolarwayClient(servers) as own:
                told = own.raising.query("SELECT 2").texts()
            if child == 0:
                os._exit(0 if told == [["2"]] else 1)
            _, status = os.waitpid(child, 0)
            print(json.dumps([status, client.raising.query("SELECT 3").texts()]))
        """,
    )
    output, told = process.communicate(timeout=60)
    assert process.returncode == 0, told
    assert json.loads(output) == [0, [["3"]]]


def test_importing_is_quick() -> None:
    """Nothing heavy comes with it: the libraries that results can become are imported when they are asked for."""
    heavy = ("pyarrow", "polars", "pandas", "numpy")
    program = f"import sys, polarway; print([name for name in {heavy} if name in sys.modules])"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert told.stdout == "[]\n"
