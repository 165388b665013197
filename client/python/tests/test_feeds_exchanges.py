from __future__ import annotations

import asyncio
import json
from datetime import datetime, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feed_servers import serving, silent
from polarway import Backoff, Err, Error, Ok, Trade, connect_exchange
from polarway.feeds._exchange import fields, time_of
from polarway.feeds.binance import BINANCE
from polarway.feeds.coinbase import COINBASE
from polarway.feeds.kraken import KRAKEN

if TYPE_CHECKING:
    from collections.abc import Mapping

    from websockets.asyncio.server import ServerConnection

    from polarway.feeds._exchange import Exchange

NOW = datetime(2026, 8, 25, 12, tzinfo=timezone.utc)

BINANCE_TRADE = (
    '{"e":"trade","E":1756108800124,"s":"BTCUSDT","t":5170293811,"p":"112345.67000000","q":"0.00089000",'
    '"T":1756108800123,"m":true,"M":true}'
)
COINBASE_MATCH = (
    '{"type":"match","trade_id":865127782,"maker_order_id":"5f4bb11b-f065-4025-ad53-2091b10ad2cf",'
    '"taker_order_id":"66715b57-0167-4ae9-8b2b-75a064a923f4","side":"buy","size":"0.00012","price":"112340.01",'
    '"product_id":"BTC-USDT","sequence":110264,"time":"2026-08-25T08:00:00.123456Z"}'
)
KRAKEN_TRADES = (
    '{"channel":"trade","type":"update","data":[{"symbol":"BTC/USDT","side":"sell","price":112338.1,"qty":0.00512030,'
    '"ord_type":"market","trade_id":4665906,"timestamp":"2026-08-25T07:49:37.708706Z"},{"symbol":"BTC/USDT",'
    '"side":"buy","price":112339,"qty":1,"ord_type":"limit","trade_id":4665907,"timestamp":"2026-08-25T07:49:38Z"}]}'
)
SYMBOLS = {BINANCE: {"BTCUSDT": "BTC-USDT"}, COINBASE: {"BTC-USDT": "BTC-USDT"}, KRAKEN: {"BTC/USDT": "BTC-USDT"}}


def parsed(exchange: Exchange, message: str, symbols: Mapping[str, str] | None = None) -> tuple[Trade, ...]:
    return exchange.parse(fields(message), SYMBOLS[exchange] if symbols is None else symbols, NOW)


def test_row_43_a_trade_of_binance() -> None:
    trade = Trade(
        "binance",
        "BTC-USDT",
        Decimal("112345.67"),
        Decimal("0.00089"),
        "sell",
        datetime(2025, 8, 25, 8, 0, 0, 123_000, timezone.utc),
        5170293811,
        NOW,
    )
    assert parsed(BINANCE, BINANCE_TRADE) == (trade,)
    assert parsed(BINANCE, f'{{"stream":"btcusdt@trade","data":{BINANCE_TRADE}}}') == (trade,)
    assert parsed(BINANCE, BINANCE_TRADE.replace('"m":true', '"m":false'))[0].side == "buy"


def test_row_43_a_match_of_coinbase_names_the_side_of_the_maker() -> None:
    trade = Trade(
        "coinbase",
        "BTC-USDT",
        Decimal("112340.01"),
        Decimal("0.00012"),
        "sell",
        datetime(2026, 8, 25, 8, 0, 0, 123_456, timezone.utc),
        865127782,
        NOW,
    )
    assert parsed(COINBASE, COINBASE_MATCH) == (trade,)
    assert parsed(COINBASE, COINBASE_MATCH.replace('"side":"buy"', '"side":"sell"'))[0].side == "buy"


def test_row_43_trades_of_kraken_keep_every_digit() -> None:
    first, second = parsed(KRAKEN, KRAKEN_TRADES)
    assert first == Trade(
        "kraken",
        "BTC-USDT",
        Decimal("112338.1"),
        Decimal("0.00512030"),
        "sell",
        datetime(2026, 8, 25, 7, 49, 37, 708_706, timezone.utc),
        4665906,
        NOW,
    )
    assert str(first.size) == "0.00512030"
    assert (second.price, second.size, second.id, second.side) == (Decimal(112339), Decimal(1), 4665907, "buy")


@pytest.mark.parametrize(
    ("exchange", "message"),
    [
        (BINANCE, '{"result":null,"id":1}'),
        (BINANCE, '{"e":"serverShutdown","E":1770123456789}'),
        (COINBASE, '{"type":"subscriptions","channels":[{"name":"matches","product_ids":["BTC-USDT"]}]}'),
        (COINBASE, '{"type":"heartbeat","last_trade_id":20,"product_id":"BTC-USDT","sequence":90,"time":"…"}'),
        (COINBASE, COINBASE_MATCH.replace('"match"', '"last_match"')),
        (KRAKEN, '{"channel":"heartbeat"}'),
        (
            KRAKEN,
            '{"channel":"status","type":"update","data":[{"api_version":"v2","connection_id":13834774380200032777,'
            '"system":"online","version":"2.0.0"}]}',
        ),
        (
            KRAKEN,
            '{"method":"subscribe","result":{"channel":"trade","snapshot":false,"symbol":"BTC/USDT"},"success":true,'
            '"time_in":"2026-08-25T09:04:31.742599Z","time_out":"2026-08-25T09:04:31.742648Z"}',
        ),
        (KRAKEN, KRAKEN_TRADES.replace('"update"', '"snapshot"')),
    ],
)
def test_row_43_what_tells_of_no_new_trade_is_skipped(exchange: Exchange, message: str) -> None:
    assert parsed(exchange, message) == ()


@pytest.mark.parametrize(
    ("exchange", "message", "told"),
    [
        (
            BINANCE,
            '{"error":{"code":2,"msg":"Invalid request: unknown stream"},"id":1}',
            "Invalid request: unknown stream",
        ),
        (BINANCE, '{"code":3,"msg":"Invalid JSON"}', "Invalid JSON"),
        (
            COINBASE,
            '{"type":"error","message":"Failed to subscribe","reason":"FOO-BAR is not a valid product"}',
            "Failed to subscribe: FOO-BAR is not a valid product",
        ),
        (COINBASE, '{"type":"error","message":"Malformed JSON"}', "Malformed JSON"),
        (
            KRAKEN,
            '{"error":"Currency pair not supported FOO/BAR","method":"subscribe","success":false,"symbol":"FOO/BAR",'
            '"time_in":"2026-08-25T10:15:27.541Z","time_out":"2026-08-25T10:15:27.541Z"}',
            "Currency pair not supported FOO/BAR",
        ),
    ],
)
def test_row_43_what_an_exchange_reports_is_an_error(exchange: Exchange, message: str, told: str) -> None:
    with pytest.raises(Error) as raised:
        parsed(exchange, message)
    assert raised.value.message == f"{exchange.name} answered: {told}"
    assert not raised.value.is_retryable


@pytest.mark.parametrize(
    ("exchange", "message"),
    [
        (exchange, message)
        for exchange, good, price in (
            (BINANCE, BINANCE_TRADE, '"112345.67000000"'),
            (COINBASE, COINBASE_MATCH, '"112340.01"'),
            (KRAKEN, KRAKEN_TRADES, "112338.1"),
        )
        for message in (
            "[]",
            "",
            good[:-1],
            good.replace(price, '"x"'),
            good.replace(price, "null"),
            good.replace(price, "NaN"),
            good.replace(price, '"NaN"'),
            good.replace(price, '"Infinity"'),
            good.replace(price, '"-1"'),
            good.replace(price, "0"),
            good.replace("BTC", "ETH"),
        )
    ],
)
def test_row_43_what_is_no_trade_is_refused(exchange: Exchange, message: str) -> None:
    with pytest.raises((ValueError, TypeError, KeyError)):
        parsed(exchange, message)


@given(st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1)))
def test_times_are_read_to_the_microsecond(time: datetime) -> None:
    assert time_of(f"{time.isoformat()}Z") == time.replace(tzinfo=timezone.utc)


@pytest.mark.parametrize(
    "told", ["2026-08-25T07:49:37+02:00", "2026-08-25", "2026-13-25T07:49:37Z", "", "٢026-08-25T07:49:37Z"]
)
def test_other_times_are_refused(told: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - each has a message of its own
        time_of(told)


ANSWERS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "binance": (
        {"method": "SUBSCRIBE", "params": ["btcusdt@trade", "ethusdt@trade"], "id": 1},
        ['{"result":null,"id":1}', BINANCE_TRADE],
    ),
    "coinbase": (
        {"type": "subscribe", "product_ids": ["BTC-USDT", "ETH-USDT"], "channels": ["matches", "heartbeat"]},
        ['{"type":"subscriptions","channels":[]}', COINBASE_MATCH],
    ),
    "kraken": (
        {"method": "subscribe", "params": {"channel": "trade", "symbol": ["BTC/USDT", "ETH/USDT"], "snapshot": False}},
        ['{"channel":"heartbeat"}', KRAKEN_TRADES],
    ),
}


@pytest.mark.parametrize("name", list(ANSWERS))
async def test_row_43_connect_exchange_subscribes_and_gives_trades_over_reconnects(name: str) -> None:
    subscription, answers = ANSWERS[name]
    heard: list[object] = []

    async def handler(connection: ServerConnection) -> None:
        heard.append(json.loads(await connection.recv()))
        for answer in answers:
            await connection.send(answer)

    async with (
        serving(handler) as url,
        connect_exchange(name, ["BTC-USDT", "eth/usdt"], url=url, backoff=Backoff(0.001), clock=lambda: NOW) as feed,
    ):
        trades = [(await anext(feed)).unwrap() for _ in range(4)]
        assert {(trade.exchange, trade.symbol, trade.received) for trade in trades} == {(name, "BTC-USDT", NOW)}
        connects = 2 if name == "kraken" else 4
        assert (feed.exchange, feed.counts.connects, heard) == (name, connects, [subscription] * connects)


async def test_row_43_an_error_of_the_exchange_is_an_item_and_the_feed_goes_on() -> None:
    async def handler(connection: ServerConnection) -> None:
        await connection.send('{"error":"Currency pair not supported FOO/BAR","success":false}')
        await connection.send(KRAKEN_TRADES)
        await silent(connection)

    async with serving(handler) as url, connect_exchange("kraken", url=url) as feed:
        refused = await anext(feed)
        assert refused.map_err(lambda error: error.kind) == Err("INVALID_SETTING")
        assert (await anext(feed)).map(lambda trade: trade.id) == Ok(4665906)
        assert feed.counts.bad_messages == 1
        feed.stop()
        with pytest.raises(StopAsyncIteration):
            await anext(feed)

    async with serving(handler) as url:
        values = connect_exchange("kraken", url=url).stream()
        assert [(await anext(values)).id for _ in range(2)] == [4665906, 4665907]
        await values.aclose()


@pytest.mark.parametrize(
    ("name", "symbols", "told"),
    [
        ("mtgox", ["BTC-USD"], "no exchange is called 'mtgox'"),
        ("kraken", ["BTCUSD"], "'BTCUSD' is no symbol"),
        ("kraken", ["BTC-USD", "BTC-"], "'BTC-' is no symbol"),
        ("binance", ["btc\u0131-usd"], "is no symbol"),
        ("coinbase", [], "no symbol is named"),
    ],
)
def test_row_43_what_no_exchange_has_is_refused(name: str, symbols: list[str], told: str) -> None:
    with pytest.raises(Error, match=told) as raised:
        connect_exchange(name, symbols)
    assert raised.value.kind == "INVALID_SETTING"
    assert raised.value.hint


async def test_one_symbol_may_be_a_string() -> None:
    heard: asyncio.Future[str | bytes] = asyncio.get_running_loop().create_future()

    async def handler(connection: ServerConnection) -> None:
        heard.set_result(await connection.recv())
        await connection.send(BINANCE_TRADE)
        await silent(connection)

    async with serving(handler) as url, connect_exchange("binance", "BTC-USDT", url=url) as feed:
        assert (await anext(feed)).is_ok()
    assert json.loads(await heard)["params"] == ["btcusdt@trade"]
