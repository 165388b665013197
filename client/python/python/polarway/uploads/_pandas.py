"""Frames of pandas, a slice at a time, each column by itself.

Not by pyarrow's own conversion of frames: it keeps an index by rules of its own, writes what only pandas reads into the
schema, and lets values of `object` columns become others.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from polarway.error import Error
from polarway.result import Err, Ok, Result
from polarway.uploads import _exact
from polarway.uploads._guess import Guess
from polarway.uploads._pyarrow import pyarrow
from polarway.uploads._rejections import Refused
from polarway.uploads._upload import streamed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from polarway.uploads._pyarrow import Array, DataType, RecordBatch
    from polarway.uploads._upload import Source, Stop

_ROWS = 65_536
_VALUES = 1_000_000


def pandas_source(data: object, index: bool | None, stop: Stop) -> Result[Source, Error]:
    """The rows of a frame, with its index as columns if it is named or asked for."""
    pandas = sys.modules.get("pandas")
    if pandas is None or not isinstance(data, pandas.DataFrame):
        message = f"a {type(data).__qualname__} is no DataFrame of pandas"
        return Err(Error("TYPE_MISMATCH", message, hint="series.to_frame() makes one of a Series"))
    frame: Any = data
    loaded = pyarrow("from_pandas")
    if isinstance(loaded, Err):
        return loaded
    pa = loaded.unwrap()
    named = _named(frame, index)
    if isinstance(named, Err):
        return named
    parts = named.unwrap()
    made: dict[str, _Part] = {}
    for name, part in parts:
        try:
            made[name] = _part(pa, pandas, part)
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            return Err(_refused(name, part.dtype, error))
    schema = pa.schema([(name, part.type) for name, part in made.items()])
    return Ok(streamed(pa, schema, _batches(pa, parts, made, len(frame), schema), stop))


class _Part:
    """A column: its type, and what makes an array of a slice."""

    __slots__ = ("make", "type")

    def __init__(self, type_: DataType, make: Callable[[Any], Array]) -> None:
        self.type = type_
        self.make = make


def _named(frame: Any, index: bool | None) -> Result[list[tuple[str, Any]], Error]:  # noqa: ANN401
    """The columns by their names, those of the index first."""
    kept = index or (index is None and any(name is not None for name in frame.index.names))
    found: list[tuple[str, Any]] = []
    if kept:
        alone = frame.index.nlevels == 1
        for level, name in enumerate(frame.index.names):
            default = "index" if alone and "index" not in frame.columns else f"level_{level}"
            found.append((default if name is None else name, frame.index.get_level_values(level)))
    found += [(name, frame.iloc[:, place]) for place, name in enumerate(frame.columns)]
    names: set[str] = set()
    for place, (name, values) in enumerate(found):
        if isinstance(name, tuple):
            return Err(Error("PLAN", f"the column {name!r} has several names", hint="give it one before"))
        text = str(name)
        if text in names:
            return Err(Error("PLAN", f"the column `{text}` is there twice", hint="rename one, or pass index=False"))
        names.add(text)
        found[place] = text, values
    if not found:
        return Err(Error("PLAN", "the frame has no columns", hint="a table needs one"))
    return Ok(found)


def _part(pa: Any, pandas: Any, values: Any) -> _Part:  # noqa: ANN401
    dtype = values.dtype
    if pandas.api.types.is_object_dtype(dtype):
        return _objects(pa, pandas, values)
    if isinstance(dtype, pandas.SparseDtype):
        dense: Any = dtype.subtype
        return _part_of_type(pa, lambda part: pa.array(part.astype(dense), from_pandas=True), values[:0])
    if isinstance(dtype, pandas.CategoricalDtype):
        return _categories(pa, pandas, dtype)
    return _part_of_type(pa, lambda part: _plain(pa, pa.array(part, from_pandas=True)), values[:0])


def _part_of_type(pa: Any, make: Callable[[Any], Array], empty: Any) -> _Part:  # noqa: ANN401
    """A column whose type its dtype tells."""
    type_ = make(empty).type
    if pa.types.is_null(type_):
        raise TypeError("its dtype has no type in Arrow")

    def cast(part: Any) -> Array:  # noqa: ANN401
        found = make(part)
        return found if found.type == type_ else found.cast(type_)

    return _Part(type_, cast)


def _plain(pa: Any, found: Array) -> Array:  # noqa: ANN401
    """Without chunks, and without extensions that other programs do not know."""
    if isinstance(found, pa.ChunkedArray):
        found = found.combine_chunks()
    if isinstance(found.type, pa.BaseExtensionType):
        if not pa.types.is_struct(found.type.storage_type):
            raise TypeError(f"{found.type} has no meaning without pandas; make timestamps or texts of it")
        return found.storage
    return found


def _categories(pa: Any, pandas: Any, dtype: Any) -> _Part:  # noqa: ANN401
    """Codes into the categories, all of them in each slice."""
    categories = dtype.categories
    part = _part(pa, pandas, categories)
    words = part.make(categories)
    if pa.types.is_null(words.type):
        words = words.cast(pa.string())
    indices = pa.int32()

    def make(values: Any) -> Array:  # noqa: ANN401
        codes = (values if isinstance(values, pandas.Index) else values.cat).codes
        codes = codes.to_numpy() if hasattr(codes, "to_numpy") else codes
        found = pa.array(codes, type=indices, mask=codes < 0)
        return pa.DictionaryArray.from_arrays(found, words, ordered=bool(dtype.ordered))

    return _Part(pa.dictionary(indices, words.type, ordered=bool(dtype.ordered)), make)


def _objects(pa: Any, pandas: Any, values: Any) -> _Part:  # noqa: ANN401
    """Values of Python: what they are, each of them tells."""
    guess = Guess()
    for start in range(0, len(values), _ROWS):
        guess.see([value for value in _sliced(values, start, _ROWS) if not _is_missing(pandas, value)])
    of = _exact.column(pa, guess.type(pa))

    def make(part: Any) -> Array:  # noqa: ANN401
        found, bad = _exact.array(pa, of, [None if _is_missing(pandas, value) else value for value in part])
        if bad:
            raise ValueError(next(iter(bad.values())))
        return found

    return _Part(of.type, make)


def _is_missing(pandas: Any, value: object) -> bool:  # noqa: ANN401
    """None, NaN, NaT and NA, which all are "missing" in an object column."""
    return value is None or value is pandas.NA or value is pandas.NaT or (isinstance(value, float) and value != value)  # noqa: PLR0124


def _batches(
    pa: Any,  # noqa: ANN401
    parts: list[tuple[str, Any]],
    made: dict[str, _Part],
    rows: int,
    schema: Any,  # noqa: ANN401
) -> Iterator[RecordBatch]:
    step = max(1, min(_ROWS, _VALUES // len(parts)))
    for start in range(0, rows, step):
        arrays: list[Array] = []
        for name, values in parts:
            try:
                arrays.append(made[name].make(_sliced(values, start, step)))
            except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
                raise Refused(_refused(name, values.dtype, error)) from error
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def _sliced(values: Any, start: int, step: int) -> Any:  # noqa: ANN401
    """So many values of a column, or of an index."""
    return values.iloc[start : start + step] if hasattr(values, "iloc") else values[start : start + step]


def _refused(name: str, dtype: object, error: Exception) -> Error:
    message = f"the column `{name}` of dtype {dtype} cannot be sent: {error}"
    found = Error("TYPE_MISMATCH", message, hint="give its values one type")
    found.__cause__ = error
    return found
