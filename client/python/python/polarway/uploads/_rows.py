"""Rows one after the other into batches; those that do not fit are left out, and told of."""

from __future__ import annotations

import dataclasses
import datetime
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from polarway.result import Err, Ok, Result
from polarway.uploads import _exact
from polarway.uploads._guess import guessed_schema
from polarway.uploads._rejections import Refused

if TYPE_CHECKING:
    from polarway.error import Error
    from polarway.uploads._pyarrow import RecordBatch, Schema
    from polarway.uploads._rejections import Rejections

# A batch has at most so many rows, so many values, and about so many bytes.
ROWS = 16_384
_VALUES = 1_000_000
_BYTES = 8 << 20
# Rows that types are guessed from, where they cannot be read twice.
SAMPLE = 10_000


_NAMES = frozenset({str})
# Types of which a value has always the same size.
_SMALL: frozenset[type] = frozenset({int, float, bool, type(None), datetime.datetime, datetime.date, Decimal})


@dataclass(frozen=True, slots=True)
class Bad:
    """What is no row."""

    reason: str
    text: str


Row: TypeAlias = "Mapping[str, object]"
Item: TypeAlias = "Row | Bad"


def records(rows: Iterable[object]) -> Iterator[Item]:
    """Mappings, dataclasses and named tuples as rows; anything else is none."""
    for row in rows:
        yield _record(row)


def _record(row: Any) -> Item:  # noqa: ANN401
    came: object = row
    found: Mapping[object, object]
    if isinstance(row, Mapping):
        found = cast("Mapping[object, object]", row)
    elif dataclasses.is_dataclass(row) and not isinstance(row, type):
        # Not `asdict`, which copies what is nested.
        found = {field.name: getattr(row, field.name) for field in dataclasses.fields(row)}
    elif isinstance(row, tuple) and hasattr(cast("object", row), "_fields"):
        named: Any = cast("object", row)
        found = dict(zip(named._fields, named, strict=True))
    else:
        return Bad(f"a row is a mapping, a dataclass or a named tuple, not {type(came).__qualname__}", shown(came))
    if not _NAMES.issuperset(map(type, found)) and not all(isinstance(name, str) for name in found):
        return Bad("the names of columns have to be texts", shown(came))
    return cast("Row", found)


def with_schema(
    pa: Any,  # noqa: ANN401
    rows: Iterator[Item],
    schema: Schema | None,
    rejections: Rejections,
    again: Iterable[Item] | None = None,
) -> Result[tuple[Schema, Iterator[RecordBatch]], Error]:
    """The schema, given or guessed, and the batches, which read `rows` as they are taken.

    Args:
        pa: pyarrow.
        rows: What comes.
        schema: None, if the rows are to tell.
        rejections: Where those that do not fit are told of.
        again: All rows once more, for guessing; without it, the first of `rows` tell.
    """
    if schema is None:
        if again is None:
            first = list(_first(rows))
            rows, again = itertools.chain(first, rows), first
        found = guessed_schema(pa, (row for row in again if not isinstance(row, Bad)))
        if not found.names:
            return Err(_no_columns(rows, rejections))
        schema = found
    made = _exact.columns(pa, schema)
    return made if isinstance(made, Err) else Ok((schema, _batches(pa, rows, schema, made.unwrap(), rejections)))


def _no_columns(rows: Iterator[Item], rejections: Rejections) -> Error:
    """Why there is nothing to tell types from."""
    for number, row in enumerate(itertools.islice(rows, SAMPLE), start=1):
        if isinstance(row, Bad):
            try:
                rejections.add(number, row.reason, row.text)
            except Refused as refused:
                return refused.error
    if rejections.count:
        return rejections.all_bad()
    return rejections.error("there are no rows, or no columns in them, to tell types from")


def _batches(
    pa: Any,  # noqa: ANN401
    rows: Iterator[Item],
    schema: Schema,
    made: Mapping[str, _exact.Column],
    rejections: Rejections,
) -> Iterator[RecordBatch]:
    taken, good = 0, 0
    for chunk in _chunks(rows, max(1, min(ROWS, _VALUES // len(made)))):
        batch = _batch(pa, chunk, schema, made, rejections, taken + 1)
        taken += len(chunk)
        good += batch.num_rows
        if batch.num_rows:
            yield batch
    if rejections.count and not good:
        raise Refused(rejections.all_bad())


def _batch(  # noqa: PLR0913, PLR0917 - what a batch is made of
    pa: Any,  # noqa: ANN401
    chunk: list[Item],
    schema: Schema,
    made: Mapping[str, _exact.Column],
    rejections: Rejections,
    number: int,
) -> RecordBatch:
    bad: dict[int, tuple[str, str]] = {}
    rows: list[Row] = []
    places: list[int] = []
    for place, row in enumerate(chunk):
        reason = row.reason if isinstance(row, Bad) else _unknown(row, made)
        if isinstance(row, Bad) or reason:
            bad[place] = reason, row.text if isinstance(row, Bad) else shown(row)
        else:
            rows.append(row)
            places.append(place)
    arrays = _arrays(pa, made, rows, places, bad)
    if len(bad) + len(rows) > len(chunk):
        fitting = [row for row, place in zip(rows, places, strict=True) if place not in bad]
        arrays = _arrays(pa, made, fitting, places, {})
    for place in sorted(bad):
        rejections.add(number + place, *bad[place])
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _arrays(
    pa: Any,  # noqa: ANN401
    made: Mapping[str, _exact.Column],
    rows: list[Row],
    places: Sequence[int],
    bad: dict[int, tuple[str, str]],
) -> list[object]:
    arrays: list[object] = []
    for name, of in made.items():
        found, reasons = _exact.array(pa, of, [row.get(name) for row in rows])
        arrays.append(found)
        for index, reason in reasons.items():
            bad.setdefault(places[index], (f"column `{name}`: {reason}", shown(rows[index])))
    return arrays


def _unknown(row: Row, made: Mapping[str, object]) -> str:
    more = row.keys() - made.keys()
    return f"there is no column `{min(more)}`" if more else ""


def _chunks(rows: Iterator[Item], limit: int) -> Iterator[list[Item]]:
    chunk: list[Item] = []
    size = 0
    for row in rows:
        chunk.append(row)
        size += _size_of(row)
        if len(chunk) >= limit or size >= _BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _first(rows: Iterator[Item]) -> Iterator[Item]:
    size = 0
    for row in itertools.islice(rows, SAMPLE):
        yield row
        size += _size_of(row)
        if size >= _BYTES:
            return


def _size_of(row: Item) -> int:
    """About how many bytes a row holds."""
    try:
        return _size(row)
    except RecursionError:
        # It is refused later on.
        return _BYTES


def _size(value: object) -> int:
    if isinstance(value, str | bytes | bytearray):
        return 8 + len(value)
    if isinstance(value, Mapping):
        items: Iterable[object] = cast("Mapping[object, object]", value).values()
    elif isinstance(value, list | tuple):
        items = cast("Sequence[object]", value)
    else:
        return int(getattr(value, "nbytes", 8))
    size = 8
    for item in items:
        # The calls are what takes time.
        size += 8 if type(item) in _SMALL else _size(item)
    return size


def shown(row: object) -> str:
    """A row as people read it."""
    try:
        return repr(row)
    except Exception:  # noqa: BLE001 - whatever the object of a user does
        return object.__repr__(row)
