"""Records and JSON as uploads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from polarway.error import Error
from polarway.result import Err, Ok, Result
from polarway.uploads._json import json_rows
from polarway.uploads._pyarrow import pyarrow
from polarway.uploads._rejections import Rejections
from polarway.uploads._rows import records, with_schema
from polarway.uploads._schema import schema_of
from polarway.uploads._upload import streamed

if TYPE_CHECKING:
    from polarway.uploads._pyarrow import Schema
    from polarway.uploads._rows import Item
    from polarway.uploads._upload import Source, Stop

_ON_ERROR = ("quarantine", "fail")


@dataclass(frozen=True)
class Taking:
    """How rows are taken.

    Attributes:
        schema: Their columns; None, if they or their table are to tell.
        on_error: What is done about rows that do not fit: `quarantine`, or `fail`.
        keep_rejected: How many of these are held.
    """

    schema: object | None
    on_error: str
    keep_rejected: int

    def checked(self) -> Result[Rejections, Error]:
        """Where rejected rows go."""
        if self.on_error not in _ON_ERROR:
            message = f"`on_error` is one of {', '.join(_ON_ERROR)}, not {self.on_error!r}"
            return Err(Error("INVALID_SETTING", message, hint="see the documents of uploads"))
        if self.keep_rejected < 0:
            message = f"`keep_rejected` counts rows, and cannot be {self.keep_rejected}"
            return Err(Error("INVALID_SETTING", message, hint="0 keeps none"))
        return Ok(Rejections(self.keep_rejected, fail=self.on_error == "fail"))


def records_source(rows: object, taking: Taking, schema: Schema | None, stop: Stop) -> Result[Source, Error]:
    """Rows of Python."""
    if isinstance(rows, Mapping):
        rows = [cast("object", rows)]
    if not isinstance(rows, Iterable) or isinstance(rows, str | bytes):
        message = f"a {type(rows).__qualname__} is no list of rows"
        return Err(Error("TYPE_MISMATCH", message, hint="from_json takes text, from_arrow what gives itself as Arrow"))
    many = cast("Iterable[object]", rows)
    # What can be read twice tells its types as a whole.
    again = records(many) if isinstance(rows, Sequence) else None
    return _source("from_records", records(many), again, taking, schema, stop)


def json_source(source: Any, taking: Taking, schema: Schema | None, stop: Stop) -> Result[Source, Error]:  # noqa: ANN401
    """Rows of JSON."""
    if not isinstance(source, Iterable):
        message = f"JSON is text, bytes, an object or an iterable of these, not {type(source).__qualname__}"
        return Err(Error("TYPE_MISMATCH", message, hint="read_json takes the path of a file that the server can read"))
    loaded = pyarrow("from_json")
    if isinstance(loaded, Err):
        return loaded
    given = _given(loaded.unwrap(), taking, schema)
    if isinstance(given, Err):
        return given
    columns = given.unwrap()
    decimals = columns is not None and _has_decimals(loaded.unwrap(), columns)
    return _source("from_json", json_rows(cast("Any", source), decimals=decimals), None, taking, columns, stop)


def _source(  # noqa: PLR0913, PLR0917 - what rows are made of
    what: str,
    rows: Iterator[Item],
    again: Iterable[Item] | None,
    taking: Taking,
    schema: Schema | None,
    stop: Stop,
) -> Result[Source, Error]:
    loaded = pyarrow(what)
    if isinstance(loaded, Err):
        return loaded
    pa = loaded.unwrap()
    checked, given = taking.checked(), _given(pa, taking, schema)
    if isinstance(checked, Err):
        return checked
    if isinstance(given, Err):
        return given
    rejections = checked.unwrap()
    found = with_schema(pa, _until(rows, stop), given.unwrap(), rejections, again)
    if isinstance(found, Err):
        return found
    columns, batches = found.unwrap()
    return Ok(streamed(pa, columns, batches, stop, rejections))


def _given(pa: Any, taking: Taking, schema: Schema | None) -> Result[Schema | None, Error]:  # noqa: ANN401
    """The columns that the user gave, or else those of the table."""
    return Ok(schema) if taking.schema is None else schema_of(pa, taking.schema)


def _until(rows: Iterator[Item], stop: Stop) -> Iterator[Item]:
    for row in rows:
        stop.check()
        yield row


def _has_decimals(pa: Any, columns: Any) -> bool:  # noqa: ANN401
    """Whether numbers have to keep their digits."""
    return any(_is_decimal(pa, field.type) for field in columns)


def _is_decimal(pa: Any, type_: Any) -> bool:  # noqa: ANN401
    inner = [type_.field(place).type for place in range(type_.num_fields)]
    return pa.types.is_decimal(type_) or any(_is_decimal(pa, below) for below in inner)
