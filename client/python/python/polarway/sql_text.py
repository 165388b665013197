"""How names and values are written in SQL, so that no part of them is read as anything else.

The one place that quotes: all SQL that this package composes has its names and values from here. It is written in the
server's own dialect; a session that has set `datafusion.sql_parser.dialect` to another one reads it otherwise.
"""

from __future__ import annotations

import datetime
import math
from decimal import Decimal
from typing import TYPE_CHECKING

from polarway.parameters import decimal_type

if TYPE_CHECKING:
    from polarway.parameters import Value

_INT64 = range(-(2**63), 2**63)
_UINT64 = range(2**64)


def identifier(name: str) -> str:
    """A name of a column or table, as it is: case and all signs count.

    Raises:
        ValueError: the name has a NUL or half of a surrogate pair, which SQL has no way to write.

    >>> print(identifier('a "b" c'))
    "a ""b"" c"
    """
    return f'"{_written(name, "name").replace(chr(34), chr(34) * 2)}"'


def text(value: str) -> str:
    """A text, also a path that stands in place of a table.

    Raises:
        ValueError: the text has a NUL or half of a surrogate pair.

    >>> print(text("it's"))
    'it''s'
    """
    return f"'{_written(value, 'text').replace(chr(39), chr(39) * 2)}'"


def table(name: str) -> str:
    """A table by its name as `tables()` gives it: `name` or `schema.name`, quoted part by part.

    >>> print(table("public.Ticks"))
    "public"."Ticks"
    """
    return ".".join(identifier(part) for part in name.split("."))


def literal(value: Value) -> str:  # noqa: PLR0911, PLR0912 - one for each type
    """A value, of the type that it would have as a parameter.

    Raises:
        TypeError: values of this type cannot be written.
        ValueError: this value cannot: a text with a NUL, a decimal that is no number or too long.

    >>> print(literal("it's"), literal(None), literal(-1), literal(datetime.date(2026, 11, 30)))
    'it''s' NULL (-1) DATE '2026-11-30'
    """
    match value:
        case None:
            return "NULL"
        case bool():  # which is an int too
            return "TRUE" if value else "FALSE"
        case int():
            return _integer(int(value))
        case float():
            return _float(float(value))
        case str():
            return text(value)
        case bytes():
            return f"X'{value.hex()}'"
        case Decimal():
            return _decimal(value)
        case datetime.datetime():  # which is a date too
            if value.tzinfo is None:
                return _cast(value.isoformat(), "Timestamp(Microsecond, None)")
            return _cast(value.astimezone(datetime.timezone.utc).isoformat(), 'Timestamp(Microsecond, Some("UTC"))')
        case datetime.date():
            return f"DATE '{value.isoformat()}'"
        case datetime.time() if value.tzinfo is None:
            return _cast(value.isoformat(), "Time64(Microsecond)")
        case datetime.timedelta():
            micros = value // datetime.timedelta(microseconds=1)
            return f"arrow_cast({_integer(micros)}, 'Duration(Microsecond)')"
        case _:
            raise TypeError(f"a value of type {type(value).__name__} cannot be written in SQL")


def _written(value: str, what: str) -> str:
    if "\0" in value:
        raise ValueError(f"a {what} with a NUL cannot be written in SQL: {value!r}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"a {what} with half of a surrogate pair cannot be written in SQL: {value!r}") from None
    return value


def _integer(value: int) -> str:
    if value not in _INT64 and value not in _UINT64:
        return _decimal(Decimal(value))
    # Two minus signs in a row would begin a comment.
    return f"({value})" if value < 0 else str(value)


def _float(value: float) -> str:
    if not math.isfinite(value):
        return f"CAST('{value}' AS DOUBLE)"
    # Negative zero has a sign too.
    return f"({value!r})" if math.copysign(1.0, value) < 0 else repr(value)


def _decimal(value: Decimal) -> str:
    found = decimal_type(value)
    if found is None:
        raise ValueError(f"a decimal that is no number, or has more than 76 digits, cannot be written in SQL: {value}")
    precision, scale = found
    return f"CAST('{value:f}' AS DECIMAL({precision}, {scale}))"


def _cast(value: str, type_: str) -> str:
    return f"arrow_cast('{value}', '{type_}')"
