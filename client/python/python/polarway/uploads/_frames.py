"""Whatever is Arrow already, or a frame: pyarrow, Polars, pandas, and iterables of batches."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

from polarway.error import Error
from polarway.result import Err, Ok, Result
from polarway.uploads._pandas import pandas_source
from polarway.uploads._pyarrow import pyarrow
from polarway.uploads._upload import Once, Source, streamed

if TYPE_CHECKING:
    from polarway.uploads._pyarrow import RecordBatch, Schema
    from polarway.uploads._upload import Stop

_CHUNK = 65_536


def is_frame(data: object, library: str, *names: str) -> bool:
    """Whether it is such a class of a library, which is not imported for that."""
    module = sys.modules.get(library)
    return module is not None and isinstance(data, tuple(getattr(module, name) for name in names))


def is_arrow(data: object) -> bool:
    """Whether it gives itself as Arrow, or will."""
    return (
        hasattr(data, "__arrow_c_stream__")
        or hasattr(data, "__arrow_c_array__")
        or is_frame(data, "polars", "LazyFrame")
        or is_frame(data, "pandas", "DataFrame")
    )


def arrow_source(data: object, stop: Stop) -> Result[Source, Error]:
    """Anything of Arrow, or an iterable of such batches."""
    if is_frame(data, "pandas", "DataFrame"):
        return pandas_source(data, None, stop)
    if is_frame(data, "polars", "DataFrame", "LazyFrame"):
        return polars_source(data, stop)
    if hasattr(data, "__arrow_c_stream__"):
        return _as_is(data)
    if hasattr(data, "__arrow_c_array__"):
        return _batches(iter([data]), stop)
    several = _several(data)
    if several is None:
        return Err(_no_arrow(data, "from_records takes dicts, from_json takes text"))
    return _batches(iter(several), stop)


def _several(data: Any) -> Iterable[object] | None:  # noqa: ANN401
    """What may hold batches."""
    is_several = isinstance(data, Iterable) and not isinstance(data, str | bytes | Mapping)
    return cast("Iterable[object]", data) if is_several else None


def polars_source(frame: object, stop: Stop) -> Result[Source, Error]:
    """A frame of Polars; a lazy one is computed in chunks while it is sent."""
    if not is_frame(frame, "polars", "DataFrame", "LazyFrame"):
        return Err(_no_arrow(frame, "from_polars takes a DataFrame or a LazyFrame of Polars"))
    lazy: Any = frame
    for name, dtype in lazy.collect_schema().items():
        if _is_foreign(dtype):
            message = f"the column `{name}` of dtype {dtype} cannot be sent"
            return Err(Error("TYPE_MISMATCH", message, hint="cast it to another"))
    if is_frame(frame, "polars", "DataFrame"):
        return _as_is(frame)
    if not hasattr(lazy, "collect_batches"):
        # Before Polars 1.34 there is no other way.
        return _as_is(lazy.collect(engine="streaming"))
    loaded = pyarrow("a LazyFrame")
    if isinstance(loaded, Err):
        return loaded
    pa = loaded.unwrap()
    empty: Any = sys.modules["polars"].DataFrame(schema=lazy.collect_schema())
    schema = pa.RecordBatchReader.from_stream(empty).schema
    return Ok(streamed(pa, schema, _same(pa, lazy.collect_batches(chunk_size=_CHUNK), schema, 1), stop))


def _is_foreign(dtype: Any) -> bool:  # noqa: ANN401
    """Whether Polars gives it as something else: objects as the bytes of their addresses."""
    inner = [field.dtype for field in getattr(dtype, "fields", ())] + [getattr(dtype, "inner", None)]
    return dtype.base_type().__name__ in {"Object", "Int128", "UInt128", "Unknown"} or any(
        _is_foreign(below) for below in inner if below is not None
    )


def _as_is(data: object) -> Result[Source, Error]:
    stream: Any = data
    try:
        return Ok(Source(Once(stream.__arrow_c_stream__())))
    except Exception as error:  # noqa: BLE001 - whatever a library says to what Arrow does not have
        return Err(_no_table(error))


def _batches(items: Iterator[object], stop: Stop) -> Result[Source, Error]:
    loaded = pyarrow("from_arrow of batches")
    if isinstance(loaded, Err):
        return loaded
    pa = loaded.unwrap()
    first = next(items, None)
    if first is None:
        return Err(Error("PLAN", "there is no batch to tell the columns from", hint="give an empty table"))
    if not is_arrow(first):
        return Err(_no_arrow(first, "from_records takes dicts, from_json takes text"))
    try:
        reader = _reader(pa, first)
    except pa.ArrowException as error:
        return Err(_no_table(error))
    return Ok(streamed(pa, reader.schema, _chained(pa, reader, items), stop))


def _chained(pa: Any, first: Any, items: Iterator[object]) -> Iterator[RecordBatch]:  # noqa: ANN401
    yield from first
    yield from _same(pa, items, first.schema, 2)


def _same(pa: Any, items: Iterator[object], schema: Schema, number: int) -> Iterator[RecordBatch]:  # noqa: ANN401
    """The batches of the items, of the columns of the first."""
    for place, item in enumerate(items, start=number):
        reader = _reader(pa, item)
        for batch in reader:
            if batch.schema.equals(schema):
                yield batch
            elif batch.schema.names == schema.names:
                # Such as dictionaries and texts, large and small. What would lose something raises.
                yield from pa.Table.from_batches([batch]).cast(schema).to_batches()
            else:
                raise ValueError(f"batch {place} has the columns {batch.schema.names}, not {schema.names}")


def _reader(pa: Any, item: Any) -> Any:  # noqa: ANN401
    if hasattr(item, "__arrow_c_stream__"):
        return pa.RecordBatchReader.from_stream(item)
    batch = pa.record_batch(item)
    return pa.RecordBatchReader.from_batches(batch.schema, [batch])


def _no_table(error: Exception) -> Error:
    found = Error("TYPE_MISMATCH", f"this Arrow data is no table: {error}", hint="give tables, batches or frames")
    found.__cause__ = error
    return found


def _no_arrow(data: object, hint: str) -> Error:
    return Error("TYPE_MISMATCH", f"a {type(data).__qualname__} is no Arrow data", hint=hint)
