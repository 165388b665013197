from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polarway
from feed_servers import PATIENCE, serving, silent, until

if TYPE_CHECKING:
    from websockets.asyncio.server import ServerConnection

EXAMPLE = Path(__file__).parents[3] / "examples" / "crypto_arbitrage.py"
EXCHANGES = ("binance", "coinbase", "kraken")


def _binance(price: str) -> dict[str, Any]:
    return {"e": "trade", "s": "BTCUSDT", "t": 1, "p": price, "q": "1", "T": 1756108800123, "m": False}


def _coinbase(price: str) -> dict[str, Any]:
    time = "2026-08-25T08:00:00.1Z"
    told = {"type": "match", "trade_id": 1, "side": "buy", "product_id": "BTC-USDT", "time": time}
    return {**told, "price": price, "size": "1"}


def _kraken(price: str) -> dict[str, Any]:
    time = "2026-08-25T08:00:00.1Z"
    trade = {"symbol": "BTC/USDT", "side": "buy", "price": float(price), "qty": 1, "trade_id": 1, "timestamp": time}
    return {"channel": "trade", "type": "update", "data": [trade]}


class Exchange:
    """A server that says what it is told to, to who has subscribed last."""

    def __init__(self) -> None:
        self._subscriber: ServerConnection | None = None

    async def __call__(self, connection: ServerConnection) -> None:
        await connection.recv()
        self._subscriber = connection
        await silent(connection)

    async def says(self, *messages: dict[str, Any]) -> None:
        subscriber = await self._subscribed()
        for message in messages:
            await subscriber.send(json.dumps(message))

    async def hangs_up(self) -> None:
        subscriber = await self._subscribed()
        self._subscriber = None
        await subscriber.close()

    async def _subscribed(self) -> ServerConnection:
        await until(lambda: self._subscriber is not None)
        assert self._subscriber is not None
        return self._subscriber


async def started(*arguments: str, environment: dict[str, str] | None = None) -> asyncio.subprocess.Process:
    path = str(Path(polarway.__file__).parents[1])
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", str(EXAMPLE), *arguments),
        env={**os.environ, "PYTHONPATH": path, **(environment or {})},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def printed(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), PATIENCE)
    assert line, "it ended too soon"
    return line.decode()


async def killed(process: asyncio.subprocess.Process) -> None:
    """Ends it unless it has ended."""
    if process.returncode is None:
        process.kill()
        await process.wait()


async def ended(process: asyncio.subprocess.Process) -> tuple[str, str]:
    try:
        told, complained = await asyncio.wait_for(process.communicate(), PATIENCE)
    finally:
        await killed(process)
    assert process.returncode == 0, complained.decode()
    assert b"Traceback" not in complained
    return told.decode(), complained.decode()


async def test_row_43_the_example_finds_what_three_exchanges_differ_by() -> None:
    """What is printed orders everything: each step waits for the line that tells that the messages before are read.

    Connections are independent of each other. A line about two exchanges says nothing of what the third has sent, so
    the last line has to be one that depends on all that is counted at the end.
    """
    binance, coinbase, kraken = Exchange(), Exchange(), Exchange()
    async with AsyncExitStack() as stack:
        flags = [
            f"--binance-url={await stack.enter_async_context(serving(binance))}",
            f"--coinbase-url={await stack.enter_async_context(serving(coinbase))}",
        ]
        environment = {"KRAKEN_URL": await stack.enter_async_context(serving(kraken))}
        process = await started("--threshold", "0.5", "--max-age", "1000", *flags, environment=environment)
        stack.push_async_callback(killed, process)
        await kraken.says({"channel": "heartbeat"})
        await binance.says({"result": None, "id": 1}, _binance("100.00"))
        await coinbase.says({"type": "heartbeat"}, {"type": "error", "message": "just so"}, _coinbase("104.00"))
        assert await printed(process) == (
            "BTC-USDT: buy at binance for 100.00, sell at coinbase for 104.00: 3.273 % net\n"
        )
        # The first two prices change nothing, so nothing is printed for them.
        await binance.hangs_up()
        await binance.says({"result": None, "id": 1}, _binance("100.00"))
        await kraken.says(_kraken("101.5"), _kraken("99.0"))
        assert await printed(process) == "BTC-USDT: buy at kraken for 99.0, sell at coinbase for 104.00: 4.004 % net\n"
        await binance.says(_binance("98.00"))
        assert (
            await printed(process) == "BTC-USDT: buy at binance for 98.00, sell at coinbase for 104.00: 5.380 % net\n"
        )
        process.send_signal(signal.SIGINT)
        told, complained = await ended(process)
    assert told == ""
    assert complained.splitlines() == [
        "coinbase: INVALID_SETTING: coinbase answered: just so",
        "Hint: check the symbols; not all trade everywhere",
        "binance: 5 messages, 2 connections, 0 not read",
        "coinbase: 3 messages, 1 connections, 1 not read",
        "kraken: 3 messages, 1 connections, 0 not read",
        "stopped",
    ]


async def test_row_43_the_example_ends_when_its_time_is_over() -> None:
    async with serving(silent) as url:
        flags = [f"--{name}-url={url}" for name in EXCHANGES]
        told, complained = await ended(await started("--seconds", "0.2", *flags))
    assert told == ""
    assert [line.partition(":")[0] for line in complained.splitlines()] == list(EXCHANGES)


async def test_the_example_explains_itself() -> None:
    told, _ = await ended(await started("--help"))
    assert "Watches the trades of three exchanges" in told
    assert "--seconds N" in told
