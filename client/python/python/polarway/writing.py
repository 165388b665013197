"""Rows into files: what `write_parquet` and its like, of all clients, handles and queries, are made of."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

from polarway import sql_text
from polarway._leases import readable
from polarway.error import Error
from polarway.result import Err, Ok, Result

if TYPE_CHECKING:
    from collections.abc import Mapping

    from polarway.joins import Names
    from polarway.reading import Path
    from polarway.table import Table
    from polarway.verbs import Verbs

W_co = TypeVar("W_co", covariant=True)

Options: TypeAlias = "Mapping[str, str | int | float | bool]"


@dataclass(frozen=True, slots=True)
class Written:
    """What was written.

    Attributes:
        rows: How many rows.
        files: In how many files.
        bytes: How many bytes these have in all.
    """

    rows: int
    files: int
    bytes: int


class Writes(ABC, Generic[W_co]):
    """The methods that write the rows of a handle, a query or a text of SQL into files, on the cluster.

    The URL or path is one that the servers can write. One that ends with a slash is a directory. With `partition_by`
    the rows are in directories `column=value/…`, as Hive has them, and these columns are not in the files. `options`
    are those of SQL's COPY: `{"format.compression": "zstd"}`.
    """

    __slots__ = ()

    @abstractmethod
    def _copy(self, statement: Result[str, Error]) -> W_co: ...

    def write_parquet(
        self, rows: Verbs[object] | str, url: Path, *, partition_by: Names = (), options: Options | None = None
    ) -> W_co:
        """Writes Parquet files."""
        return self._copy(_statement(rows, url, "PARQUET", partition_by, options))

    def write_csv(
        self, rows: Verbs[object] | str, url: Path, *, partition_by: Names = (), options: Options | None = None
    ) -> W_co:
        """Writes CSV files with a header and commas, unless the options say otherwise."""
        return self._copy(_statement(rows, url, "CSV", partition_by, options))

    def write_json(
        self, rows: Verbs[object] | str, url: Path, *, partition_by: Names = (), options: Options | None = None
    ) -> W_co:
        """Writes JSON files, one object a line."""
        return self._copy(_statement(rows, url, "JSON", partition_by, options))


def written(table: Table) -> Written:
    """What the statement answers."""
    row = dict(zip(table.columns, table.texts()[0], strict=True))
    return Written(rows=int(row["count"]), files=int(row["files"]), bytes=int(row["bytes"]))


def copy(sql: str, url: str, stored_as: str, partition_by: Names, options: Options | None) -> str:
    r"""The statement that writes the rows of a query.

    Raises:
        ValueError: a name or text is none that SQL can write.

    >>> print(copy("SELECT 1 AS a;", "out/", "CSV", "a", {"format.has_header": False}))
    COPY (SELECT 1 AS a
    ) TO 'out/' STORED AS CSV PARTITIONED BY ("a") OPTIONS ('format.has_header' 'false')
    """
    names = [partition_by] if isinstance(partition_by, str) else list(partition_by)
    parts = f" PARTITIONED BY ({', '.join(sql_text.identifier(name) for name in names)})" if names else ""
    set_ = [f"{sql_text.text(name)} {sql_text.text(_option(value))}" for name, value in (options or {}).items()]
    listed = f" OPTIONS ({', '.join(set_)})" if set_ else ""
    # The line feed ends a comment that the query may end with.
    query = sql.rstrip().removesuffix(";")
    return f"COPY ({query}\n) TO {sql_text.text(url)} STORED AS {stored_as}{parts}{listed}"


def _statement(
    rows: Verbs[object] | str, url: Path, stored_as: str, partition_by: Names, options: Options | None
) -> Result[str, Error]:
    if isinstance(rows, str):
        sql = rows
    else:
        ready = readable(rows.plan)
        if isinstance(ready, Err):
            return ready
        sql = rows.to_sql()
    try:
        return Ok(copy(sql, os.fspath(url), stored_as, partition_by, options))
    except ValueError as error:
        return Err(Error("PLAN", str(error), hint="no file, column or option has such a name"))


def _option(value: str | float | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
