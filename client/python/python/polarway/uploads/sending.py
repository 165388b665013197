"""Uploads of a `PolarwayClient`, from the first look at the rows to the last one sent."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, TypeVar

from polarway._calls import waited
from polarway._repeatable import never
from polarway.result import Err, Ok, Result
from polarway.uploads._columns import columns_query, columns_told
from polarway.uploads._upload import Stop

if TYPE_CHECKING:
    from collections.abc import Callable

    from polarway._calls import Cancels
    from polarway._keeper import Keeper
    from polarway._leases import Opened
    from polarway._polarway import Done, NativeClient
    from polarway._traffic import Traffic
    from polarway.error import Error
    from polarway.table import Table
    from polarway.uploads._pyarrow import Schema
    from polarway.uploads._rejections import Rejections
    from polarway.uploads._upload import TableUpload, Upload

T = TypeVar("T")


def to_handle(keeper: Keeper, upload: Upload) -> Result[tuple[Opened, Rejections], Error]:
    """Rows under a handle of their own, and what was left out of them."""
    return _sent(upload, None, lambda stream, done: keeper.uploading(stream, upload.ttl, done))


def to_table(
    native: NativeClient, traffic: Traffic, query: Callable[[str], Result[Table, Error]], upload: TableUpload
) -> Result[tuple[int, Rejections], Error]:
    """Rows into a table: how many they are, and what was left out of them."""
    target = upload.target
    columns: Result[Schema | None, Error] = (
        columns_told(target, query(columns_query(target))) if upload.asks_columns() else Ok(None)
    )
    if isinstance(columns, Err):
        return columns

    def start(stream: object, done: Done[int]) -> Cancels:
        ingesting = partial(native.ingest, stream, target.schema, target.table, target.mode)
        return traffic.call(ingesting, never)(done)

    return _sent(upload, columns.unwrap(), start)


def _sent(
    upload: Upload, columns: Schema | None, start: Callable[[object, Done[T]], Cancels]
) -> Result[tuple[T, Rejections], Error]:
    stop = Stop()
    try:
        prepared = upload.prepared(columns, stop)
        if isinstance(prepared, Err):
            return prepared
        source = prepared.unwrap()
        sent = source.settled(waited(partial(start, source.stream)))
    finally:
        # Interrupted or refused, nobody wants further rows.
        stop.stop()
    return sent.map(lambda found: (found, source.rejections))
