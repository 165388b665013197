"""Values of rows as plain Python ones, and texts that stand for times."""

from __future__ import annotations

import datetime
import re
from decimal import Decimal
from typing import Any

_EPOCH = datetime.datetime(1970, 1, 1)
_MICROSECOND = datetime.timedelta(microseconds=1)
_UTC = datetime.timezone.utc

_MOMENT = re.compile(
    r"(\d{4}-\d\d-\d\d)"
    r"(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?\s?(Z|z|[+-]\d\d(?::?\d\d)?)?)?"
)
_TIME = re.compile(r"(\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?")


class Digits(Decimal):
    """A number of JSON with all its digits, which may become a float all the same."""


class Nanos(int):
    """Nanoseconds since 1970 in UTC: what NumPy has, finer than a datetime."""


def plain(value: object) -> object:
    """The value; of NumPy's scalars and arrays the Python value that they stand for.

    >>> plain(3)
    3
    """
    if type(value).__module__ != "numpy":
        return value
    found: Any = value
    name = type(value).__name__
    if name not in {"datetime64", "timedelta64"}:
        return found.tolist()
    if found != found:  # noqa: PLR0124 - only "not a time" differs from itself
        return None
    micros = found.astype(f"{name}[us]")
    if micros == found:
        return micros.item()
    # A datetime has no nanoseconds, and an integer would not be known from one. A timedelta stays what it is: refused.
    return Nanos(found.astype("datetime64[ns]").astype("int64")) if name == "datetime64" else found


def is_missing(value: object) -> bool:
    """Whether a value is none at all: None, and `NaT` and `NA` of pandas. NaN is a number."""
    return value is None or type(value).__name__ in {"NaTType", "NAType"}


def moment(value: object) -> int:
    """Nanoseconds since 1970 in UTC of a datetime, a date or a text in ISO 8601; without a zone they are UTC.

    Raises:
        ValueError: it is none of these.

    >>> moment("1970-01-01T01:00:00.5+01:00")
    500000000
    """
    match value:
        case Nanos():
            return int(value)
        case str():
            return _moment(value)
        case datetime.datetime():  # which is a date too
            return _nanoseconds(value)
        case datetime.date():
            return _nanoseconds(datetime.datetime(value.year, value.month, value.day))
        case _:
            raise ValueError("a date and time")


def date(value: object) -> datetime.date:
    """A date, or a text that is one.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(value, datetime.date) and not isinstance(value, datetime.datetime):
        return value
    if isinstance(value, str) and len(value) == len("2026-11-30"):
        return datetime.date.fromisoformat(value)
    raise ValueError("a date")


def time(value: object) -> int:
    """Nanoseconds since midnight of a time without zone, or of a text that is one.

    Raises:
        ValueError: it is neither.

    >>> time("00:01:00.000000001")
    60000000001
    """
    if isinstance(value, datetime.time) and value.tzinfo is None:
        seconds = (value.hour * 60 + value.minute) * 60 + value.second
        return (seconds * 1_000_000 + value.microsecond) * 1000
    found = _TIME.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError("a time without zone")
    hour, minute, second, fraction = found.groups(default="0")
    # Refuses hours that no day has.
    return time(datetime.time(int(hour), int(minute), int(second))) + _fraction(fraction)


def duration(value: object) -> int:
    """Nanoseconds of a timedelta.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(value, datetime.timedelta):
        raise ValueError("a timedelta")  # noqa: TRY004 - what does not fit is a ValueError here
    return (value // _MICROSECOND) * 1000 + getattr(value, "nanoseconds", 0) % 1000


def _moment(text: str) -> int:
    found = _MOMENT.fullmatch(text)
    if found is None:
        raise ValueError("a date and time in ISO 8601")
    day, hours, minutes, seconds, fraction, zone = found.groups()
    midnight = datetime.datetime.fromisoformat(day)
    at = midnight.replace(hour=int(hours or 0), minute=int(minutes or 0), second=int(seconds or 0))
    return (at - _EPOCH) // _MICROSECOND * 1000 + _fraction(fraction or "0") - _offset(zone or "Z")


def _offset(zone: str) -> int:
    if zone in {"Z", "z"}:
        return 0
    hours, minutes = int(zone[1:3]), int(zone[3:].lstrip(":") or 0)
    size = (hours * 60 + minutes) * 60 * 10**9
    return -size if zone[0] == "-" else size


def _fraction(digits: str) -> int:
    return int(digits.ljust(9, "0"))


def _nanoseconds(value: datetime.datetime) -> int:
    nanos = getattr(value, "nanosecond", 0)
    at = datetime.datetime(
        value.year, value.month, value.day, value.hour, value.minute, value.second, value.microsecond
    )
    offset = value.utcoffset() or datetime.timedelta()
    return (at - _EPOCH) // _MICROSECOND * 1000 + nanos - offset // _MICROSECOND * 1000
