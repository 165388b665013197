from __future__ import annotations

import asyncio
import gc
import itertools
import json
import os
import socket
import subprocess
import sys
from contextlib import aclosing, asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from websockets.protocol import State

import polarway
from feed_servers import free_port, reset, serving, silent, until
from polarway import Backoff, Err, Error, Ok, Resume, WebSocketDataStream, merge_streams

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from websockets.asyncio.server import ServerConnection
    from websockets.http11 import Request, Response

QUICK = Backoff(first=0.001, cap=0.002)


def feed_of(url: str, **settings: Any) -> WebSocketDataStream[Any]:  # noqa: ANN401 - of every type
    named: dict[str, Any] = {"backoff": QUICK, **settings}
    return WebSocketDataStream(url, **named)


async def take(feed: WebSocketDataStream[Any], count: int) -> list[Any]:
    return [(await anext(feed)).unwrap() for _ in range(count)]


async def test_row_21_and_row_43_websocket_stream_reconnects_after_clean_close_and_reset() -> None:
    ends = itertools.cycle(["clean", "code", "reset", "return"])

    async def handler(connection: ServerConnection) -> None:
        end = next(ends)
        await connection.send(json.dumps(end))
        if end == "clean":
            await connection.close()
        elif end == "code":
            await connection.close(1011, "out of order")
        elif end == "reset":
            await connection.recv()  # so that the message has been read before all is thrown away
            reset(connection)

    async with serving(handler) as url, feed_of(url) as feed:
        seen: list[Any] = []
        for _ in range(8):
            seen += await take(feed, 1)
            if seen[-1] == "reset":
                connection = feed._connection  # pyright: ignore[reportPrivateUsage]
                assert connection is not None
                await connection.send("go")
        assert seen == ["clean", "code", "reset", "return"] * 2
        assert (feed.counts.connects, feed.counts.reconnects, feed.counts.messages) == (8, 7, 8)
        assert feed.counts.last_error is not None
        assert feed.counts.last_error.is_unavailable


async def test_row_21_connects_when_a_server_that_refused_comes_up() -> None:
    port = free_port()

    async def handler(connection: ServerConnection) -> None:
        await connection.send("1")
        await silent(connection)

    async with feed_of(f"ws://127.0.0.1:{port}") as feed:
        first = asyncio.ensure_future(feed.__anext__())
        await until(lambda: feed.counts.last_error is not None)
        assert "cannot connect to ws://127.0.0.1" in str(feed.counts.last_error)
        async with serving(handler, port):
            assert await first == Ok(1)
            assert feed.counts.connects == 1


async def test_row_21_goes_on_after_a_name_without_an_address() -> None:
    async def handler(connection: ServerConnection) -> None:
        await connection.send(json.dumps(connection.id.hex))

    failed: list[Error | None] = []
    async with serving(handler) as url:
        addresses = iter(["ws://does-not-exist.invalid", url])

        def resume(_: str) -> Resume:
            failed.append(feed.counts.last_error)
            return Resume(url=next(addresses))

        async with feed_of(url, resume=resume) as feed:
            one, other = await take(feed, 2)
            assert one != other
    assert "the host of ws://does-not-exist.invalid has no address" in str(failed[1])


async def test_row_21_gives_up_after_max_retries_with_a_last_err() -> None:
    url = f"ws://127.0.0.1:{free_port()}"
    feed = feed_of(url, max_retries=2)
    items = [item async for item in feed]
    assert len(items) == 1
    error = items[0].unwrap_err()
    assert "gave up after 3 failures in a row" in error.message
    assert (error.kind, error.is_retryable, error.is_unavailable) == ("DRAINING", True, True)
    assert feed.given_up == error
    assert [item async for item in feed] == []
    with pytest.raises(Error, match="gave up after 1 failures"):
        await anext(feed_of(url, max_retries=0).stream())


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, "PERMISSION_DENIED"), (403, "PERMISSION_DENIED"), (404, "NOT_FOUND"), (400, "UNSUPPORTED")],
)
async def test_row_21_an_answer_that_stays_the_same_ends_the_feed_at_once(status: int, kind: str) -> None:
    asked: list[str] = []

    def answer(connection: ServerConnection, request: Request) -> Response:
        asked.append(request.path)
        return connection.respond(HTTPStatus(status), "no\n")

    async with serving(silent, answer=answer) as url:
        feed = feed_of(f"{url.replace('://', '://u:secret@')}/ticks?token=secret")
        (error,) = [item.unwrap_err() async for item in feed]
    assert (error.kind, error.is_retryable) == (kind, False)
    assert f"{url}/ticks answered with HTTP status {status}" in error.message
    assert "secret" not in str(error)
    assert len(asked) == 1


async def test_row_21_an_overloaded_server_is_asked_again() -> None:
    answers = iter([429, 503, None])

    def answer(connection: ServerConnection, _: Request) -> Response | None:
        status = next(answers)
        if status is None:
            return None
        response = connection.respond(HTTPStatus(status), "later\n")
        response.headers["Retry-After"] = "3600"  # within the cap of the backoff
        return response

    async def handler(connection: ServerConnection) -> None:
        await connection.send("1")

    async with serving(handler, answer=answer) as url, feed_of(url) as feed:
        assert await take(feed, 1) == [1]
        assert feed.counts.last_error is not None
        assert feed.counts.last_error.retry_after == 3600


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "127.0.0.1:1", "", "ws://"])
async def test_what_is_no_address_ends_the_feed(url: str) -> None:
    items = [item async for item in feed_of(url)]
    assert [item.unwrap_err().kind for item in items] == ["INVALID_SETTING"]


async def test_row_21_a_message_that_cannot_be_read_is_an_err_and_the_stream_goes_on() -> None:
    own = Error("EXECUTION", "so said the parser")

    def parse(message: str | bytes) -> object:
        if message == "own":
            raise own
        return json.loads(message)

    async def handler(connection: ServerConnection) -> None:
        for message in ("1", "no json", b"2", "own", "[" * 100_000, '"é"'):
            await connection.send(message)
        await silent(connection)

    async with serving(handler) as url, feed_of(url, parse=parse) as feed:
        items = [await anext(feed) for _ in range(6)]
        assert [item.ok().unwrap_or(None) for item in items] == [1, None, 2, None, None, "é"]
        bad = items[1].unwrap_err()
        assert bad.kind == "TYPE_MISMATCH"
        assert "'no json' cannot be read: JSONDecodeError" in bad.message
        assert isinstance(bad.__cause__, json.JSONDecodeError)
        assert items[3] == Err(own)
        counts = feed.counts
        assert (counts.messages, counts.bad_messages, counts.connects) == (6, 3, 1)
        assert counts.bytes == 1 + 7 + 1 + 3 + 100_000 + 4

    async with serving(handler) as url, aclosing(feed_of(url).stream()) as values:
        assert [await anext(values) for _ in range(3)] == [1, 2, "é"]


async def test_a_server_that_greets_with_an_error_and_hangs_up_is_given_up() -> None:
    async def handler(connection: ServerConnection) -> None:
        await connection.send("go away")

    async with serving(handler) as url, feed_of(url, max_retries=2) as feed:
        kinds = [item.unwrap_err().kind async for item in feed]
        assert kinds == ["TYPE_MISMATCH"] * 3 + ["DRAINING"]


class _Interrupt(BaseException):
    pass


async def test_an_interrupt_in_a_parser_is_not_swallowed() -> None:
    def parse(message: str | bytes) -> object:
        raise _Interrupt(message)

    async def handler(connection: ServerConnection) -> None:
        await connection.send("1")
        await silent(connection)

    async with serving(handler) as url, feed_of(url, parse=parse) as feed:
        with pytest.raises(_Interrupt):
            await anext(feed)


async def test_row_21_connects_again_after_silence() -> None:
    async def handler(connection: ServerConnection) -> None:
        await connection.send("1")
        await silent(connection)

    async with serving(handler) as url, feed_of(url, idle_timeout=0.02) as feed:
        assert await take(feed, 3) == [1, 1, 1]
        assert feed.counts.connects == 3
        assert "no message for 0.02 s" in str(feed.counts.last_error)


async def test_row_21_connects_again_when_pings_stay_unanswered() -> None:
    async def handler(connection: ServerConnection) -> None:
        await connection.send("1")
        connection.transport.pause_reading()  # what a peer that hangs looks like
        await silent(connection)

    async with serving(handler) as url, feed_of(url, ping_interval=0.01, ping_timeout=0.01) as feed:
        assert await take(feed, 2) == [1, 1]
        assert "no answer to a ping for 0.01 s" in str(feed.counts.last_error)


async def test_row_21_a_quiet_server_that_answers_pings_is_kept() -> None:
    connections: list[ServerConnection] = []

    async def handler(connection: ServerConnection) -> None:
        connections.append(connection)
        await silent(connection)

    async with serving(handler) as url, feed_of(url, ping_interval=0.01, ping_timeout=5) as feed:
        waiting = asyncio.ensure_future(feed.__anext__())
        await until(lambda: len(connections) == 1)
        began = asyncio.get_running_loop().time()
        await until(lambda: asyncio.get_running_loop().time() > began + 0.1)
        await connections[0].send("1")
        assert await waiting == Ok(1)
        assert feed.counts.connects == 1


class Flood:
    """Sends numbered messages as fast as they are read, 40 MB in all, and knows how many are gone."""

    total, size = 2000, 20_000

    def __init__(self) -> None:
        self.connections: list[ServerConnection] = []
        self.sent = 0

    async def __call__(self, connection: ServerConnection) -> None:
        self.connections.append(connection)
        end: socket.socket = connection.transport.get_extra_info("socket")
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
        for number in range(self.total):
            await connection.send(json.dumps([number, "x" * self.size]))
            self.sent = number
        await silent(connection)

    async def stands_still(self) -> None:
        """Until nothing could be sent for a while."""
        loop = asyncio.get_running_loop()
        seen, since = self.sent, loop.time()
        while loop.time() < since + 0.1:
            await asyncio.sleep(0.001)
            if self.sent != seen:
                seen, since = self.sent, loop.time()


async def test_row_21_a_server_is_read_no_faster_than_its_messages_are_taken() -> None:
    flood = Flood()
    async with serving(flood) as url, feed_of(url, buffer=4) as feed:
        assert (await take(feed, 1))[0][0] == 0
        await flood.stands_still()
        # What fits into the buffers of both kernels and of the feed.
        assert flood.sent < flood.total / 2
        assert [number for number, _ in await take(feed, flood.total - 1)] == list(range(1, flood.total))
        assert feed.counts.connects == 1


async def test_row_21_a_slow_reader_is_no_dead_server() -> None:
    flood = Flood()
    limits = {"ping_interval": 0.01, "ping_timeout": 0.01, "idle_timeout": 0.02}
    async with serving(flood) as url, feed_of(url, buffer=4, **limits) as feed:
        # A machine that is busy may be taken for dead before it has sent anything.
        assert (await take(feed, 1))[0][0] == 0
        connects = feed.counts.connects
        await flood.stands_still()
        assert (await take(feed, 1))[0][0] == 1
        assert feed.counts.connects == connects
        assert flood.connections[-1].state is State.OPEN


async def test_row_21_resumes_where_the_last_connection_ended() -> None:
    heard: list[list[Any]] = []

    async def handler(connection: ServerConnection) -> None:
        heard.append([await connection.recv(), await connection.recv()])
        if len(heard) > 1:
            heard[-1].append(await connection.recv())
        assert connection.request is not None
        heard[-1].append(connection.request.headers["X-Key"])
        for _ in range(2):
            await connection.send(json.dumps({"sequence": next(numbers)}))
        await connection.send("not read, so not the last")

    numbers = itertools.count(1)

    def resume(last: dict[str, int]) -> Resume:
        return Resume([f"after {last['sequence']}"])

    async with (
        serving(handler) as url,
        feed_of(url, subscribe=["hello", b"\x00"], resume=resume, headers={"X-Key": "7"}) as feed,
    ):
        taken: list[Any] = []
        while len(taken) < 5:
            taken += [value["sequence"] for value in await anext(feed)]
        assert taken == [1, 2, 3, 4, 5]
    assert heard == [["hello", b"\x00", "7"], ["hello", b"\x00", "after 2", "7"], ["hello", b"\x00", "after 4", "7"]]


async def test_row_21_a_message_too_large_ends_its_connection_only() -> None:
    sizes = iter([2000, 1, 1])

    async def handler(connection: ServerConnection) -> None:
        await connection.send(json.dumps("x" * next(sizes)))
        await silent(connection)

    async with serving(handler) as url, feed_of(url, max_message_bytes=1000) as feed:
        assert await take(feed, 1) == ["x"]
        assert feed.counts.connects == 2
        assert "1009" in str(feed.counts.last_error)


@asynccontextmanager
async def _hung_server(*, close: bool) -> AsyncGenerator[str, None]:
    """A server that takes connections and says nothing, or hangs up at once."""
    writers: list[asyncio.StreamWriter] = []

    async def handle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        if close:
            writer.close()

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for writer in writers:
            writer.transport.abort()
        await asyncio.gather(*(writer.wait_closed() for writer in writers), return_exceptions=True)


async def _stopping(url: str, ready: Callable[[WebSocketDataStream[Any]], bool], backoff: Backoff = QUICK) -> float:
    """Seconds from `stop()` until who waits is told, and all is closed."""
    before = asyncio.all_tasks()
    feed = feed_of(url, backoff=backoff)
    waiting = asyncio.ensure_future(feed.__anext__())
    await until(lambda: ready(feed))
    began = asyncio.get_running_loop().time()
    feed.stop()
    with pytest.raises(StopAsyncIteration):
        await waiting
    await feed.aclose()
    took = asyncio.get_running_loop().time() - began
    with pytest.raises(StopAsyncIteration):
        await anext(feed)
    assert {task for task in asyncio.all_tasks() - before if (task.get_name() or "").startswith("polarway")} == set()
    return took


async def test_row_21_stops_within_100_ms_whatever_it_is_doing() -> None:
    async def deaf(connection: ServerConnection) -> None:
        connection.transport.pause_reading()  # no close handshake
        await silent(connection)

    async def least(url: str, ready: Callable[[WebSocketDataStream[Any]], bool], backoff: Backoff = QUICK) -> float:
        # Of several, since a busy machine may take its time once.
        return min([await _stopping(url, ready, backoff) for _ in range(5)])

    def connected(feed: WebSocketDataStream[Any]) -> bool:
        return feed.counts.connects == 1

    def failed(feed: WebSocketDataStream[Any]) -> bool:
        return feed.counts.last_error is not None

    async with serving(silent) as url:
        assert await least(url, connected) < 0.1
    async with serving(deaf) as url:
        assert await least(url, connected) < 0.1
    assert await least(f"ws://127.0.0.1:{free_port()}", failed, backoff=Backoff(60, cap=60, jitter="none")) < 0.1
    async with _hung_server(close=False) as url:
        assert await least(url, lambda _: True) < 0.1


async def test_a_server_that_hangs_up_or_says_nothing_is_tried_again() -> None:
    for close, told in ((True, "did not answer"), (False, "timed out")):
        async with _hung_server(close=close) as url, feed_of(url, max_retries=1, open_timeout=0.05) as feed:
            error = (await anext(feed)).unwrap_err()
            assert "gave up after 2 failures" in error.message
            assert told in error.message


async def test_a_server_that_takes_no_subscription_is_tried_again() -> None:
    async def deaf(connection: ServerConnection) -> None:
        connection.transport.pause_reading()
        await silent(connection)

    long = "x" * 32_000_000  # more than the buffers of both kernels hold
    async with serving(deaf) as url, feed_of(url, subscribe=long, open_timeout=0.2, max_retries=1) as feed:
        error = (await anext(feed)).unwrap_err()
    assert "gave up after 2 failures in a row" in error.message
    assert "not taken within 0.2 s" in error.message
    assert feed.counts.connects == 0


async def test_row_21_a_cancelled_wait_raises_and_loses_nothing() -> None:
    go = asyncio.Event()

    async def handler(connection: ServerConnection) -> None:
        await go.wait()
        await connection.send("1")
        await silent(connection)

    async with serving(handler) as url, feed_of(url) as feed:
        for _ in range(3):  # while it connects, and while it receives
            waiting = asyncio.ensure_future(feed.__anext__())
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        waiting = asyncio.ensure_future(feed.__anext__())
        await until(lambda: feed.counts.connects == 1)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        go.set()
        assert await take(feed, 1) == [1]
        assert feed.counts.connects == 1


async def test_only_one_task_may_wait() -> None:
    async with serving(silent) as url, feed_of(url) as feed:
        waiting = asyncio.ensure_future(feed.__anext__())
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="another task waits"):
            await anext(feed)
        feed.stop()
        with pytest.raises(StopAsyncIteration):
            await waiting


async def test_a_feed_that_is_dropped_or_whose_values_are_left_closes_its_connection() -> None:
    opened: list[ServerConnection] = []
    closed: list[ServerConnection] = []

    async def handler(connection: ServerConnection) -> None:
        opened.append(connection)
        await connection.send("1")
        await connection.wait_closed()
        closed.append(connection)

    async def drop(url: str) -> None:
        async for _ in feed_of(url):
            break
        async for _ in feed_of(url).stream():
            break

    async with serving(handler) as url:
        await drop(url)
        gc.collect()
        await until(lambda: len(closed) == 2)
        assert set(opened) == set(closed)


async def test_row_43_merged_feeds_go_on_when_one_gives_up() -> None:
    async def handler(connection: ServerConnection) -> None:
        await connection.send("1")

    dead = feed_of(f"ws://127.0.0.1:{free_port()}", max_retries=0)
    async with serving(handler) as url, merge_streams({"dead": dead, "good": feed_of(url)}) as merged:
        seen: dict[str, int] = {"dead": 0, "good": 0}
        async for tagged in merged:
            seen[tagged.source] += 1
            assert tagged.item.is_ok() == (tagged.source == "good")
            if seen["dead"] and seen["good"] > 3:
                break
    assert seen["dead"] == 1


@pytest.mark.parametrize(
    "settings",
    [{"buffer": 0}, {"max_message_bytes": 0}, {"open_timeout": 0}, {"max_retries": -1}, {"idle_timeout": 0}],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(settings))} must be"):
        feed_of("ws://127.0.0.1:1", **settings)


def test_messages_of_another_type_are_refused() -> None:
    with pytest.raises(TypeError, match="not a message"):
        feed_of("ws://127.0.0.1:1", subscribe=[{"op": "subscribe"}])


def _python(program: str) -> str:
    path = str(Path(polarway.__file__).parents[1])
    ran = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    return ran.stdout


def test_importing_polarway_imports_neither_websockets_nor_the_feeds() -> None:
    told = _python(
        "import sys, polarway; print([n for n in sys.modules if n.startswith(('websockets', 'polarway.feeds'))])"
    )
    assert told == "[]\n"


def test_without_the_extra_a_feed_says_what_to_install() -> None:
    told = _python(
        "import sys; sys.modules['websockets'] = None\n"
        "import polarway\n"
        "try: polarway.connect_exchange('kraken')\n"
        "except polarway.Error as error: print(error)"
    )
    assert told == (
        "CONFIGURATION: feeds need the package websockets, 15 or later\nHint: pip install 'polarway[feeds]'\n"
    )
