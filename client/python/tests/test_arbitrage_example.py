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
from feed_servers import PATIENCE, serving, silent

if TYPE_CHECKING:
    from websockets.asyncio.server import ServerConnection

EXAMPLE = Path(__file__).parents[3] / "examples" / "crypto_arbitrage.py"


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
    """A server that sends these messages after each subscription, and hangs up after the first time if told so."""

    def __init__(self, *messages: dict[str, Any], hangs_up: bool = False) -> None:
        self._messages = messages
        self._hangs_up = hangs_up

    async def __call__(self, connection: ServerConnection) -> None:
        await connection.recv()
        for message in self._messages:
            await connection.send(json.dumps(message))
        if self._hangs_up:
            self._hangs_up = False
            return
        await silent(connection)


EXCHANGES = {
    "binance": Exchange({"result": None, "id": 1}, _binance("100.00"), hangs_up=True),
    "coinbase": Exchange({"type": "heartbeat"}, {"type": "error", "message": "just so"}, _coinbase("104.00")),
    "kraken": Exchange({"channel": "heartbeat"}, _kraken("101.5")),
}


async def started(*arguments: str, environment: dict[str, str] | None = None) -> asyncio.subprocess.Process:
    path = str(Path(polarway.__file__).parents[1])
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", str(EXAMPLE), *arguments),
        env={**os.environ, "PYTHONPATH": path, **(environment or {})},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def ended(process: asyncio.subprocess.Process) -> tuple[str, str]:
    try:
        told, complained = await asyncio.wait_for(process.communicate(), PATIENCE)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, complained.decode()
    assert b"Traceback" not in complained
    return told.decode(), complained.decode()


async def test_row_43_the_example_finds_what_three_exchanges_differ_by() -> None:
    async with AsyncExitStack() as stack:
        urls = {name: await stack.enter_async_context(serving(exchange)) for name, exchange in EXCHANGES.items()}
        flags = [f"--{name}-url={url}" for name, url in urls.items() if name != "kraken"]
        process = await started(
            "--threshold", "0.5", "--max-age", "1000", *flags, environment={"KRAKEN_URL": urls["kraken"]}
        )
        assert process.stdout is not None
        seen = ""
        expected = "BTC-USDT: buy at binance for 100.00, sell at coinbase for 104.00: 3.273 % net\n"
        while seen != expected:
            line = await asyncio.wait_for(process.stdout.readline(), PATIENCE)
            assert line, "it ended too soon"
            seen = line.decode()
        process.send_signal(signal.SIGINT)
        _, complained = await ended(process)
    assert "stopped" in complained
    assert "coinbase: INVALID_SETTING: coinbase answered: just so" in complained
    assert "kraken: 2 messages, 1 connections, 0 not read" in complained


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
