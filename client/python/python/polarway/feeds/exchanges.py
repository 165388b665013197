"""`connect_exchange`: the public trades of an exchange, in one form for all of them."""

from __future__ import annotations

import re
from collections import deque
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from polarway.backoff import Backoff
from polarway.error import Error
from polarway.feeds._exchange import Exchange, fields
from polarway.feeds.binance import BINANCE
from polarway.feeds.coinbase import COINBASE
from polarway.feeds.feed import Feed
from polarway.feeds.kraken import KRAKEN
from polarway.feeds.trade import Trade
from polarway.feeds.websocket_feed import WebSocketDataStream
from polarway.result import Err, Ok, Result

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from polarway.feeds.counts import Counts

_EXCHANGES = {exchange.name: exchange for exchange in (BINANCE, COINBASE, KRAKEN)}
_SYMBOL = re.compile(r"([A-Za-z0-9]+)[-/]([A-Za-z0-9]+)")
# Exchanges count connections too, and shut out who makes many.
_BACKOFF = Backoff(first=1.0)


def _utc_now() -> datetime:
    return datetime.now(timezone.utc)


def connect_exchange(  # noqa: PLR0913 - each has a default
    name: str,
    symbols: str | Sequence[str] = ("BTC-USDT",),
    *,
    url: str | None = None,
    backoff: Backoff = _BACKOFF,
    max_retries: int | None = None,
    idle_timeout: float | None = None,
    clock: Callable[[], datetime] = _utc_now,
) -> TradeFeed:
    """The trades of an exchange from now on. It connects when the first item is asked for.

    Args:
        name: `binance`, `coinbase` or `kraken`.
        symbols: What is traded for what, `BTC-USDT` or `BTC/USDT`, in the spelling of no exchange.
        url: Address, if another than the exchange's public one.
        backoff: As in `WebSocketDataStream`; the first ceiling is 1 s.
        max_retries: As in `WebSocketDataStream`.
        idle_timeout: As in `WebSocketDataStream`; heartbeats of the exchange are messages too.
        clock: The time in UTC that `Trade.received` tells.

    Raises:
        Error: the exchange is not known, a symbol is none, or the library `websockets` is not installed.
        ValueError: a number is out of its range.

    >>> connect_exchange("mtgox")
    Traceback (most recent call last):
    polarway.error.Error: INVALID_SETTING: no exchange is called 'mtgox'
    Hint: there are binance, coinbase, kraken
    """
    exchange = _EXCHANGES.get(name)
    if exchange is None:
        hint = f"there are {', '.join(_EXCHANGES)}"
        raise Error("INVALID_SETTING", f"no exchange is called {name!r}", hint=hint)
    ours = _symbols(exchange, [symbols] if isinstance(symbols, str) else symbols)

    def parse(message: str | bytes) -> tuple[Trade, ...]:
        return exchange.parse(fields(message), ours, clock())

    messages = WebSocketDataStream(
        exchange.url if url is None else url,
        parse=parse,
        subscribe=exchange.subscribe(list(ours)),
        backoff=backoff,
        max_retries=max_retries,
        idle_timeout=idle_timeout,
    )
    return TradeFeed(name, messages)


class TradeFeed(Feed[Trade]):
    """The trades of one exchange; `connect_exchange` makes it.

    An `Err` is a message that could not be read or in which the exchange reports an error; the feed goes on.
    """

    def __init__(self, exchange: str, messages: Feed[tuple[Trade, ...]]) -> None:
        self._exchange = exchange
        self._messages = messages
        self._trades: deque[Trade] = deque()

    @property
    def exchange(self) -> str:
        """The exchange's name."""
        return self._exchange

    @property
    def counts(self) -> Counts:
        """What the feed has done so far, in messages: one may tell of many trades or none."""
        return self._messages.counts

    @property
    def given_up(self) -> Error | None:
        """Why the feed gave up, if it did."""
        return self._messages.given_up

    def stop(self) -> None:
        """Ends the feed, from any task of its event loop: who waits for an item is told that there is no more."""
        self._trades.clear()
        self._messages.stop()

    async def aclose(self) -> None:
        """As `stop`, and returns when the connection is closed, within 100 ms."""
        self._trades.clear()
        await self._messages.aclose()

    async def __anext__(self) -> Result[Trade, Error]:
        """The next trade. Cancelled, it loses nothing: the trade comes with the next call."""
        while not self._trades:
            item = await self._messages.__anext__()
            if isinstance(item, Err):
                return item
            self._trades.extend(item.unwrap())
        return Ok(self._trades.popleft())


def _symbols(exchange: Exchange, symbols: Sequence[str]) -> dict[str, str]:
    """Our spelling of each symbol by the exchange's."""
    ours: dict[str, str] = {}
    for symbol in symbols:
        parts = _SYMBOL.fullmatch(symbol)
        if parts is None:
            raise Error("INVALID_SETTING", f"{symbol!r} is no symbol", hint="write BASE-QUOTE, such as BTC-USDT")
        base, quote = parts[1].upper(), parts[2].upper()
        ours[exchange.native(base, quote)] = f"{base}-{quote}"
    if not ours:
        raise Error("INVALID_SETTING", "no symbol is named", hint="name one such as BTC-USDT")
    return ours
