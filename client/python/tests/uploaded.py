"""What an upload would send: its rows, read from the Arrow stream that the native client gets."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from polarway.uploading import KEEP
from polarway.uploads._records import Taking, json_source, records_source
from polarway.uploads._upload import Stop, Upload

if TYPE_CHECKING:
    from polarway import Rejected
    from polarway.uploads._upload import Prepare


class Sent:
    """Rows that went through, and those that did not."""

    def __init__(self, table: Any, rejected: tuple[Rejected, ...], count: int) -> None:  # noqa: ANN401
        self.table = table
        self.rejected = rejected
        self.count = count

    @property
    def rows(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.table.to_pylist()
        return rows

    @property
    def types(self) -> dict[str, str]:
        return {field.name: str(field.type) for field in self.table.schema}


def read(prepare: Prepare, of_table: object = None) -> Sent:
    """All of it; raises the error that the upload would give."""
    prepared = Upload(prepare, 60.0).prepared(of_table, Stop())
    if prepared.is_err():
        raise prepared.unwrap_err()
    source = prepared.unwrap()
    stream: Any = source.stream
    try:
        table: Any = pa.RecordBatchReader.from_stream(stream).read_all()
    except Exception:
        if source.error is None:
            raise
        raise source.error  # noqa: B904 - its cause is that of the rows
    table.validate(full=True)
    return Sent(table, source.rejections.kept(), source.rejections.count)


def records(
    rows: object, schema: object = None, *, on_error: str = "quarantine", keep: int = KEEP, of_table: object = None
) -> Sent:
    return read(partial(records_source, rows, Taking(schema, on_error, keep)), of_table)


def json(source: object, schema: object = None, *, on_error: str = "quarantine", keep: int = KEEP) -> Sent:
    return read(partial(json_source, source, Taking(schema, on_error, keep)))
