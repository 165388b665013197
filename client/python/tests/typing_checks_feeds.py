"""What type checkers have to see of feeds. Nothing here runs; pyright and mypy read it, both in strict mode."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from typing_extensions import assert_type

from polarway import (
    Err,
    Error,
    Result,
    Resume,
    Tagged,
    Trade,
    TradeFeed,
    WebSocketDataStream,
    connect_exchange,
    merge_streams,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


async def the_guide() -> None:
    ws = WebSocketDataStream("wss://stream.binance.com:9443/ws/btcusdt@trade")
    assert_type(ws, WebSocketDataStream[Any])
    async for tick in ws.stream():
        assert_type(tick, Any)
    streams = [connect_exchange("binance"), connect_exchange("coinbase"), connect_exchange("kraken")]
    async for ticks in merge_streams(streams):
        assert_type(ticks, Tagged[int, Result[Trade, Error] | Err[Exception]])


async def parsers(length: WebSocketDataStream[int]) -> None:
    def parse(message: str | bytes) -> int:
        return len(message)

    def resume(last: int) -> Resume:
        return Resume([f"after {last}"])

    assert_type(WebSocketDataStream("ws://a", parse=parse, resume=resume), WebSocketDataStream[int])
    async for item in length:
        assert_type(item, Result[int, Error])
    assert_type(length.given_up, Error | None)


async def merging(feed: TradeFeed, numbers: AsyncIterator[int]) -> None:
    async with merge_streams({"one": feed, "other": feed}) as merged:
        async for tagged in merged:
            assert_type(tagged, Tagged[str, Result[Trade, Error] | Err[Exception]])
            assert_type(tagged.source, str)
            if tagged.item.is_ok():
                assert_type(tagged.item.unwrap(), Trade)
    async for plain in merge_streams([numbers]):
        assert_type(plain.item, int | Err[Exception])
