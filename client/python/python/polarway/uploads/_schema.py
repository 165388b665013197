"""The columns that rows are to have, as users give them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from polarway.error import Error
from polarway.result import Err, Ok, Result
from polarway.uploads._type_names import named_type

if TYPE_CHECKING:
    import pyarrow

    from polarway.uploads._pyarrow import Schema

Columns: TypeAlias = "pyarrow.Schema | Mapping[str, str | pyarrow.DataType]"


def schema_of(pa: Any, given: object) -> Result[Schema, Error]:  # noqa: ANN401
    """The schema of pyarrow, or of names and types."""
    if isinstance(given, pa.Schema):
        return Ok(cast("Schema", given).remove_metadata())
    if not isinstance(given, Mapping):
        message = f"a schema is one of pyarrow, or a dict of names and types, not {type(given).__qualname__}"
        return Err(Error("TYPE_MISMATCH", message, hint='{"id": "BIGINT", "at": "TIMESTAMP(6)"}'))
    fields: list[object] = []
    for name, type_ in cast("Mapping[str, object]", given).items():
        try:
            fields.append(pa.field(name, named_type(pa, type_) if isinstance(type_, str) else type_))
        except (ValueError, TypeError, pa.ArrowException) as error:
            message = f"the column `{name}`: {error}"
            return Err(Error("TYPE_MISMATCH", message, hint="types are those of SQL, of Arrow, or of pyarrow"))
    return Ok(pa.schema(fields))
