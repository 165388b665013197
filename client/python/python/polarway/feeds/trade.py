"""`Trade`: what one trade is, on whatever exchange."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from datetime import datetime
    from decimal import Decimal


@dataclass(frozen=True, slots=True)
class Trade:
    """One trade of an exchange.

    Attributes:
        exchange: `binance`, `coinbase` or `kraken`.
        symbol: What was traded for what, `BTC-USDT`.
        price: Of one unit of the first, in units of the second.
        size: Units of the first.
        side: What the taker did, whose order met one that stood in the book.
        time: When it happened, by the exchange's clock, in UTC.
        id: The exchange's number of the trade, unique for the symbol.
        received: When its message was read here, by this machine's clock, in UTC.
    """

    exchange: str
    symbol: str
    price: Decimal
    size: Decimal
    side: Literal["buy", "sell"]
    time: datetime
    id: int
    received: datetime
