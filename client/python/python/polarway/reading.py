"""Files and tables as queries: what `read_parquet` and its like, `table` and `handle` of all clients are made of."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

from polarway import sql_text
from polarway.error import Error
from polarway.result import Err, Ok, Result

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

H_co = TypeVar("H_co", covariant=True)

Path: TypeAlias = "str | os.PathLike[str]"

TTL = 60.0
"""Seconds that a handle lives after its last renewal, unless asked for otherwise."""

_ENDINGS = {
    "Parquet": (".parquet", ".parq"),
    "CSV": (".csv",),
    "JSON": (".json", ".ndjson", ".jsonl"),
    "Arrow": (".arrow", ".ipc", ".feather", ".arrows"),
}
_COMPRESSIONS = (".gz", ".bz2", ".xz", ".zst")


class Reads(ABC, Generic[H_co]):
    """The methods that give a handle, in the form that the client has for it.

    The server plans the query at once: a file that is not there, or is damaged, is an error here. It reads rows when
    they are asked for. `ttl` is in seconds, from 1 to 86,400. The client renews the handle in the background until it
    is closed, or nothing holds it or a query over it any more.

    A path is one that the server can read: a file, a directory (with a slash at its end), a URL, or a pattern with `*`,
    `?` and `[…]`. Its format is told by its ending.
    """

    @abstractmethod
    def _lease(self, sql: Result[str, Error], ttl: float) -> H_co: ...

    def handle(self, sql: str, *, ttl: float = TTL) -> H_co:
        """A handle of a query without parameters."""
        return self._lease(Ok(sql), ttl)

    def table(self, name: str, *, ttl: float = TTL) -> H_co:
        """A handle of a table, view or stream, by its name as `tables()` gives it."""
        return self._lease(_checked(lambda: f"SELECT * FROM {sql_text.table(name)}"), ttl)

    def read_parquet(self, path: Path, *, columns: Sequence[str] | None = None, ttl: float = TTL) -> H_co:
        """A handle of Parquet files, of all columns or of these."""
        return self._lease(_file(path, "Parquet", columns), ttl)

    def read_csv(self, path: Path, *, columns: Sequence[str] | None = None, ttl: float = TTL) -> H_co:
        """A handle of CSV files with a header and commas; any others need CREATE EXTERNAL TABLE."""
        return self._lease(_file(path, "CSV", columns), ttl)

    def read_json(self, path: Path, *, columns: Sequence[str] | None = None, ttl: float = TTL) -> H_co:
        """A handle of JSON files, one object a line."""
        return self._lease(_file(path, "JSON", columns), ttl)

    def read_arrow(self, path: Path, *, columns: Sequence[str] | None = None, ttl: float = TTL) -> H_co:
        """A handle of Arrow IPC files."""
        return self._lease(_file(path, "Arrow", columns), ttl)


def many(paths: Iterable[Path]) -> Iterable[Path]:
    """The paths; a single one is an iterable too, and never meant so."""
    if isinstance(paths, (str, os.PathLike)):
        raise TypeError(f"paths are several, not {paths!r}: put it into a list")
    return paths


def any_file(path: Path) -> Result[str, Error]:
    """The query that reads files of the format that the path's ending tells."""
    return _file(path, None, None)


def named(path: Path, error: Error) -> Error:
    """The error of one file of many, with its path in the message."""
    name = os.fspath(path)
    if name in error.message:
        return error
    return Error(
        error.kind,
        f"`{name}`: {error.message}",
        hint=error.hint,
        retry_after=error.retry_after,
        is_retryable=error.is_retryable,
        is_unavailable=error.is_unavailable,
    )


def _file(path: Path, wanted: str | None, columns: Sequence[str] | None) -> Result[str, Error]:
    name = os.fspath(path)
    told = _format(name)
    if wanted and told and told != wanted:
        message = f"`{name}` is {told} by its ending, and not {wanted}"
        return Err(Error("PLAN", message, hint=f"read it as {told}, or rename it"))

    def written() -> str:
        listed = "*" if columns is None else ", ".join(sql_text.identifier(column) for column in columns)
        return f"SELECT {listed} FROM {sql_text.text(name)}"

    return _checked(written)


def _format(name: str) -> str | None:
    for compression in _COMPRESSIONS:
        name = name.removesuffix(compression)
    return next((format_ for format_, endings in _ENDINGS.items() if name.endswith(endings)), None)


def _checked(written: Callable[[], str]) -> Result[str, Error]:
    """The SQL, or an error for what SQL cannot write."""
    try:
        return Ok(written())
    except ValueError as error:
        return Err(Error("PLAN", str(error), hint="no file or table has such a name"))
