"""The trades of Kraken: the channel `trade` of its API v2."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from polarway.feeds._exchange import Exchange, amount, refused, side_of, time_of
from polarway.feeds.trade import Trade

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime


def _native(base: str, quote: str) -> str:
    return f"{base}/{quote}"


def _subscribe(symbols: Sequence[str]) -> tuple[str, ...]:
    # A snapshot tells of trades from before the subscription, which a feed that reconnects has had.
    params = {"channel": "trade", "symbol": list(symbols), "snapshot": False}
    return (json.dumps({"method": "subscribe", "params": params}),)


def _parse(message: dict[str, Any], symbols: Mapping[str, str], received: datetime) -> tuple[Trade, ...]:
    if message.get("success") is False or "error" in message:
        raise refused(KRAKEN.name, message["error"])
    if message.get("channel") != "trade" or message["type"] != "update":
        return ()
    return tuple(
        Trade(
            exchange=KRAKEN.name,
            symbol=symbols[told["symbol"]],
            price=amount(told["price"]),
            size=amount(told["qty"]),
            side=side_of(told["side"]),
            time=time_of(told["timestamp"]),
            id=int(told["trade_id"]),
            received=received,
        )
        for told in message["data"]
    )


KRAKEN = Exchange("kraken", "wss://ws.kraken.com/v2", _native, _subscribe, _parse)
