"""`Exchange`: what has to be known of one exchange, and what their messages have in common."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime, timezone
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from polarway.error import Error

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from polarway.feeds.trade import Trade

# RFC 3339; Python 3.10 reads neither the Z nor fractions of any other length than 3 or 6 digits.
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z", re.ASCII)


@dataclass(frozen=True)
class Exchange:
    """One exchange.

    Attributes:
        name: As `connect_exchange` takes it.
        url: Address of its public feed.
        native: The exchange's own spelling of a symbol of two parts.
        subscribe: The messages that ask for the trades of such symbols.
        parse: The trades that a message tells of: none for those that tell of something else. It takes the message's
            fields, our spelling of each symbol by the exchange's, and the time of receipt. It raises `Error` for a
            message by which the exchange reports an error, and anything for one that is not as it should be.
    """

    name: str
    url: str
    native: Callable[[str, str], str]
    subscribe: Callable[[Sequence[str]], tuple[str, ...]]
    parse: Callable[[dict[str, Any], Mapping[str, str], datetime], tuple[Trade, ...]]


def fields(message: str | bytes) -> dict[str, Any]:
    """The fields of a JSON object, with fractions as exact decimals."""
    # Numbers that JSON does not have, which Python reads all the same.
    read: object = json.loads(message, parse_float=Decimal, parse_constant=_no_number)
    if not isinstance(read, dict):
        raise TypeError("it is no JSON object")
    return read  # pyright: ignore[reportUnknownVariableType]  # the keys of a JSON object are strings


def amount(told: str | int | Decimal) -> Decimal:
    """A price or a size: more than 0."""
    try:
        number = Decimal(told)
    except InvalidOperation:
        raise ValueError(f"{told!r} is no number") from None
    if not number.is_finite() or number <= 0:
        raise ValueError(f"{told!r} is no price or size")
    return number


def side_of(told: str) -> Literal["buy", "sell"]:
    """A side."""
    if told == "buy":
        return "buy"
    if told == "sell":
        return "sell"
    raise ValueError(f"{told!r} is no side")


def time_of(told: str) -> datetime:
    """A time in UTC; digits below the microsecond are dropped.

    >>> print(time_of("2026-08-25T07:49:37.708706123Z"))
    2026-08-25 07:49:37.708706+00:00
    """
    parts = _TIME.fullmatch(told)
    if parts is None:
        raise ValueError(f"{told!r} is no time in UTC")
    whole, fraction = parts.groups(default="")
    return datetime.fromisoformat(whole).replace(microsecond=int(fraction[:6].ljust(6, "0")), tzinfo=timezone.utc)


def refused(exchange: str, reason: object) -> Error:
    """The error of a message by which an exchange reports one: nearly always a symbol that it does not know."""
    return Error(
        "INVALID_SETTING", f"{exchange} answered: {reason}", hint="check the symbols; not all trade everywhere"
    )


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")
