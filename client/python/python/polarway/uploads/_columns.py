"""The columns that a table has, for rows that are appended to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from polarway.result import Err, Ok, Result
from polarway.uploads._pyarrow import pyarrow

if TYPE_CHECKING:
    from polarway.error import Error
    from polarway.table import Table
    from polarway.uploads._pyarrow import Schema
    from polarway.uploads._upload import Target

_ABSENT = {"TABLE_NOT_FOUND", "NOT_FOUND"}


def columns_query(target: Target) -> str:
    """The query whose result has the columns of a table, and no row."""
    return f"{target.query()} LIMIT 0"


def columns_told(target: Target, answer: Result[Table, Error]) -> Result[Schema | None, Error]:
    """The columns; none of a table that the upload is to make."""
    if isinstance(answer, Err):
        absent = target.mode == "create_append" and answer.unwrap_err().kind in _ABSENT
        return Ok(None) if absent else answer
    return pyarrow("from_records").map(lambda pa: pa.schema(answer.unwrap()).remove_metadata())
