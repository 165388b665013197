"""One upload: rows as an Arrow stream, where they go, and what went wrong while they were read."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

from polarway import plans, sql_text
from polarway.error import Error
from polarway.result import Err, Ok, Result
from polarway.uploads._json_text import BrokenJsonError
from polarway.uploads._rejections import Refused, Rejections

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from polarway.uploads._pyarrow import RecordBatch, Schema

T = TypeVar("T")

Mode: TypeAlias = Literal["create", "append", "create_append", "replace"]

_MODES = ("create", "append", "create_append", "replace")
_HINT = "see the exception that is the error's cause"


class Stop:
    """Says to what reads rows, in whatever thread, that nobody wants them any more."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def stop(self) -> None:
        """From now on nobody does."""
        self._event.set()

    def check(self) -> None:
        """Raises `Refused` if nobody does."""
        if self._event.is_set():
            raise Refused(Error("CANCELLED", "the upload was cancelled", hint="nothing of it is kept"))


class Once:
    """A stream of Arrow that is there already, for whoever asks first."""

    def __init__(self, capsule: object) -> None:
        self._capsule = capsule

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self._capsule


@dataclass
class Source:
    """Rows that can be sent.

    Attributes:
        stream: Has them by `__arrow_c_stream__`.
        rejections: Those that are left out.
        error: Why reading them ended early.
    """

    stream: object
    rejections: Rejections = field(default_factory=lambda: Rejections(0))
    error: Error | None = None

    def settled(self, outcome: Result[T, Error]) -> Result[T, Error]:
        """What came of sending them; the error of reading them tells more than that of a stream that broke off."""
        return Err(self.error) if isinstance(outcome, Err) and self.error is not None else outcome


@dataclass(frozen=True)
class Target:
    """A table that rows go into.

    Attributes:
        schema: None for the default one.
        table: Its name in it.
        mode: What is done about a table that is there, or is not.
        sql: The whole name as SQL has it.
    """

    schema: str | None
    table: str
    mode: Mode
    sql: str

    @classmethod
    def of(cls, name: str, mode: str) -> Result[Target, Error]:
        """The table `name` or `schema.name`."""
        if mode not in _MODES:
            message = f"`mode` is one of {', '.join(_MODES)}, not {mode!r}"
            return Err(Error("INVALID_SETTING", message, hint="see the documents of uploads"))
        first, dot, rest = name.partition(".")
        if not first or (dot and not rest) or "." in rest:
            message = f"`{name}` is no name of a table"
            return Err(Error("PLAN", message, hint="write `name` or `schema.name`"))
        try:
            sql = sql_text.table(name)
        except ValueError as error:
            return Err(Error("PLAN", str(error), hint="no table has such a name"))
        checked: Any = mode
        return Ok(cls(first if dot else None, rest if dot else first, checked, sql))

    def query(self) -> str:
        """The query of its rows."""
        return plans.to_sql(plans.table(self.sql))

    def stored(self, rows: int, error: Error) -> Error:
        """The error of rows that are in the table, but have no handle."""
        return Error(
            error.kind,
            f"{rows:,} rows are in {self.sql}, but have no handle: {error.message}",
            hint="client.table(…) makes one; do not upload them again",
            retry_after=error.retry_after,
            is_unavailable=error.is_unavailable,
        )

    @property
    def may_exist(self) -> bool:
        """Whether rows are put to those that are there, so that these have the types."""
        return self.mode in {"append", "create_append"}


# Reads a source for the first time: of the columns of the table, where they are known.
Prepare: TypeAlias = "Callable[[Schema | None, Stop], Result[Source, Error]]"


@dataclass(frozen=True)
class Upload:
    """Rows that a user wants to have on the cluster, under a handle.

    Attributes:
        prepare: Gives the rows.
        ttl: Seconds that the handle lives.
    """

    prepare: Prepare
    ttl: float

    def prepared(self, schema: Schema | None, stop: Stop) -> Result[Source, Error]:
        """The rows, ready to be sent; any exception of whoever has them is an error."""
        try:
            return self.prepare(schema, stop)
        except Exception as error:  # noqa: BLE001 - rows come from users' code, and from libraries
            return Err(raised_while_reading(error))


@dataclass(frozen=True)
class TableUpload(Upload):
    """Rows that are to go into a table.

    Attributes:
        target: The table.
        takes_types: Whether the rows take the types of the table that they are appended to.
    """

    target: Target
    takes_types: bool

    def asks_columns(self) -> bool:
        """Whether the columns of the table have to be known before the rows can be prepared."""
        return self.takes_types and self.target.may_exist


def raised_while_reading(error: Exception) -> Error:
    """The error for an exception of the source of rows."""
    if isinstance(error, Refused):
        return error.error
    if isinstance(error, BrokenJsonError):
        return Error("CORRUPT_FILE", str(error), hint="correct the text; it may have been cut short")
    found = Error("EXECUTION", f"reading the rows raised {type(error).__qualname__}: {error}", hint=_HINT)
    found.__cause__ = error
    return found


def streamed(
    pa: Any,  # noqa: ANN401
    schema: Schema,
    batches: Iterator[RecordBatch],
    stop: Stop,
    rejections: Rejections | None = None,
) -> Source:
    """Batches that are made when they are taken, in the thread that sends them."""
    source = Source(None, rejections or Rejections(0))

    def made() -> Iterator[RecordBatch]:
        try:
            for batch in batches:
                stop.check()
                yield batch
        except Exception as error:
            source.error = raised_while_reading(error)
            raise

    # Through a capsule, so that whoever sends them need not know pyarrow.
    source.stream = Once(pa.RecordBatchReader.from_batches(schema, made()).__arrow_c_stream__())
    return source
