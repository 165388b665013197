"""Values into columns of a given type, without ever storing another value than the one that came.

pyarrow by itself cuts floats to integers, datetimes to dates, and takes an integer for a timestamp. A column whose
values have the types that are plain for it goes to pyarrow at once; otherwise each value is looked at by itself.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from polarway.error import Error
from polarway.parameters import decimal_type
from polarway.result import Err, Ok, Result
from polarway.uploads import _values
from polarway.uploads._values import is_missing, plain

if TYPE_CHECKING:
    from polarway.uploads._pyarrow import Array, DataType

_NONE = type(None)
_NANOS = {"s": 10**9, "ms": 10**6, "us": 1000, "ns": 1}
_INT64 = range(-(2**63), 2**63)
# Above these a float of so many bits is infinite: half a step beyond the largest.
_LARGEST = {16: 65520.0, 32: 3.4028235677973366e38, 64: float("inf")}
_MANTISSA = {16: 11, 32: 24, 64: 53}


@dataclass(frozen=True)
class Column:
    """How values of one type are made.

    Attributes:
        type: The Arrow type.
        plain: Types of values that pyarrow may get as they are: it takes them exactly, or refuses them.
        exact: Makes of any other value what pyarrow takes exactly. Raises ValueError, which says what was expected.
        nullable: Whether a value may be missing.
    """

    type: DataType
    plain: frozenset[type]
    exact: Callable[[Any], object]
    nullable: bool = True

    def one(self, value: object) -> object:
        """What pyarrow takes for a value.

        Raises:
            ValueError: it does not fit; the text says why.
        """
        value = plain(value)
        if is_missing(value):
            if not self.nullable:
                raise ValueError("may not be null")
            return None
        try:
            return self.exact(value)
        except (ValueError, OverflowError) as error:
            raise ValueError(f"expected {self.type}, found {_shown(value)}: {error}") from None


def column(pa: Any, type_: DataType, *, nullable: bool = True) -> Column:  # noqa: ANN401
    """The column of a type.

    Raises:
        TypeError: no values of Python make one.
    """
    plain_types, exact = _maker(pa, type_)
    return Column(type_, frozenset(plain_types | ({_NONE} if nullable else set())), exact, nullable)


def array(pa: Any, of: Column, values: list[object]) -> tuple[Array, dict[int, str]]:  # noqa: ANN401
    """The values as an array, with null for those that do not fit; and why, by their places."""
    if of.plain.issuperset(map(type, values)):
        try:
            return pa.array(values, type=of.type), {}
        except (pa.ArrowException, ValueError, OverflowError):
            # Some value is out of range: which, is found below.
            pass
    bad: dict[int, str] = {}
    exact: list[object] = []
    for place, value in enumerate(values):
        try:
            exact.append(of.one(value))
        except (ValueError, RecursionError) as error:
            exact.append(None)
            bad[place] = str(error)
    try:
        return pa.array(exact, type=of.type), bad
    except (pa.ArrowException, ValueError, OverflowError):
        return _each(pa, of, exact, bad)


def _each(pa: Any, of: Column, exact: list[object], bad: dict[int, str]) -> tuple[Array, dict[int, str]]:  # noqa: ANN401
    """The same one by one: pyarrow does not say which of many it does not take."""
    for place, value in enumerate(exact):
        try:
            pa.array([value], type=of.type)
        except (pa.ArrowException, ValueError, OverflowError) as error:
            exact[place] = None
            bad[place] = f"expected {of.type}, found {_shown(value)}: {error}"
    return pa.array(exact, type=of.type), bad


def _maker(pa: Any, type_: DataType) -> tuple[set[type], Callable[[Any], object]]:  # noqa: ANN401, PLR0911, PLR0912
    types = pa.types
    if types.is_null(type_):
        return set(), _nothing
    if types.is_boolean(type_):
        return {bool}, _bool
    if types.is_integer(type_):
        return {int}, _integer
    if types.is_floating(type_):
        bits: int = type_.bit_width
        # Others are rounded, and pyarrow lets them become infinite.
        return {float, int} if bits == max(_LARGEST) else set(), lambda value: _float(value, bits)
    if types.is_decimal(type_):
        # pyarrow checks an integer's digits against other rules than a decimal's.
        return {Decimal}, _decimal
    if types.is_string(type_) or types.is_large_string(type_) or types.is_string_view(type_):
        return {str}, _text
    if _is_binary(types, type_):
        return {bytes}, _bytes
    if types.is_timestamp(type_):
        fine = type_.unit in {"us", "ns"}
        return {datetime.datetime} if fine else set(), lambda value: _in_units(_values.moment(value), type_.unit)
    if types.is_date32(type_):
        return {datetime.date}, _values.date
    if types.is_date64(type_):
        return set(), _values.date
    if types.is_time(type_):
        return set(), lambda value: _in_units(_values.time(value), type_.unit)
    if types.is_duration(type_):
        fine = type_.unit in {"us", "ns"}
        return {datetime.timedelta} if fine else set(), lambda value: _in_units(_values.duration(value), type_.unit)
    if types.is_dictionary(type_):
        return _maker(pa, type_.value_type)
    if types.is_struct(type_):
        fields = {field.name: column(pa, field.type, nullable=field.nullable) for field in type_}
        return set(), lambda value: _struct(value, fields)
    if types.is_map(type_):
        keys, items = column(pa, type_.key_type, nullable=False), column(pa, type_.item_type)
        return set(), lambda value: _map(value, keys, items)
    if _is_list(types, type_):
        inner = column(pa, type_.value_type, nullable=type_.value_field.nullable)
        size: int | None = type_.list_size if types.is_fixed_size_list(type_) else None
        return set(), lambda value: _list(value, inner, size)
    raise TypeError(f"values of Python make no column of type {type_}")


def _is_binary(types: Any, type_: DataType) -> bool:  # noqa: ANN401
    return any(
        is_type(type_)
        for is_type in (types.is_binary, types.is_large_binary, types.is_binary_view, types.is_fixed_size_binary)
    )


def _is_list(types: Any, type_: DataType) -> bool:  # noqa: ANN401
    return any(
        is_type(type_) for is_type in (types.is_list, types.is_large_list, types.is_fixed_size_list, types.is_list_view)
    )


def _nothing(value: object) -> object:
    # What is always empty has no type of its own.
    if isinstance(value, Mapping) and not value:
        return None
    raise ValueError("no value was there when the type was found")


def _bool(value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise ValueError("it is no boolean")


def _integer(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value)
    if isinstance(value, float | Decimal) and value == (whole := int(value)):
        return whole
    raise ValueError("it is no whole number")


def _float(value: object, bits: int) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise ValueError("it is no number")  # noqa: TRY004 - what does not fit is a ValueError here
    found = float(value)
    if isinstance(value, Decimal) and not isinstance(value, _values.Digits) and Decimal(repr(found)) != value:
        raise ValueError("a float has not so many digits")
    if isinstance(value, int) and (found != value or abs(value) > 2 ** _MANTISSA[bits]):
        raise ValueError("a float has not so many digits")
    if abs(found) >= _LARGEST[bits] and abs(found) != float("inf"):
        raise ValueError("it is too large")
    return found


def _decimal(value: object) -> Decimal:
    match value:
        case bool():
            raise ValueError("it is no number")
        case int():
            return Decimal(value)
        case float():
            # The shortest number that is this float, which is what people wrote.
            found = Decimal(repr(float(value)))
        case str():
            try:
                found = Decimal(value.strip())
            except ArithmeticError:
                raise ValueError("it is no number") from None
        case Decimal():
            found = value
        case _:
            raise ValueError("it is no number")
    if decimal_type(found) is None:
        raise ValueError("it is no number that decimals have")
    return found


def _text(value: object) -> str:
    if isinstance(value, UUID):
        return str(value)
    if not isinstance(value, str):
        raise ValueError("it is no text")  # noqa: TRY004 - what does not fit is a ValueError here
    # Half of a surrogate pair is a ValueError too.
    value.encode()
    return str(value)


def _bytes(value: Any) -> bytes:  # noqa: ANN401
    if isinstance(value, (bytes, bytearray)) or type(value) is memoryview:
        return bytes(value)
    raise ValueError("it is no bytes")


def _in_units(nanos: int, unit: str) -> int:
    found, rest = divmod(nanos, _NANOS[unit])
    if rest:
        raise ValueError("it is finer than the type")
    if found not in _INT64:
        raise ValueError("it is too far away")
    return found


def _struct(value: object, fields: Mapping[str, Column]) -> dict[str, object]:
    if not isinstance(value, Mapping):
        raise ValueError("it is no object")  # noqa: TRY004 - what does not fit is a ValueError here
    items = cast("Mapping[str, object]", value)
    for name in items:
        if name not in fields:
            raise ValueError(f"it has `{name}`, which the type has not")
    return {name: _one(items.get(name), of) for name, of in fields.items()}


def _one(value: object, of: Column) -> object:
    """As `one`, at once for what pyarrow may get as it is."""
    return value if type(value) in of.plain else of.one(value)


def _map(value: object, keys: Column, values: Column) -> list[tuple[object, object]]:
    pairs = cast("Mapping[object, object]", value).items() if isinstance(value, Mapping) else _sequence(value)
    found: list[tuple[object, object]] = []
    for pair in pairs:
        key, item = cast("tuple[object, object]", pair)
        found.append((keys.one(key), values.one(item)))
    return found


def _list(value: object, items: Column, size: int | None) -> list[object]:
    came = _sequence(value)
    found = list(came) if items.plain.issuperset(map(type, came)) else [items.one(item) for item in came]
    if size is not None and len(found) != size:
        raise ValueError(f"it has {len(found)} items")
    return found


def _sequence(value: object) -> Sequence[object]:
    if isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray):
        return cast("Sequence[object]", value)
    raise ValueError("it is no list")


def _shown(value: object) -> str:
    try:
        shown = repr(value)
    except Exception:  # noqa: BLE001 - whatever the object of a user does
        shown = object.__repr__(value)
    return shown if len(shown) <= 80 else f"{shown[:79]}…"  # noqa: PLR2004 - a line of a terminal


def columns(pa: Any, schema: Any) -> Result[dict[str, Column], Error]:  # noqa: ANN401
    """How the columns of a schema are made, by their names."""
    made: dict[str, Column] = {}
    for field in schema:
        if field.name in made:
            return Err(Error("PLAN", f"the column `{field.name}` is there twice", hint="rename one"))
        try:
            made[field.name] = column(pa, field.type, nullable=field.nullable)
        except TypeError as error:
            message = f"the column `{field.name}`: {error}"
            return Err(Error("TYPE_MISMATCH", message, hint="make it with pyarrow, and use from_arrow"))
    if not made:
        return Err(Error("PLAN", "the rows have no columns", hint="a table needs one"))
    return Ok(made)
