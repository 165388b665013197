"""What type checkers have to see of uploads and of writing; like typing_checks.py, only read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import assert_type

from polarway import (
    AsyncHandle,
    AsyncPolarwayClient,
    Error,
    Handle,
    PolarwayClient,
    Rejected,
    Result,
    Table,
    Written,
)

if TYPE_CHECKING:
    import pandas
    import polars


async def of_asyncio(client: AsyncPolarwayClient, frame: pandas.DataFrame, lazy: polars.LazyFrame) -> None:
    assert_type(await client.from_arrow(frame), Result[AsyncHandle, Error])
    assert_type(await client.from_pandas(frame, index=True, table="t", mode="replace"), Result[AsyncHandle, Error])
    assert_type(await client.raising.from_polars(lazy, ttl=1), AsyncHandle)
    handle = await client.raising.from_records([{"a": 1}], schema={"a": "BIGINT"}, on_error="fail")
    assert_type(handle.rejected, tuple[Rejected, ...])
    assert_type(handle.rejected_count, int)
    assert_type(await client.from_json(['{"a": 1}', b"[]", {"a": 1}], keep_rejected=5), Result[AsyncHandle, Error])
    assert_type(await client.append("t", [{"a": 1}]), Result[int, Error])
    assert_type(await client.raising.append("t", frame), int)
    assert_type(await client.write_parquet(handle, "out/", partition_by="a"), Result[Written, Error])
    assert_type(await client.raising.write_csv("SELECT 1", "a.csv", options={"format.has_header": False}), Written)
    assert_type(await handle.limit(5).write_json("a.json"), Result[Written, Error])
    assert_type(await client.query("SELECT 1", progress=True), Result[Table, Error])
    await client.from_arrow(frame, mode="upsert")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await client.from_records([{}], on_error="ignore")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await client.from_json(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def of_threads(client: PolarwayClient, frame: polars.DataFrame) -> None:
    assert_type(client.from_polars(frame), Result[Handle, Error])
    assert_type(client.raising.from_json('{"a": 1}'), Handle)
    assert_type(client.append("t", frame), Result[int, Error])
    written = client.raising.table("t").write_parquet("out/", partition_by=["a", "b"])
    assert_type(written, Result[Written, Error])
    assert_type(written.unwrap().files, int)
    assert_type(client.raising.query("SELECT 1", progress=False), Table)
    client.write_parquet(5, "out/")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
