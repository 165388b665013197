"""Uploads against real servers: under handles, and into tables."""

from __future__ import annotations

import asyncio
import datetime
import subprocess
import sys
import textwrap
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

import pandas
import polars
import pyarrow
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from polarway import AsyncPolarwayClient, Error, Ok, PolarwayClient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# They tell their types in part only.
pa: Any = pyarrow
pd: Any = pandas

few = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

ROWS = pa.table(
    {
        "n": pa.array([1, 2, None], pa.int32()),
        "zone": pa.array([0, None, 1_764_500_400_123_456], pa.timestamp("us", "Europe/Berlin")),
        "naive": pa.array([None, 5, 1_764_500_400_123_456_789], pa.timestamp("ns")),
        "decimal": pa.array([Decimal("1.50"), None, Decimal("-12345678901234.5678")], pa.decimal128(30, 4)),
        "list": [[1, None], [], None],
        "struct": [{"a": 1, "b": ["x"]}, None, {"a": None, "b": None}],
        "deep": [[{"k": "v"}], None, [None, {"k": None}]],
        "word": pa.array(["p", None, "p"]).dictionary_encode(),
        "bytes": [b"\x00\xff", None, b""],
        "day": pa.array([None, 20_000, -1], pa.date32()),
        "bool": [True, None, False],
        'it\'s "odd"': ["ü", "", None],
    }
)


@pytest.fixture
def name(blocking: PolarwayClient) -> Iterator[str]:
    """A table that nobody else has."""
    found = f"uploaded_{uuid.uuid4().hex}"
    yield found
    blocking.raising.query(f"DROP TABLE IF EXISTS {found}")


def _values(table: Any) -> list[dict[str, Any]]:  # noqa: ANN401
    rows: list[dict[str, Any]] = table.to_pylist()
    return sorted(rows, key=repr)


def _same(found: Any, wanted: Any) -> None:  # noqa: ANN401
    """The same values, and types that tell as much."""
    assert found.column_names == wanted.column_names
    assert _values(found) == _values(wanted)
    for name in ("zone", "decimal", "day", "naive"):
        if name in wanted.column_names:
            assert found.schema.field(name).type == wanted.schema.field(name).type


async def test_row_36_arrow_data_round_trips(client: AsyncPolarwayClient, name: str) -> None:
    """Null, time zones, decimals, nested values, dictionaries: under a handle, and in a table."""
    for data in (ROWS, ROWS.to_batches()[0], ROWS.to_reader(), iter(ROWS.to_batches(max_chunksize=1))):
        async with (await client.from_arrow(data)).unwrap() as handle:
            assert handle.columns == ROWS.column_names
            assert (await handle.count()) == Ok(3)
            _same((await handle.collect()).unwrap().to_arrow(), ROWS)
    handle = await client.raising.from_arrow(ROWS, table=name)
    _same((await handle.collect()).unwrap().to_arrow(), ROWS)
    again = await client.raising.from_arrow((await handle.collect()).unwrap(), table=name, mode="append")
    assert (await again.count()) == Ok(6)


def test_row_36_arrow_data_round_trips_for_code_that_blocks(blocking: PolarwayClient, name: str) -> None:
    """The same."""
    for data in (ROWS, ROWS.to_batches()[0], iter(ROWS.to_batches(max_chunksize=1))):
        with blocking.from_arrow(data).unwrap() as handle:
            _same(handle.collect().unwrap().to_arrow(), ROWS)
            with blocking.from_arrow(handle.collect().unwrap()).unwrap() as again:
                _same(again.collect().unwrap().to_arrow(), ROWS)
    _same(blocking.raising.from_arrow(ROWS, table=name).collect().unwrap().to_arrow(), ROWS)


def test_row_36_frames_round_trip(blocking: PolarwayClient) -> None:
    """Of pandas with its index, nulls, zones, categories and decimals; of Polars, also lazy."""
    frame = pd.DataFrame(
        {
            "int": pd.Series([1, None, 3], dtype="Int64"),
            "zone": pd.to_datetime(pd.Series(["2026-03-29", None, "2026-10-25"]), utc=True).dt.tz_convert("Asia/Tokyo"),
            "word": pd.Categorical(["a", None, "b"]),
            "decimal": [Decimal("1.5"), None, Decimal("2.25")],
            "list": [[1, 2], None, []],
            "float": [1.5, float("nan"), -0.0],
        }
    ).set_index(pd.Index([7, 8, 9], name="key"))
    with blocking.from_pandas(frame).unwrap() as handle:
        assert handle.columns == ["key", *frame.columns]
        found = handle.collect().unwrap().to_dicts()
        assert [row["key"] for row in found] == [7, 8, 9]
        assert [row["zone"] for row in found] == [None if at is pd.NaT else at for at in frame["zone"]]
        assert found[1] == dict.fromkeys(found[1]) | {"key": 8}
        assert [row["decimal"] for row in found] == [Decimal("1.5"), None, Decimal("2.25")]
        assert [row["word"] for row in found] == ["a", None, "b"]
        assert "Asia/Tokyo" in handle.schema["zone"]
    lazy = polars.from_arrow(ROWS.drop_columns(["word"]))
    assert isinstance(lazy, polars.DataFrame)
    for data in (lazy, lazy.lazy()):
        with blocking.from_polars(data).unwrap() as handle:
            assert _values(handle.collect().unwrap().to_arrow()) == _values(lazy.to_arrow())
    assert blocking.from_polars(lazy.lazy().select("missing")).unwrap_err().kind == "EXECUTION"


values = st.fixed_dictionaries(
    {
        "int": st.none() | st.integers(-(2**63), 2**63 - 1),
        "text": st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
        "at": st.none() | st.datetimes(datetime.datetime(1700, 1, 1), datetime.datetime(2200, 1, 1)),
        "zone": st.none() | st.datetimes(timezones=st.just(datetime.timezone.utc)),
        "decimal": st.none() | st.decimals(-(10**9), 10**9, places=3),
        "list": st.none() | st.lists(st.none() | st.integers(0, 9), max_size=3),
        "struct": st.none()
        | st.fixed_dictionaries({"a": st.none() | st.booleans(), "b": st.lists(st.dates(), max_size=2)}),
        "float": st.none() | st.floats(allow_nan=False),
    }
)
FULL = {
    "int": 1,
    "text": "a",
    "at": datetime.datetime(2026, 1, 1),
    "zone": datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc),
    "decimal": Decimal("1.001"),
    "list": [1],
    "struct": {"a": True, "b": [datetime.date(2026, 1, 1)]},
    "float": 0.5,
}


@few
@given(st.lists(values, max_size=5))
def test_row_36_records_round_trip(blocking: PolarwayClient, rows: list[dict[str, object]]) -> None:
    """Whatever they are."""
    wanted = [{"key": place, **row} for place, row in enumerate([FULL, *rows])]
    with blocking.from_records(wanted).unwrap() as handle:
        assert handle.sort("key").collect().unwrap().to_dicts() == wanted


async def test_row_36_bad_rows_of_json_are_quarantined_with_a_count(client: AsyncPolarwayClient, name: str) -> None:
    """The first of them are held; the others are uploaded."""
    lines = [f'{{"n": {number}, "at": "2026-11-30T10:00:00Z"}}' for number in range(5000)]
    for number in range(0, 5000, 10):
        lines[number] = '{"n": "x"}' if number % 20 else "nonsense"
    handle = (await client.from_json(lines, schema={"n": "BIGINT", "at": "TIMESTAMPTZ"}, keep_rejected=3)).unwrap()
    assert handle.rejected_count == 500
    assert [(rejected.number, rejected.text) for rejected in handle.rejected] == [
        (1, "nonsense"),
        (11, "{'n': 'x'}"),
        (21, "nonsense"),
    ]
    assert (await handle.count()) == Ok(4500)
    kept = await client.raising.from_json("\n".join(lines), table=name)
    assert (kept.rejected_count, await kept.count()) == (500, Ok(4500))
    error = (await client.from_json("a\nb")).unwrap_err()
    assert error.kind == "TYPE_MISMATCH"
    error = (await client.from_json(lines, on_error="fail", table=f"{name}_2")).unwrap_err()
    assert "row 1 does not fit" in error.message
    assert (await client.schema(f"{name}_2")).unwrap_err().kind == "TABLE_NOT_FOUND"


def test_row_36_uploads_are_sent_in_chunks(servers: list[str], name: str) -> None:
    """Of 400 MB no more than a part is held, whether they come from an iterable or lie in one frame."""
    program = f"""
        import resource
        import pyarrow
        from polarway import PolarwayClient

        words = pyarrow.array(["x" * 1000] * 1000)

        def batches():
            for number in range(400):
                yield pyarrow.record_batch({{"n": pyarrow.array([number] * 1000), "text": words}})

        with PolarwayClient({servers!r}) as client:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            rows = client.raising.from_arrow(batches(), table={name!r}).count().unwrap()
            grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
            print(rows, grown // 1024)
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    rows, grown = map(int, ended.stdout.split() or pytest.fail(ended.stderr))
    assert rows == 400_000
    assert grown < 150


def test_row_36_what_is_uploaded_goes_with_its_handle(servers: list[str]) -> None:
    """Seen by others while it is there, through any scheduler."""
    with PolarwayClient(servers[0]) as one, PolarwayClient(servers[-1]) as other:
        handle = one.raising.from_records([{"a": 1}, {"a": 2}], ttl=5.0)
        sql = f"SELECT sum(a) FROM handle.{handle.id}"
        assert other.query(sql).unwrap().texts() == [["3"]]
        longer = handle.filter("a > 1").handle().unwrap()
        handle.close()
        assert longer.collect().unwrap().texts() == [["2"]]
        longer.close()
        assert other.query(sql).unwrap_err().kind == "NOT_FOUND"
    with PolarwayClient(servers) as one:
        left = one.raising.from_arrow(ROWS)
    with PolarwayClient(servers) as one:
        assert one.query(f"SELECT 1 FROM handle.{left.id}").unwrap_err().kind == "NOT_FOUND"


def test_row_36_a_source_that_ends_early_leaves_nothing(blocking: PolarwayClient, name: str) -> None:
    """Neither a table nor rows in one."""

    def rows(good: int) -> Iterator[dict[str, int]]:
        for number in range(good):
            yield {"n": number}
        raise OSError("the disk is gone")

    error = blocking.from_records(rows(100_000), schema={"n": "BIGINT"}, table=name).unwrap_err()
    assert (error.kind, type(error.__cause__)) == ("EXECUTION", OSError)
    assert blocking.schema(name).unwrap_err().kind == "TABLE_NOT_FOUND"
    assert blocking.from_records(rows(100_000), schema={"n": "BIGINT"}).unwrap_err().kind == "EXECUTION"
    blocking.raising.from_records([{"n": 1}], table=name)
    assert blocking.append(name, rows(100_000)).unwrap_err().kind == "EXECUTION"
    assert blocking.table(name).unwrap().count() == Ok(1)


async def test_row_36_a_cancelled_upload_leaves_nothing(client: AsyncPolarwayClient, name: str) -> None:
    """And asks for no further rows."""
    begun, taken = threading.Event(), 0

    def rows() -> Iterator[dict[str, int]]:
        nonlocal taken
        while True:
            taken += 1
            if taken > 50_000:
                begun.set()
            yield {"n": taken}

    upload = asyncio.create_task(client.from_records(rows(), schema={"n": "BIGINT"}, table=name))
    await asyncio.to_thread(begun.wait, 60)
    upload.cancel()
    with pytest.raises(asyncio.CancelledError):
        await upload

    async def still() -> bool:
        before = taken
        await asyncio.sleep(0.2)
        return taken == before

    for _ in range(100):
        if await still():
            break
    else:
        pytest.fail("rows are still taken")
    assert (await client.schema(name)).unwrap_err().kind == "TABLE_NOT_FOUND"


def test_row_37_a_table_is_seen_through_the_other_scheduler(servers: list[str], name: str) -> None:
    """At once, with its types; and what is put to it there is seen here."""
    with PolarwayClient(servers[0]) as one, PolarwayClient(servers[-1]) as other:
        one.raising.from_arrow(ROWS, table=name)
        _same(other.raising.table(name).collect().unwrap().to_arrow(), ROWS)
        assert f"public.{name}" in other.raising.tables()
        assert other.append(name, ROWS) == Ok(3)
        assert one.raising.table(name).count() == Ok(6)
    with PolarwayClient(servers) as later:
        assert later.raising.table(name).count() == Ok(6)


def test_row_37_concurrent_appends_give_the_exact_row_count(servers: list[str], name: str) -> None:
    """Each row of each call once."""
    calls, size = 12, 700
    with PolarwayClient(servers) as client:
        client.raising.from_records([], schema={"n": "BIGINT", "call": "BIGINT"}, table=name)

    def append(call: int) -> int:
        with PolarwayClient(servers[call % len(servers)]) as client:
            one = client.raising.append(name, [{"n": row, "call": call} for row in range(size)])
            frame = polars.DataFrame({"n": range(size, 2 * size), "call": [call] * size})
            return one + client.raising.append(name, frame)

    with ThreadPoolExecutor(calls) as pool:
        assert list(pool.map(append, range(calls))) == [2 * size] * calls
    with PolarwayClient(servers) as client:
        sql = f"SELECT count(*), count(DISTINCT n * 1000 + call), min(n), max(n) FROM {name}"
        assert client.raising.query(sql).texts() == [
            [str(number) for number in (24 * size, 24 * size, 0, 2 * size - 1)]
        ]


def test_row_37_modes_say_what_is_done_about_a_table_that_is_there(blocking: PolarwayClient, name: str) -> None:
    """Or is not."""
    upload = partial(blocking.from_records, [{"n": 1}], table=name)
    assert upload(mode="append").unwrap_err().kind == "TABLE_NOT_FOUND"
    assert upload(mode="create_append").unwrap().count() == Ok(1)
    assert upload(mode="create").unwrap_err().kind == "ALREADY_EXISTS"
    assert upload(mode="create_append").unwrap().count() == Ok(2)
    assert upload(mode="append").unwrap().count() == Ok(3)
    assert upload(mode="replace").unwrap().count() == Ok(1)
    replaced = blocking.from_records([{"other": "x"}], table=name, mode="replace").unwrap()
    assert replaced.collect().unwrap().to_dicts() == [{"other": "x"}]
    replaced.close()
    assert blocking.table(name).unwrap().count() == Ok(1)


async def test_row_37_appended_rows_fit_the_table_or_none_is_appended(client: AsyncPolarwayClient, name: str) -> None:
    """Records take its types."""
    schema = {"id": "INT", "price": "DECIMAL(18, 4)", "at": "TIMESTAMP(6)"}
    await client.raising.from_records([], schema=schema, table=name)
    good = [{"id": 1, "price": 2, "at": "2026-11-30"}, {"id": 2, "price": "1.25"}]
    assert await client.append(name, good) == Ok(2)
    for bad in ({"id": 2**40}, {"price": "1.23456"}, {"more": 1}):
        error = (await client.append(name, [*good, bad])).unwrap_err()
        assert error.kind == "TYPE_MISMATCH"
        assert "row 3 does not fit" in error.message
    quarantined = (await client.from_records([*good, {"more": 1}], table=name, mode="append")).unwrap()
    assert (quarantined.rejected_count, await quarantined.count()) == (1, Ok(4))
    found = (await client.raising.table(name)).filter("at IS NOT NULL").limit(1)
    assert (await found.collect()).unwrap().to_dicts() == [
        {"id": 1, "price": Decimal("2.0000"), "at": datetime.datetime(2026, 11, 30)}
    ]


def test_row_37_tables_of_a_schema(blocking: PolarwayClient) -> None:
    """By `schema.name`, as it is."""
    schema = f"s_{uuid.uuid4().hex}"
    blocking.raising.query(f"CREATE SCHEMA {schema}")
    name = f"{schema}.It's odd"
    try:
        assert blocking.raising.from_arrow(ROWS, table=name).count() == Ok(3)
        assert blocking.append(name, ROWS.to_batches()) == Ok(3)
        assert blocking.raising.table(name).count() == Ok(6)
    finally:
        blocking.raising.query(f"DROP SCHEMA {schema} CASCADE")


def test_many_uploads_at_once(blocking: PolarwayClient) -> None:
    """Of one client, from many threads."""

    def upload(number: int) -> list[list[str]]:
        with blocking.raising.from_records([{"n": number}] * 10) as handle:
            return handle.group_by("n").agg(rows="count(*)").collect().unwrap().texts()

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(upload, range(40))) == [[[str(number), "10"]] for number in range(40)]


async def test_clients_that_are_not_connected_say_so(servers: list[str]) -> None:
    """Before and after."""
    asynchronous, blocking = AsyncPolarwayClient(servers), PolarwayClient(servers)
    tries: list[Callable[[], Any]] = [
        lambda: blocking.from_arrow(ROWS),
        lambda: blocking.append("t", ROWS),
        lambda: blocking.write_csv("SELECT 1", "a"),
    ]
    assert [attempt().unwrap_err().kind for attempt in tries] == ["DRAINING"] * 3
    assert (await asynchronous.from_arrow(ROWS)).unwrap_err().kind == "DRAINING"
    assert (await asynchronous.append("t", ROWS)).unwrap_err().kind == "DRAINING"
    with pytest.raises(Error, match="not connected"):
        await asynchronous.raising.from_json("{}")
