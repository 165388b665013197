"""`LiveTableSink`: rows into a live table (a stream), delivered for certain.

Rows are written as JSON when they are pushed, gathered into frames, and kept until the server has acknowledged them.
One task has the connection. When it breaks, the task connects again, here or to another server, and sends again what
the stream does not have; numbers see to it that nothing is stored twice.
"""

from __future__ import annotations

import asyncio
import importlib
import itertools
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from polarway._session import raised
from polarway._tasks import cancel_and_join
from polarway._token import LatestToken, Token
from polarway._trust import LatestTrust
from polarway.error import Error
from polarway.live_counts import Acknowledged, Pushed, SinkCounts
from polarway.live_delivery import Delivery
from polarway.live_encoding import Pending, RowError, fitting, lines
from polarway.live_faults import Refusal
from polarway.live_options import SinkOptions, listed, path_of
from polarway.result import Err, Ok, Result

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from types import TracebackType

    from typing_extensions import Self

    from polarway.live_encoding import Payload, Row
    from polarway.live_options import Durability
    from polarway.live_window import Window
    from polarway.reading import Path

# Seconds for which a cancelled `async with` still waits for acknowledgements.
_FAREWELL = 1.0


class LiveTableSink:
    """Pushes rows into a live table. Safe for any number of tasks of one event loop.

    Entering the context connects, and raises `Error` if no server can be reached or the stream is not there. Leaving it
    waits for acknowledgements, and raises `Error` if they do not come.

        async with LiveTableSink("ws://localhost:8081", "ticks") as sink:
            (await sink.push([{"id": 1, "price": Decimal("97123.25")}])).unwrap()
            acknowledged = (await sink.flush()).unwrap()
    """

    def __init__(  # noqa: PLR0913 - each is a choice of its own
        self,
        addresses: str | Sequence[str],
        stream: str,
        *,
        producer: str | None = None,
        ack: Durability | None = None,
        batch_rows: int = SinkOptions.batch_rows,
        batch_bytes: int = SinkOptions.batch_bytes,
        linger: float = SinkOptions.linger,
        max_unacknowledged_frames: int = SinkOptions.max_unacknowledged_frames,
        max_unacknowledged_bytes: int = SinkOptions.max_unacknowledged_bytes,
        connect_timeout: float = SinkOptions.connect_timeout,
        retry_for: float = SinkOptions.retry_for,
        backoff_min: float = SinkOptions.backoff_min,
        backoff_max: float = SinkOptions.backoff_max,
        token: str | None = None,
        token_file: Path | None = None,
        tls_ca: Path | None = None,
    ) -> None:
        """Makes a sink that is not connected yet.

        Args:
            addresses: One or several `ws://HOST:PORT`, or `wss://HOST:PORT` with TLS, of processes that take rows. Any
                will do: they tell who has the stream.
            stream: `stream` or `schema.stream`.
            producer: Name under which rows are sent, 1 to 128 visible characters; dead letters show it. One sink at a
                time may have it. None: a random one.
            ack: What an acknowledgement promises: `received`, `wal` or `object_store`. None: what the stream says.
            batch_rows: Rows of a frame.
            batch_bytes: Bytes of a frame; a row that has more is in a frame of its own.
            linger: Seconds that a frame waits to be filled.
            max_unacknowledged_frames: So many frames are held; at this bound `push` waits.
            max_unacknowledged_bytes: The same in bytes; rows of one frame may come on top.
            connect_timeout: Seconds to wait for one server to accept a connection.
            retry_for: Seconds without a connection after which the sink gives up. It does not by itself.
            backoff_min: Seconds of the first pause between two attempts.
            backoff_max: Seconds of the longest one.
            token: Tells the servers who sends. Servers that have the stream get it too, and it is shown nowhere.
            token_file: A file that has the token, in place of `token`. It is read for each connection, so that another
                token can be put in its place.
            tls_ca: A file (PEM) with the authorities that servers with TLS have their certificates from, in place of
                those of the system. It is read for each connection, so that others can be put in their place.

        Raises:
            ValueError: an argument is not valid.
        """
        self._options = SinkOptions(
            batch_rows=batch_rows,
            batch_bytes=batch_bytes,
            linger=linger,
            max_unacknowledged_frames=max_unacknowledged_frames,
            max_unacknowledged_bytes=max_unacknowledged_bytes,
            connect_timeout=connect_timeout,
            retry_for=retry_for,
            backoff_min=backoff_min,
            backoff_max=backoff_max,
        )
        name = producer if producer is not None else f"python-{uuid.uuid4().hex}"
        self._pending = Pending(batch_rows, batch_bytes)
        servers = listed(addresses)
        self._delivery = Delivery(
            servers,
            path_of(stream, name, ack),
            named=producer is not None,
            options=self._options,
            token=LatestToken(Token.of(token, token_file)),
            trust=LatestTrust.of(servers, tls_ca),
        )
        # Rows and bad rows that were acknowledged when the last flush ended.
        self._told = (0, 0)
        self._work: asyncio.Task[Refusal] | None = None
        self._linger: asyncio.TimerHandle | None = None
        self._failure: Error | None = None

    @property
    def counts(self) -> SinkCounts:
        """What the sink has done so far, and what it holds."""
        tally, window = self._delivery.tally, self._delivery.window
        return SinkCounts(
            rows=tally.rows,
            frames=tally.frames,
            acknowledged=tally.acknowledged,
            bad=tally.bad,
            reconnects=max(0, tally.connections - 1),
            failures=tally.failures,
            unacknowledged_rows=self._pending.rows + (window.rows if window else 0),
            unacknowledged_frames=window.frames if window else 0,
            unacknowledged_bytes=window.bytes if window else 0,
        )

    async def connect(self) -> Result[None, Error]:
        """Connects to the server that has the stream; on a sink that is connected it does nothing.

        It gives up when no server has answered for `connect_timeout` on each address; later the sink goes on trying.
        """
        if self._failure is not None:
            return Err(self._failure)
        if self._work is None:
            missing = _missing()
            if missing is not None:
                return Err(missing)
            self._work = asyncio.create_task(self._delivery.run(), name="polarway sink")
            self._work.add_done_callback(self._ended)
        patience = self._delivery.patience
        if await self._until(lambda: self._delivery.window is not None, patience):
            return Ok(None) if self._failure is None else Err(self._failure)
        refusal = self._delivery.refusal or Refusal("unreachable", f"nobody answered within {patience:g} s")
        await self._stop(refusal.error)
        return Err(refusal.error)

    async def push(self, records: Row | Iterable[Row]) -> Result[Pushed, Error]:
        """Hands rows over: one, or any number. They are sent soon, and held until they are acknowledged.

        It waits while as much is unacknowledged as may be. Rows before one that cannot be sent, and before a
        cancellation, are handed over.

        Returns:
            How many rows; or `TYPE_MISMATCH`, which names the first row that cannot be sent, or why the sink has given
            up.
        """
        pushed = 0
        for rows in _parts(records, self._options.batch_rows):
            try:
                payloads = list(fitting(lines(rows), len(rows), self._options.batch_bytes))
            except RowError as error:
                hint = f"the {pushed} rows before it were handed over" if pushed else "none of the rows was handed over"
                return Err(Error("TYPE_MISMATCH", f"row {pushed + error.index}: {error.reason}", hint=hint))
            for payload in payloads:
                window = await self._room()
                if isinstance(window, Err):
                    return window
                pushed += payload.rows
                if self._take(payload, window.unwrap()):
                    # Whoever pushes without pause lets the connection come to its turn.
                    await asyncio.sleep(0)
        return Ok(Pushed(pushed))

    async def flush(self, timeout: float | None = None) -> Result[Acknowledged, Error]:
        """Sends what is there without delay, and waits until all rows that were pushed so far are acknowledged.

        Args:
            timeout: Seconds to wait; without one it waits as long as the sink tries.

        Returns:
            What was acknowledged since the flush before; or `DEADLINE_EXCEEDED`, after which the rows are still held
            and sent, or why the sink has given up.
        """
        window = self._delivery.window
        if window is None:
            return Err(self._not_connected())
        self._close_frame()
        newest = window.newest
        if not await self._until(lambda: window.oldest > newest, timeout):
            left = self.counts.unacknowledged_rows
            message = f"{left} rows were not acknowledged within {timeout:g} s"
            hint = "they are held and sent on; flush again" + (
                f"; the last attempt failed: {self._delivery.refusal.message}" if self._delivery.refusal else ""
            )
            return Err(Error("DEADLINE_EXCEEDED", message, hint=hint, is_retryable=True))
        if window.oldest <= newest:
            return Err(self._not_connected())
        tally = self._delivery.tally
        rows, bad = self._told
        self._told = (tally.acknowledged, tally.bad)
        return Ok(Acknowledged(tally.acknowledged - rows, tally.bad - bad, tally.token))

    async def aclose(self, timeout: float = 10.0) -> Result[Acknowledged, Error]:
        """Flushes for at most `timeout` seconds, and ends the connection whatever comes of it.

        A sink that was never connected, or is closed already, has nothing to say: `Ok` without rows.
        """
        why = Error("DRAINING", "the sink is closed")
        if self._work is None or self._failure == why:
            await self._stop(why)
            return Ok(Acknowledged(0, 0, self._delivery.tally.token))
        try:
            return await self.flush(timeout)
        finally:
            await self._stop(why)

    async def __aenter__(self) -> Self:
        raised(await self.connect())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            raised(await self.aclose())
        else:
            # The error of the block is the one to see.
            await self.aclose(10.0 if isinstance(error, Exception) else _FAREWELL)

    def _not_connected(self) -> Error:
        return self._failure or Error(
            "DRAINING", "the sink is not connected", hint="enter its context, or call connect()"
        )

    async def _until(self, is_met: Callable[[], bool], timeout: float | None) -> bool:
        """Waits for a condition, or for the end of the sink. False: the time was over first."""

        async def wait() -> None:
            while not is_met() and self._failure is None:
                await self._delivery.bell.wait()

        try:
            await asyncio.wait_for(wait(), timeout)
        except (asyncio.TimeoutError, TimeoutError):
            return False
        return True

    async def _room(self) -> Result[Window, Error]:
        while self._delivery.window is not None and self._failure is None:
            if not self._delivery.window.is_full:
                return Ok(self._delivery.window)
            await self._delivery.bell.wait()
        return Err(self._not_connected())

    def _take(self, payload: Payload, window: Window) -> bool:
        """Puts rows into the frame that is being filled; gives whether a frame was closed."""
        before = window.newest
        if not self._pending.has_room_for(payload):
            self._close_frame()
        self._pending.add(payload)
        self._delivery.tally.rows += payload.rows
        if self._pending.is_full or self._options.linger == 0:
            self._close_frame()
        elif self._linger is None:
            self._linger = asyncio.get_running_loop().call_later(self._options.linger, self._close_frame)
        return window.newest != before

    def _close_frame(self) -> None:
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
        if self._pending.rows and self._delivery.window is not None:
            self._delivery.window.add(self._pending.take())
            self._delivery.bell.ring()

    async def _stop(self, why: Error) -> None:
        if self._linger is not None:
            self._linger.cancel()
        if self._failure is None:
            self._failure = why
            self._delivery.bell.ring()
        if self._work is not None:
            await cancel_and_join([self._work])

    def _ended(self, work: asyncio.Task[Refusal]) -> None:
        """Tells everybody who waits that nothing will be sent any more."""
        if not work.cancelled():
            defect = work.exception()
            self._failure = (
                work.result().error if defect is None else Error("INTERNAL", f"the sink has failed: {defect!r}")
            )
        elif self._failure is None:
            self._failure = Error("CANCELLED", "the task of the sink was cancelled")
        self._delivery.bell.ring()


def _parts(records: Row | Iterable[Row], size: int) -> Iterator[Sequence[Row]]:
    if isinstance(records, Mapping):
        yield [cast("Row", records)]
        return
    rows = iter(records)
    while part := list(itertools.islice(rows, size)):
        yield part


def _missing() -> Error | None:
    """What is not installed."""
    try:
        importlib.import_module("websockets.asyncio.client")
    except ImportError:
        return Error(
            "CONFIGURATION",
            "sending to live tables needs the package websockets (14 or later), which is not installed",
            hint="pip install 'polarway[feeds]'",
        )
    return None
