"""Watches the trades of three exchanges and prints where a coin could be bought for less than it sells for elsewhere.

It never trades. What it prints is a difference between the last trades, less the fees of both: no offer of that price
needs to be there, and no size. Run it with the package and its extra, `pip install 'polarway[feeds]'`:

    python crypto_arbitrage.py --symbol BTC-USDT --threshold 0.1 --seconds 60

Another address for an exchange is given by a flag (`--kraken-url`) or in the environment (`KRAKEN_URL`).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from polarway import Err, connect_exchange, merge_streams

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from polarway import Trade, TradeFeed

# What a small customer pays for taking an offer, in percent; each exchange has its own scale of discounts.
FEES = {"binance": Decimal("0.10"), "coinbase": Decimal("0.60"), "kraken": Decimal("0.40")}


@dataclass(frozen=True)
class Opportunity:
    """Buy at one exchange and sell at another."""

    symbol: str
    buy: Trade
    sell: Trade
    percent: Decimal  # of what the purchase costs, fees taken off

    def __str__(self) -> str:
        return (
            f"{self.symbol}: buy at {self.buy.exchange} for {self.buy.price}, "
            f"sell at {self.sell.exchange} for {self.sell.price}: {self.percent:.3f} % net"
        )


def best(latest: Iterable[Trade], fees: Mapping[str, Decimal], max_age: timedelta) -> Opportunity | None:
    """The most that buying and selling at the last prices of one symbol would bring; it may be a loss.

    Prices older than `max_age`, counted back from the newest, are left out: a feed that stands still shows a market
    that is gone.
    """
    known = list(latest)
    newest = max((trade.received for trade in known), default=None)
    fresh = [trade for trade in known if newest is not None and newest - trade.received <= max_age]
    found: Opportunity | None = None
    for buy in fresh:
        cost = buy.price * (1 + fees[buy.exchange] / 100)
        for sell in fresh:
            if sell.exchange == buy.exchange:
                continue
            proceeds = sell.price * (1 - fees[sell.exchange] / 100)
            percent = 100 * (proceeds - cost) / cost
            if found is None or percent > found.percent:
                found = Opportunity(buy.symbol, buy, sell, percent)
    return found


async def watch(feeds: Mapping[str, TradeFeed], threshold: Decimal, max_age: timedelta) -> None:
    """Prints what is above the threshold, until all feeds have given up."""
    latest: dict[str, dict[str, Trade]] = {}
    printed: dict[str, str] = {}
    async with merge_streams(feeds) as merged:
        async for tagged in merged:
            if isinstance(tagged.item, Err):
                print(f"{tagged.source}: {tagged.item.unwrap_err()}", file=sys.stderr)
                continue
            trade = tagged.item.unwrap()
            prices = latest.setdefault(trade.symbol, {})
            prices[trade.exchange] = trade
            found = best(prices.values(), FEES, max_age)
            line = str(found) if found is not None and found.percent > threshold else ""
            # Most trades change nothing about it.
            if line and line != printed.get(trade.symbol):
                print(line, flush=True)
            printed[trade.symbol] = line


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument(
        "--symbol", action="append", metavar="BASE-QUOTE", help="may be repeated; BTC-USDT if not given"
    )
    parser.add_argument("--threshold", type=Decimal, default=Decimal("0.1"), metavar="PERCENT", help="net; default 0.1")
    parser.add_argument("--max-age", type=float, default=10.0, metavar="SECONDS", help="of a price; default 10")
    parser.add_argument("--seconds", type=float, metavar="N", help="how long to watch; until Ctrl-C if not given")
    for exchange in FEES:
        variable = f"{exchange.upper()}_URL"
        parser.add_argument(
            f"--{exchange}-url",
            metavar="URL",
            default=os.environ.get(variable),
            help=f"its own if not given; or {variable}",
        )
    return parser.parse_args(given)


async def run(options: argparse.Namespace) -> None:
    """Watches for as long as was asked for, and tells at the end what each feed has done."""
    symbols: list[str] = options.symbol or ["BTC-USDT"]
    feeds = {name: connect_exchange(name, symbols, url=getattr(options, f"{name}_url")) for name in FEES}
    try:
        await asyncio.wait_for(watch(feeds, options.threshold, timedelta(seconds=options.max_age)), options.seconds)
    except asyncio.TimeoutError:
        pass
    finally:
        for name, feed in feeds.items():
            counts = feed.counts
            told = f"{counts.messages} messages, {counts.connects} connections, {counts.bad_messages} not read"
            print(f"{name}: {told}", file=sys.stderr)


def main(given: Sequence[str] | None = None) -> None:
    """Runs until the time is over, all feeds have given up, or Ctrl-C, which closes the connections too."""
    try:
        asyncio.run(run(arguments(given)))
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)


if __name__ == "__main__":
    main()
