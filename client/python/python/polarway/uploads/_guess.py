"""Which Arrow type holds the values of a column, told by the values."""

from __future__ import annotations

import datetime
import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, cast

from polarway.parameters import decimal_type
from polarway.uploads._values import Nanos, is_missing, plain

if TYPE_CHECKING:
    from collections.abc import Iterable

    from polarway.uploads._pyarrow import DataType, Schema

_INT64 = range(-(2**63), 2**63)
_UINT64 = range(2**64)
_DIGITS = (38, 76)
_ROWS = 4096
# Types are nested no deeper.
_DEEPEST = 50
# Texts, and what Arrow has no type for: its row is refused, unless the others are texts.
_NO_SORT = "text"
_SIMPLE: dict[type, str] = {str: "text", bool: "bool", float: "float", bytes: "bytes", datetime.date: "date"}


class Guess:
    """What the values of one column have been so far.

    Where they do not go together, those of the most frequent sort decide, and of the first one among equals.
    """

    def __init__(self, depth: int = 0) -> None:
        self._depth = depth
        self._counts: dict[str, int] = {}
        self._least = self._greatest = 0
        self._whole = self._scale = 0
        self._zones: set[str | None] = set()
        self._nanos = False
        self._items: Guess | None = None
        self._fields: dict[str, Guess] = {}

    def see(self, values: Sequence[object]) -> None:
        """Many more values, all of one type of Python at a time, in the order in which the types come first."""
        for type_, count in Counter(map(type, values)).items():
            sort = _SIMPLE.get(type_)
            if type_ is type(None):
                continue
            if sort is not None:
                # Of these nothing has to be known but how many they are.
                self._count(sort, count)
            elif type_ is int:
                found = [value for value in values if type(value) is int]
                self._see_integers(min(found), max(found), count)
            elif type_ is list or type_ is tuple:
                self._see_lists([cast("Sequence[object]", value) for value in values if type(value) is type_])
            elif type_ is dict:
                self._see_structs([cast("Mapping[str, object]", value) for value in values if type(value) is dict])
            elif type_ is datetime.datetime:
                self._see_datetimes([value for value in values if type(value) is datetime.datetime])
            else:
                for value in values:
                    if type(value) is type_:
                        self._see_other(value)

    def _count(self, sort: str, count: int = 1) -> None:
        self._counts[sort] = self._counts.get(sort, 0) + count

    def _see_integers(self, least: int, greatest: int, count: int) -> None:
        self._least, self._greatest = min(self._least, least), max(self._greatest, greatest)
        self._count("int", count)

    def _see_lists(self, lists: Sequence[Sequence[object]]) -> None:
        if self._depth >= _DEEPEST:
            self._count(_NO_SORT, len(lists))
            return
        self._items = self._items or Guess(self._depth + 1)
        self._items.see(list(itertools.chain.from_iterable(lists)))
        self._count("list", len(lists))

    def _see_structs(self, structs: Sequence[Mapping[str, object]]) -> None:
        if self._depth >= _DEEPEST:
            self._count(_NO_SORT, len(structs))
            return
        for name in dict.fromkeys(itertools.chain.from_iterable(structs)):
            guess = self._fields.setdefault(str(name), Guess(self._depth + 1))
            guess.see([struct.get(name) for struct in structs])
        self._count("struct", len(structs))

    def _see_datetimes(self, datetimes: Sequence[datetime.datetime]) -> None:
        for zone, count in Counter(value.tzinfo for value in datetimes).items():
            self._count("moment" if zone is None else "instant", count)
            if zone is not None:
                self._zones.add(_zone(zone))

    def _see_other(self, value: object) -> None:  # noqa: PLR0912 - one for each sort
        """One value of a type that is not the usual one for it."""
        value = plain(value)
        match value:
            case _ if is_missing(value):
                pass
            case bool():  # which is an int too
                self._count("bool")
            case Nanos():
                self._nanos = True
                self._count("moment")
            case int():
                self._see_integers(value, value, 1)
            case float():
                self._count("float")
            case bytes() | bytearray() | memoryview():
                self._count("bytes")
            case Decimal():
                precision, scale = decimal_type(value) or (0, 0)
                self._whole, self._scale = max(self._whole, precision - scale), max(self._scale, scale)
                self._count("decimal")
            case datetime.datetime():  # which is a date too
                self._nanos = self._nanos or bool(getattr(value, "nanosecond", 0))
                self._see_datetimes([value])
            case datetime.date():
                self._count("date")
            case datetime.time():
                self._count("time")
            case datetime.timedelta():
                self._nanos = self._nanos or bool(getattr(value, "nanoseconds", 0))
                self._count("duration")
            case Mapping():
                self._see_structs([cast("Mapping[str, object]", value)])
            case Sequence() if not isinstance(value, str):
                self._see_lists([cast("Sequence[object]", value)])
            case _:
                self._count(_NO_SORT)

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
    several = iter(rows)
    while some := list(itertools.islice(several, _ROWS)):
        for name in dict.fromkeys(itertools.chain.from_iterable(some)):
            guesses.setdefault(name, Guess()).see([row.get(name) for row in some])
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
