"""What type checkers have to see of handles and verbs; like typing_checks.py, only read."""

from __future__ import annotations

from typing_extensions import assert_type

from polarway import (
    AsyncHandle,
    AsyncPolarwayClient,
    AsyncQuery,
    AsyncRows,
    Error,
    Expr,
    Handle,
    PolarwayClient,
    Query,
    Result,
    Rows,
    Table,
    col,
    heartbeat,
    lit,
)


async def of_asyncio(client: AsyncPolarwayClient) -> None:
    assert_type(await client.handle("SELECT 1"), Result[AsyncHandle, Error])
    assert_type(await client.raising.read_parquet("a", columns=["x"], ttl=1), AsyncHandle)
    handle = await client.raising.table("ticks")
    assert_type(handle.columns, list[str])
    assert_type(handle.schema, dict[str, str])
    query = handle.filter(col("a") > 1).join(handle, "a", how="semi").group_by("a").agg(n="count(*)")
    assert_type(query, AsyncQuery)
    assert_type(await query.collect(), Result[Table, Error])
    assert_type(await query.stream(), Result[AsyncRows, Error])
    assert_type(await query.count(), Result[int, Error])
    assert_type(await query.handle(), Result[AsyncHandle, Error])
    assert_type(await client.batch_read(["a"]), list[Result[AsyncHandle, Error]])
    assert_type(await client.batch_collect([handle, query]), list[Result[Table, Error]])
    assert_type(await client.raising.batch_read(["a"]), list[AsyncHandle])
    async with heartbeat(client, 1.0) as beats:
        async for beat in beats:
            assert_type(beat, Result[float, Error])
    async with handle as same:
        assert_type(same, AsyncHandle)
    handle.join(handle, "a", how="nearest")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    handle.with_columns(a=[1])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def of_threads(client: PolarwayClient) -> None:
    assert_type(client.handle("SELECT 1"), Result[Handle, Error])
    assert_type(client.raising.read_csv("a"), Handle)
    query = client.raising.table("ticks").sort("a", nulls="last").limit(1)
    assert_type(query, Query)
    assert_type(query.stream(), Result[Rows, Error])
    assert_type(query.handle(), Result[Handle, Error])
    assert_type(client.batch_collect([query]), list[Result[Table, Error]])
    assert_type(client.raising.batch_collect([query]), list[Table])


def of_expressions() -> None:
    assert_type(col("a") == 1, Expr)
    assert_type((1 + col("a")) * lit(2.5) != None, Expr)  # noqa: E711
    assert_type(~(col("a").is_in([1, "x"]) & (True | col("b"))), Expr)
    col("a") + object()  # type: ignore[operator]  # pyright: ignore[reportOperatorIssue, reportUnusedExpression]
