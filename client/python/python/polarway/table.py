"""`Table` and `Batch`: rows of a result, in memory as Arrow columns."""

from __future__ import annotations

import html
import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas
    import polars
    import pyarrow

    from polarway._polarway import NativeBatch, NativeTable

_SHOWN = 10


def _imported(name: str) -> Any:  # noqa: ANN401 - a module
    """A library that is needed for this alone, and not to import polarway."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(f"this needs {name}: pip install {name}") from error


class Batch:
    """Some rows of a result that is read as a stream.

    Implements the Arrow PyCapsule interface (`__arrow_c_array__`) without a copy, so that pyarrow, Polars, DuckDB and
    others take it as it is.
    """

    __slots__ = ("_native",)

    def __init__(self, native: NativeBatch) -> None:
        self._native = native

    def __len__(self) -> int:
        return self._native.num_rows

    def __bool__(self) -> bool:
        """Whether there is a row."""
        return len(self) > 0

    def __arrow_c_schema__(self) -> object:
        return self._native.__arrow_c_schema__()

    def __arrow_c_array__(self, requested_schema: object | None = None) -> tuple[object, object]:
        return self._native.__arrow_c_array__(requested_schema)

    def to_arrow(self) -> pyarrow.RecordBatch:
        """The rows as a `pyarrow.RecordBatch`, without a copy."""
        rows: pyarrow.RecordBatch = _imported("pyarrow").record_batch(self)
        return rows

    def __repr__(self) -> str:
        return self._native.text()


class Table:
    """All rows of a result.

    Implements the Arrow PyCapsule interface (`__arrow_c_stream__`) without a copy, so that pyarrow, Polars, DuckDB and
    others take it as it is.

    `len(table)` is the number of rows, and a table without rows is false. Iterating gives the rows as dicts.
    """

    __slots__ = ("_native", "took")

    def __init__(self, native: NativeTable, took: float) -> None:
        self._native = native
        self.took = took
        """Seconds from the call to the last row."""

    @property
    def query_id(self) -> str:
        """The query's id, as the server's log and web pages name it."""
        return self._native.query_id

    @property
    def route(self) -> str:
        """How the server ran the query: `direct`, `staged` or `metadata`."""
        return self._native.route

    @property
    def columns(self) -> list[str]:
        """The columns' names."""
        return [name for name, _ in self._native.columns]

    @property
    def types(self) -> list[str]:
        """The columns' types, as Arrow names them."""
        return [type_ for _, type_ in self._native.columns]

    @property
    def nbytes(self) -> int:
        """Bytes that the columns hold in memory."""
        return self._native.nbytes

    def __len__(self) -> int:
        return self._native.num_rows

    def __bool__(self) -> bool:
        """Whether there is a row."""
        return len(self) > 0

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """The rows as dicts from column to value. Needs pyarrow."""
        for batch in self.to_arrow().to_batches():
            yield from batch.to_pylist()

    def __arrow_c_schema__(self) -> object:
        return self._native.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self._native.__arrow_c_stream__(requested_schema)

    def to_arrow(self) -> pyarrow.Table:
        """The rows as a `pyarrow.Table`, without a copy."""
        rows: pyarrow.Table = _imported("pyarrow").table(self)
        return rows

    def to_polars(self) -> polars.DataFrame:
        """The rows as a `polars.DataFrame`."""
        frame: polars.DataFrame = _imported("polars").DataFrame(self)
        return frame

    def to_pandas(self) -> pandas.DataFrame:
        """The rows as a `pandas.DataFrame`. Needs pyarrow."""
        frame: pandas.DataFrame = _imported("pyarrow").table(self).to_pandas()
        return frame

    def to_dicts(self) -> list[dict[str, Any]]:
        """The rows as a list of dicts. Needs pyarrow."""
        return list(self)

    def texts(self) -> list[list[str]]:
        """All values as texts, row by row; needs no other package."""
        return self._native.cells(len(self))

    def _summary(self) -> str:
        rows = "1 row" if len(self) == 1 else f"{len(self):,} rows"
        columns = "1 column" if len(self.columns) == 1 else f"{len(self.columns):,} columns"
        return f"{rows}, {columns}; {self.route} route, {self.took * 1000:.1f} ms"

    def __repr__(self) -> str:
        more = f"\n… {len(self) - _SHOWN:,} more" if len(self) > _SHOWN else ""
        return f"{self._native.text(_SHOWN)}{more}\n{self._summary()}"

    def _repr_html_(self) -> str:
        """For notebooks."""
        heads = "".join(
            f"<th>{html.escape(name)}<br><small>{html.escape(type_)}</small></th>"
            for name, type_ in self._native.columns
        )
        rows = self._native.cells(_SHOWN)
        cells = ["".join(f"<td>{html.escape(value)}</td>" for value in row) for row in rows]
        body = "".join(f"<tr>{row}</tr>" for row in cells)
        return (
            f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table><p>{html.escape(self._summary())}</p>"
        )
