"""Values for a statement's placeholders, as the native client takes them: name, Arrow type, text."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TypeAlias

from polarway.error import Error
from polarway.result import Err, Ok, Result

Value: TypeAlias = (
    bool
    | int
    | float
    | str
    | bytes
    | Decimal
    | datetime.datetime
    | datetime.date
    | datetime.time
    | datetime.timedelta
    | None
)
Parameters: TypeAlias = Sequence[Value] | Mapping[str, Value]
Encoded: TypeAlias = tuple[str, str, str | bytes | None]

_INT64 = range(-(2**63), 2**63)
_UINT64 = range(2**64)
# Digits that Arrow's decimals have.
_DECIMAL128 = 38
_DECIMAL256 = 76


def encoded(parameters: Parameters | None) -> Result[list[Encoded], Error]:
    """The values of a sequence under their numbers, those of a mapping under their names.

    Gives an error of kind `TYPE_MISMATCH` that names the first value without a type in Arrow. NumPy's scalars count as
    the Python values that they give by `item()`.
    """
    if parameters is None:
        return Ok([])
    if isinstance(parameters, Mapping):
        named = list(parameters.items())
    elif isinstance(parameters, (str, bytes)):
        return Err(Error("TYPE_MISMATCH", "parameters are a sequence or a mapping of values, not one text"))
    else:
        named = [(str(number), value) for number, value in enumerate(parameters, start=1)]
    values: list[Encoded] = []
    for name, value in named:
        found = _typed(value)
        if found is None:
            kind = type(value).__name__
            return Err(Error("TYPE_MISMATCH", f"the parameter `{name}`: a value of type {kind} cannot be sent"))
        values.append((name, *found))
    return Ok(values)


def _typed(value: object) -> tuple[str, str | bytes | None] | None:  # noqa: PLR0911
    """The Arrow type of a value, and what it is; `None` if it has none."""
    match value:
        case None:
            return "Null", None
        case bool():  # which is an int too
            return "Boolean", str(value).lower()
        case int():
            return _integer(int(value))
        case float():
            return "Float64", repr(float(value))
        case str():
            return "Utf8", str(value)
        case bytes() | bytearray():
            return "Binary", bytes(value)
        case Decimal():
            return _decimal(value)
        case datetime.datetime():  # which is a date too
            zone = "None" if value.tzinfo is None else 'Some("UTC")'
            moment = value if value.tzinfo is None else value.astimezone(datetime.timezone.utc)
            return f"Timestamp(Microsecond, {zone})", moment.isoformat()
        case datetime.date():
            return "Date32", value.isoformat()
        case datetime.time() if value.tzinfo is None:
            return "Time64(Microsecond)", value.isoformat()
        case datetime.timedelta():
            return "Duration(Microsecond)", str(value // datetime.timedelta(microseconds=1))
        case _:
            item = getattr(value, "item", None)
            return _typed(item()) if callable(item) and type(value).__module__ == "numpy" else None


def _integer(value: int) -> tuple[str, str] | None:
    if value in _INT64:
        return "Int64", str(value)
    if value in _UINT64:
        return "UInt64", str(value)
    return _decimal(Decimal(value))


def _decimal(value: Decimal) -> tuple[str, str] | None:
    found = decimal_type(value)
    if found is None:
        return None
    precision, scale = found
    bits = 128 if precision <= _DECIMAL128 else 256
    return f"Decimal{bits}({precision}, {scale})", f"{value:f}"


def decimal_type(value: Decimal) -> tuple[int, int] | None:
    """Precision and scale that hold a decimal as it is; `None` if it is no number, or too long."""
    digits, exponent = value.as_tuple().digits, value.as_tuple().exponent
    if not isinstance(exponent, int):
        return None  # not a number, or infinite
    scale = max(0, -exponent)
    precision = max(len(digits) + max(0, exponent), scale, 1)
    return None if precision > _DECIMAL256 else (precision, scale)
