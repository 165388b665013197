"""The trades of Binance: its channel `<symbol>@trade`."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from polarway.feeds._exchange import Exchange, amount, refused
from polarway.feeds.trade import Trade

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def _native(base: str, quote: str) -> str:
    return f"{base}{quote}"


def _subscribe(symbols: Sequence[str]) -> tuple[str, ...]:
    channels = [f"{symbol.lower()}@trade" for symbol in symbols]
    return (json.dumps({"method": "SUBSCRIBE", "params": channels, "id": 1}),)


def _parse(message: dict[str, Any], symbols: Mapping[str, str], received: datetime) -> tuple[Trade, ...]:
    failure = message.get("error", message if "code" in message and "msg" in message else None)
    if failure is not None:
        raise refused(BINANCE.name, failure["msg"])
    # An address that names streams itself wraps each message.
    event: dict[str, Any] = message.get("data", message)
    if event.get("e") != "trade":
        return ()
    trade = Trade(
        exchange=BINANCE.name,
        symbol=symbols[event["s"]],
        price=amount(event["p"]),
        size=amount(event["q"]),
        # `m`: the buyer's order stood in the book, so the taker sold.
        side="sell" if event["m"] else "buy",
        # In floating point, milliseconds would come out as other microseconds.
        time=_EPOCH + timedelta(milliseconds=event["T"]),
        id=int(event["t"]),
        received=received,
    )
    return (trade,)


BINANCE = Exchange("binance", "wss://stream.binance.com:9443/ws", _native, _subscribe, _parse)
