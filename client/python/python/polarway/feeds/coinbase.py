"""The trades of Coinbase Exchange: its channel `matches`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from polarway.feeds._exchange import Exchange, amount, refused, side_of, time_of
from polarway.feeds.trade import Trade

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime


def _native(base: str, quote: str) -> str:
    return f"{base}-{quote}"


def _subscribe(symbols: Sequence[str]) -> tuple[str, ...]:
    # Heartbeats come every second, so that silence means that the connection is dead and not the market.
    return (json.dumps({"type": "subscribe", "product_ids": list(symbols), "channels": ["matches", "heartbeat"]}),)


def _parse(message: dict[str, Any], symbols: Mapping[str, str], received: datetime) -> tuple[Trade, ...]:
    kind = message["type"]
    if kind == "error":
        reason = message.get("reason")
        raise refused(COINBASE.name, f"{message['message']}: {reason}" if reason else message["message"])
    # `last_match` tells after each subscription of a trade from before it, which a feed that reconnects has had.
    if kind != "match":
        return ()
    trade = Trade(
        exchange=COINBASE.name,
        symbol=symbols[message["product_id"]],
        price=amount(message["price"]),
        size=amount(message["size"]),
        # Coinbase names the side of the order that stood in the book.
        side="sell" if side_of(message["side"]) == "buy" else "buy",
        time=time_of(message["time"]),
        id=int(message["trade_id"]),
        received=received,
    )
    return (trade,)


COINBASE = Exchange("coinbase", "wss://ws-feed.exchange.coinbase.com", _native, _subscribe, _parse)
