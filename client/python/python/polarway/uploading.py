"""Rows of Python to the cluster: what `from_arrow` and its like, and `append`, of all clients are made of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeAlias, TypeVar

from polarway.error import Error
from polarway.reading import TTL
from polarway.result import Err, Ok, Result
from polarway.uploads._frames import arrow_source, is_arrow, polars_source
from polarway.uploads._pandas import pandas_source
from polarway.uploads._records import Taking, json_source, records_source
from polarway.uploads._upload import Mode, Prepare, Source, Stop, TableUpload, Target, Upload

if TYPE_CHECKING:
    import pandas
    import polars

    from polarway.uploads._json import Json
    from polarway.uploads._schema import Columns

H_co = TypeVar("H_co", covariant=True)
N_co = TypeVar("N_co", covariant=True)

OnError: TypeAlias = Literal["quarantine", "fail"]

KEEP = 100
"""How many rejected rows a handle holds, unless asked for otherwise."""


class Uploads(ABC, Generic[H_co, N_co]):
    """The methods that bring rows to the cluster, in the form that the client has for it.

    Without `table` the rows are under the handle that they give, and gone with it; `ttl` is in seconds, from 1 to
    86,400. With it they go into the table `name` or `schema.name`, which stays, and the handle is one over it. `mode`
    is `create` (the table must not be there), `append` (it must be), `create_append` (either) or `replace`. Other
    clients see all rows of one call or none of them.

    Rows are sent in chunks, and those of an iterable are made when they are sent, in another thread. What ends an
    iterable early ends the upload, and nothing of it is kept.

    All but `from_arrow` and `from_polars` of frames and tables need pyarrow: `pip install 'polarway[arrow]'`. Without
    it they give an error of kind `CONFIGURATION`.
    """

    __slots__ = ()

    @abstractmethod
    def _upload(self, upload: Result[Upload, Error]) -> H_co: ...

    @abstractmethod
    def _ingest(self, upload: Result[TableUpload, Error]) -> N_co: ...

    def from_arrow(self, data: object, *, table: str | None = None, mode: Mode = "create", ttl: float = TTL) -> H_co:
        """Whatever gives itself as Arrow (`__arrow_c_stream__`, `__arrow_c_array__`), or an iterable of such batches.

        Tables, batches and readers of pyarrow, frames of Polars, results of queries, and frames of pandas as
        `from_pandas` takes them. All batches of an iterable have the columns of the first; other types are cast to its
        types, where that loses nothing.
        """
        return self._upload(_upload(lambda _, stop: arrow_source(data, stop), table, mode, ttl))

    def from_pandas(
        self,
        frame: pandas.DataFrame,
        *,
        index: bool | None = None,
        table: str | None = None,
        mode: Mode = "create",
        ttl: float = TTL,
    ) -> H_co:
        """A frame of pandas. Its index is kept, as columns before the others, if it has a name or `index` is true.

        NaN, NaT and NA are null. Categories become dictionaries, zones stay, and values of `object` columns have to be
        of one type.
        """
        return self._upload(_upload(lambda _, stop: pandas_source(frame, index, stop), table, mode, ttl))

    def from_polars(
        self,
        frame: polars.DataFrame | polars.LazyFrame,
        *,
        table: str | None = None,
        mode: Mode = "create",
        ttl: float = TTL,
    ) -> H_co:
        """A frame of Polars. A lazy one is computed while it is sent: in chunks, with Polars 1.34 or later."""
        return self._upload(_upload(lambda _, stop: polars_source(frame, stop), table, mode, ttl))

    def from_records(  # noqa: PLR0913 - what rows are made of
        self,
        rows: Iterable[object],
        *,
        schema: Columns | None = None,
        on_error: OnError = "quarantine",
        keep_rejected: int = KEEP,
        table: str | None = None,
        mode: Mode = "create",
        ttl: float = TTL,
    ) -> H_co:
        """Dicts, dataclasses or named tuples. What a row lacks is null.

        `schema` is one of pyarrow, or a dict of names and types (`{"id": "BIGINT", "tags": "List(Utf8)"}`). Without it
        a table that is appended to tells the types, or else the rows: all of a sequence, the first 10,000 of another
        iterable. A row that does not fit, or has a column more, is left out: `handle.rejected` has the first
        `keep_rejected` of them, `handle.rejected_count` is how many they are. With `on_error="fail"` the first ends
        the upload. No value is ever stored as another one. If no row fits, that is an error of kind `TYPE_MISMATCH`.
        """
        taking = Taking(schema, on_error, keep_rejected)
        return self._upload(_upload(partial(records_source, rows, taking), table, mode, ttl, typed=schema is not None))

    def from_json(  # noqa: PLR0913 - as above
        self,
        source: Json,
        *,
        schema: Columns | None = None,
        on_error: OnError = "quarantine",
        keep_rejected: int = KEEP,
        table: str | None = None,
        mode: Mode = "create",
        ttl: float = TTL,
    ) -> H_co:
        """JSON: text or bytes of one object, of an array of objects, or of one a line; a dict; an iterable of these.

        As `from_records`. With a schema, columns have types that JSON has not: dates and times are texts in ISO 8601,
        decimals are numbers or texts. Without one they stay texts. An array that breaks off is an error of kind
        `CORRUPT_FILE`.
        """
        taking = Taking(schema, on_error, keep_rejected)
        return self._upload(_upload(partial(json_source, source, taking), table, mode, ttl, typed=schema is not None))

    def append(self, table: str, data: object) -> N_co:
        """Appends rows of any kind but JSON text to a table that is there, and gives how many they are.

        Of records each has to fit the table: otherwise it is an error, and none is appended.
        """
        taking = Taking(None, "fail", 1)
        if is_arrow(data):
            return self._ingest(_into(lambda _, stop: arrow_source(data, stop), table, "append", TTL, typed=True))
        return self._ingest(_into(partial(_either, data, taking), table, "append", TTL, typed=False))


def _either(data: object, taking: Taking, schema: Any, stop: Stop) -> Result[Source, Error]:  # noqa: ANN401
    """Batches or records, as the first item is."""
    if not isinstance(data, Iterable):
        return records_source(data, taking, schema, stop)
    first, items = _peeked(data)
    if is_arrow(first):
        return arrow_source(items, stop)
    return records_source(items, taking, schema, stop)


def _peeked(data: Any) -> tuple[object, Iterable[object]]:  # noqa: ANN401
    """The first item, and all of them."""
    items = iter(data)
    if items is not data:
        # It can be read again.
        return next(items, None), data
    for first in items:
        return first, _before(first, items)
    return None, ()


def _before(first: object, items: Iterable[object]) -> Iterable[object]:
    yield first
    yield from items


def _upload(
    prepare: Prepare,
    table: str | None,
    mode: str,
    ttl: float,
    *,
    typed: bool = True,
) -> Result[Upload, Error]:
    """The upload. Rows that are `typed` have types of their own."""
    if table is not None:
        return _into(prepare, table, mode, ttl, typed=typed)
    if mode != "create":
        return Err(Error("INVALID_SETTING", f"`mode` {mode!r} needs a table", hint="pass table=…"))
    return Ok(Upload(prepare, ttl))


def _into(prepare: Prepare, table: str, mode: str, ttl: float, *, typed: bool) -> Result[TableUpload, Error]:
    return Target.of(table, mode).map(lambda target: TableUpload(prepare, ttl, target, takes_types=not typed))
