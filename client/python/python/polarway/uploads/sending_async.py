"""Uploads of an `AsyncPolarwayClient`, from the first look at the rows to the last one sent."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from polarway._calls import awaited
from polarway._repeatable import never
from polarway.result import Err, Ok, Result
from polarway.uploads._columns import columns_query, columns_told
from polarway.uploads._upload import Stop

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from polarway._keeper_async import AsyncKeeper
    from polarway._leases import Opened
    from polarway._polarway import NativeClient
    from polarway._traffic import Traffic
    from polarway.error import Error
    from polarway.table import Table
    from polarway.uploads._pyarrow import Schema
    from polarway.uploads._rejections import Rejections
    from polarway.uploads._upload import Source, TableUpload, Upload

T = TypeVar("T")


async def to_handle(keeper: AsyncKeeper, upload: Upload) -> Result[tuple[Opened, Rejections], Error]:
    """Rows under a handle of their own, and what was left out of them."""
    return await _sent(upload, None, lambda stream: keeper.upload(stream, upload.ttl))


async def to_table(
    native: NativeClient,
    traffic: Traffic,
    query: Callable[[str], Awaitable[Result[Table, Error]]],
    upload: TableUpload,
) -> Result[tuple[int, Rejections], Error]:
    """Rows into a table: how many they are, and what was left out of them."""
    target = upload.target
    columns: Result[Schema | None, Error] = (
        columns_told(target, await query(columns_query(target))) if upload.asks_columns() else Ok(None)
    )
    if isinstance(columns, Err):
        return columns

    def send(stream: object) -> Awaitable[Result[int, Error]]:
        ingesting = partial(native.ingest, stream, target.schema, target.table, target.mode)
        return awaited(traffic.call(ingesting, never))

    return await _sent(upload, columns.unwrap(), send)


async def _sent(
    upload: Upload, columns: Schema | None, send: Callable[[object], Awaitable[Result[T, Error]]]
) -> Result[tuple[T, Rejections], Error]:
    stop = Stop()
    try:
        prepared = await _prepared(upload, columns, stop)
        if isinstance(prepared, Err):
            return prepared
        source = prepared.unwrap()
        sent = source.settled(await send(source.stream))
    finally:
        # Cancelled or refused, nobody wants further rows.
        stop.stop()
    return sent.map(lambda found: (found, source.rejections))


async def _prepared(upload: Upload, columns: Schema | None, stop: Stop) -> Result[Source, Error]:
    """The rows, looked at in another thread: types of many values take their time.

    Cancelled, it waits for the row that the thread is at.
    """
    loop = asyncio.get_running_loop()
    looking = loop.run_in_executor(None, upload.prepared, columns, stop)
    try:
        await asyncio.wait([looking])
    except asyncio.CancelledError:
        stop.stop()
        await asyncio.wait([looking])
        raise
    return looking.result()
