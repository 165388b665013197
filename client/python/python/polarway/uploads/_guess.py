"""Which Arrow type holds the values of a column, told by the values."""

from __future__ import annotations

import contextlib
import datetime
import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from polarway.parameters import decimal_type
from polarway.uploads._values import Nanos, is_missing, plain

if TYPE_CHECKING:
    from collections.abc import Iterable

    from polarway.uploads._pyarrow import DataType, Schema

_INT64 = range(-(2**63), 2**63)
_UINT64 = range(2**64)
_DIGITS = (38, 76)


class Guess:
    """What the values of one column have been so far.

    Where they do not go together, those of the most frequent sort decide, and of the first one among equals.
    """

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._least = self._greatest = 0
        self._whole = self._scale = 0
        self._zones: set[str | None] = set()
        self._nanos = False
        self._items: Guess | None = None
        self._fields: dict[str, Guess] = {}

    def see(self, value: object) -> None:  # noqa: PLR0912 - one for each sort
        """One more value."""
        value = plain(value)
        match value:
            case _ if is_missing(value):
                return
            case bool():  # which is an int too
                sort = "bool"
            case Nanos():
                sort, self._nanos = "moment", True
            case int():
                sort = "int"
                self._least, self._greatest = min(self._least, value), max(self._greatest, value)
            case float():
                sort = "float"
            case str() | UUID():
                sort = "text"
            case bytes() | bytearray() | memoryview():
                sort = "bytes"
            case Decimal():
                sort = "decimal"
                precision, scale = decimal_type(value) or (0, 0)
                self._whole, self._scale = max(self._whole, precision - scale), max(self._scale, scale)
            case datetime.datetime():  # which is a date too
                sort = "moment" if value.tzinfo is None else "instant"
                self._nanos = self._nanos or bool(getattr(value, "nanosecond", 0))
                if value.tzinfo is not None:
                    self._zones.add(_zone(value.tzinfo))
            case datetime.date():
                sort = "date"
            case datetime.time():
                sort = "time"
            case datetime.timedelta():
                sort = "duration"
                self._nanos = self._nanos or bool(getattr(value, "nanoseconds", 0))
            case Mapping():
                sort = "struct"
                for name, item in cast("Mapping[object, object]", value).items():
                    self._fields.setdefault(str(name), Guess()).see(item)
            case Sequence():
                sort = "list"
                self._items = self._items or Guess()
                for item in cast("Sequence[object]", value):
                    self._items.see(item)
            case _:
                # Arrow has no type for it: its row will be refused, unless there is nothing else.
                sort = "text"
        self._counts[sort] = self._counts.get(sort, 0) + 1

    def type(self, pa: Any) -> DataType:  # noqa: ANN401, PLR0911, PLR0912 - one for each sort
        """The type that holds them."""
        match self._sort():
            case None:
                return pa.null()
            case "bool":
                return pa.bool_()
            case "int":
                return self._integer(pa)
            case "float":
                return pa.float64()
            case "decimal":
                whole = max(self._whole, len(str(max(-self._least, self._greatest))))
                return _decimal(pa, whole, self._scale)
            case "bytes":
                return pa.binary()
            case "moment":
                return pa.timestamp(self._unit())
            case "instant":
                zone = next(iter(self._zones)) if len(self._zones) == 1 else None
                return pa.timestamp(self._unit(), zone or "UTC")
            case "date":
                return pa.date32()
            case "time":
                return pa.time64("us")
            case "duration":
                return pa.duration(self._unit())
            case "list":
                return pa.list_(self._items.type(pa) if self._items else pa.null())
            case "struct" if self._fields:
                return pa.struct([(name, guess.type(pa)) for name, guess in self._fields.items()])
            case "struct":
                # Files have no columns without any part.
                return pa.null()
            case _:
                return pa.string()

    def _sort(self) -> str | None:
        """The sort that decides. Integers go with floats, or with decimals."""
        counts = dict(self._counts)
        integers = counts.get("int", 0)
        for wider in ("float", "decimal"):
            if wider in counts:
                counts[wider] += integers
                counts.pop("int", None)
        # Of equals `max` gives the first, and a dict has the order in which they came.
        return max(counts, key=counts.__getitem__) if counts else None

    def _integer(self, pa: Any) -> DataType:  # noqa: ANN401
        if self._least in _INT64 and self._greatest in _INT64:
            return pa.int64()
        if self._least >= 0 and self._greatest in _UINT64:
            return pa.uint64()
        return _decimal(pa, len(str(max(-self._least, self._greatest))), 0)

    def _unit(self) -> str:
        return "ns" if self._nanos else "us"


def guessed_schema(pa: Any, rows: Iterable[Mapping[str, object]]) -> Schema:  # noqa: ANN401
    """The schema of rows; columns are in the order in which they come first."""
    guesses: dict[str, Guess] = {}
    for row in rows:
        for name, value in row.items():
            # What is nested so deep is refused later on.
            with contextlib.suppress(RecursionError):
                guesses.setdefault(name, Guess()).see(value)
    return pa.schema([(name, guess.type(pa)) for name, guess in guesses.items()])


def _decimal(pa: Any, whole: int, scale: int) -> DataType:  # noqa: ANN401
    """With room for larger ones, which may come later."""
    for digits, make in zip(_DIGITS, (pa.decimal128, pa.decimal256), strict=True):
        if whole + scale <= digits:
            return make(digits, scale)
    # No type has so many digits: those that are too long are refused.
    return pa.decimal256(_DIGITS[-1], min(scale, math.ceil(_DIGITS[-1] / 2)))


def _zone(zone: datetime.tzinfo) -> str | None:
    """The name of a zone that has one: of `zoneinfo` and `pytz`."""
    name = getattr(zone, "key", None) or getattr(zone, "zone", None)
    return name if isinstance(name, str) else None
