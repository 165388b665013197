"""`WebSocketDataStream`: the messages of a WebSocket server, over as many connections as it takes."""

from __future__ import annotations

import contextlib
import json
import logging
import random
import reprlib
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from polarway._wrong_type import wrong_type
from polarway.backoff import Backoff
from polarway.error import Error
from polarway.feeds._dialing import Dialing
from polarway.feeds._retrying import Again, Retrying
from polarway.feeds._silence import Silence
from polarway.feeds.counts import Counts
from polarway.feeds.feed import Feed
from polarway.option import Nothing, Option, Some
from polarway.result import Err, Ok, Result

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from typing_extensions import TypeVar

    from polarway.feeds._link import Link
    from polarway.feeds._websockets import ClientConnection

    # What `json.loads` gives where no parser is named.
    T = TypeVar("T", default=Any)
else:
    from typing import TypeVar

    T = TypeVar("T")

_LOG = logging.getLogger("polarway.feeds")


@dataclass(frozen=True)
class Resume:
    """How the next connection goes on where the last one ended.

    Attributes:
        messages: Sent after `subscribe`.
        url: Connected to instead of the feed's own address.
    """

    messages: Sequence[str | bytes] = ()
    url: str | None = None


class WebSocketDataStream(Feed[T]):
    """The messages of a WebSocket server; whenever the connection is gone it connects again.

    It connects again after a close of any sort, a refusal, a name without an address, and silence; not after an answer
    that will stay the same (HTTP 401, 403, 404). What was sent while it was not connected is missed, unless the server
    can be asked for it in `resume`.

    Nothing is read ahead of who takes the items but `buffer` messages, and at most one read of the network (256 KiB):
    a reader that is slow slows the server down.

        async with WebSocketDataStream("wss://example.org/ticks", subscribe='{"op": "subscribe"}') as feed:
            async for item in feed:
                match item.variant:
                    case Ok(tick):
                        handle(tick)
                    case Err(error):
                        print(error)

    Args:
        url: Address, `ws://…` or `wss://…`.
        parse: Makes an item of a message (text as `str`, binary ones as `bytes`); where it raises, the item is an
            `Err`: its own `Error`, or one of kind `TYPE_MISMATCH` with the exception as its cause.
        subscribe: Messages that are sent after each connect.
        headers: Sent with the request that opens a connection.
        resume: Called before each further connection with the last item that could be read, once there is one.
        backoff: Delays before the attempts after a failure.
        max_retries: Failures in a row after which it gives up is one more than this; None: never. A message that can
            be read sets the count to 0.
        open_timeout: Seconds for opening a connection, and again for sending the first messages.
        ping_interval: Seconds of silence after which a ping is sent; None: never. Silence counts while somebody waits.
        ping_timeout: Seconds for the answer to it.
        idle_timeout: Seconds without a message after which it connects again; None: never.
        max_message_bytes: Size from which a message ends its connection.
        buffer: Messages that are read ahead.
        draw: Gives numbers from 0 to 1, for the jitter of the delays.

    Raises:
        Error: the library `websockets` is not installed.
        TypeError: `subscribe` is something else than messages.
        ValueError: a number is out of its range.
    """

    def __init__(  # noqa: PLR0913 - each is a setting of its own, and has a default
        self,
        url: str,
        *,
        parse: Callable[[str | bytes], T] = json.loads,
        subscribe: str | bytes | Sequence[str | bytes] = (),
        headers: Mapping[str, str] | None = None,
        resume: Callable[[T], Resume] | None = None,
        backoff: Backoff | None = None,
        max_retries: int | None = None,
        open_timeout: float = 10.0,
        ping_interval: float | None = 20.0,
        ping_timeout: float = 20.0,
        idle_timeout: float | None = None,
        max_message_bytes: int = 2**20,
        buffer: int = 256,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._link: Link | None = None
        self._connection: ClientConnection | None = None
        self._url = url
        self._parse = parse
        self._subscribe = _messages([subscribe] if isinstance(subscribe, str | bytes) else subscribe)
        self._resume = resume
        self._retrying = Retrying(Backoff() if backoff is None else backoff, max_retries)
        self._dialing = Dialing(dict(headers or {}), open_timeout, max_message_bytes, buffer)
        self._new_silence = partial(Silence, ping_interval, ping_timeout, idle_timeout)
        self._new_silence()  # refuses numbers out of range now
        self._new_link = _links()
        self._draw = draw
        self._delay = 0.0
        self._last: Option[T] = Nothing()
        self._counts = Counts()
        self._given_up: Error | None = None
        self._ended = False
        self._taken = False

    @property
    def counts(self) -> Counts:
        """What the feed has done so far."""
        return self._counts

    @property
    def given_up(self) -> Error | None:
        """Why the feed gave up, if it did."""
        return self._given_up

    def stop(self) -> None:
        """Ends the feed, from any task of its event loop: who waits for an item is told that there is no more."""
        self._ended = True
        if self._link is not None:
            self._link.cut()

    async def aclose(self) -> None:
        """As `stop`, and returns when the connection is closed, within 100 ms."""
        self.stop()
        link = self._link
        if link is not None:
            await link.end()
            self._link = None

    async def __anext__(self) -> Result[T, Error]:
        """The next item. Cancelled, it loses nothing: the item comes with the next call.

        Raises:
            RuntimeError: another task waits for the next item.
        """
        if self._taken:
            raise RuntimeError("another task waits for the next item of this feed")
        self._taken = True
        try:
            return await self._next()
        finally:
            self._taken = False

    async def _next(self) -> Result[T, Error]:
        while not self._ended:
            if self._link is None:
                self._link = self._connecting()
            received = await self._received(self._link)
            if self._ended:
                break
            if isinstance(received, Ok):
                return self._read(received.ok_value)
            # Cancelled here, the next call finds the connection closed and comes here again.
            await self._link.end()
            if self._ended:  # stopped meanwhile
                break
            self._lost(received.unwrap_err())
            if self._given_up is not None:
                return Err(self._given_up)
        await self.aclose()
        raise StopAsyncIteration

    def _connecting(self) -> Link:
        resume = Resume()
        if self._resume is not None and isinstance(self._last, Some):
            resume = self._resume(self._last.some_value)
        first = (*self._subscribe, *_messages(resume.messages))
        url = self._url if resume.url is None else resume.url
        return self._new_link(url, first, self._dialing, self._new_silence(), delay=self._delay)

    async def _received(self, link: Link) -> Result[str | bytes, Error]:
        if self._connection is None:
            opened = (await link.opened()).variant
            if isinstance(opened, Err):
                return opened
            self._connection = opened.ok_value
            self._counts = replace(self._counts, connects=self._counts.connects + 1)
        return await link.receive(self._connection)

    def _read(self, message: str | bytes) -> Result[T, Error]:
        size = len(message) if isinstance(message, bytes) or message.isascii() else len(message.encode())
        counts = replace(self._counts, messages=self._counts.messages + 1, bytes=self._counts.bytes + size)
        try:
            item = self._parse(message)
        except Exception as error:  # noqa: BLE001 - a parser may raise anything; cancellation and Ctrl-C are no Exception
            bad = error if isinstance(error, Error) else _unreadable(message, error)
            self._counts = replace(counts, bad_messages=counts.bad_messages + 1, last_error=bad)
            return Err(bad)
        self._counts = counts
        self._last = Some(item)
        self._retrying.heard()
        return Ok(item)

    def _lost(self, error: Error) -> None:
        self._link = self._connection = None
        self._counts = replace(self._counts, last_error=error)
        step = self._retrying.lost(error, self._draw())
        if isinstance(step, Again):
            self._delay = step.delay
            _LOG.info("%s; connecting again in %.2f s", error.message, step.delay)
        else:
            self._ended = True
            self._given_up = step.error

    def __del__(self) -> None:
        # One that is dropped unclosed. Garbage is collected in any thread; a loop that is closed by now has ended the
        # connection itself.
        link = getattr(self, "_link", None)
        if link is not None:
            with contextlib.suppress(RuntimeError):
                link.loop.call_soon_threadsafe(link.cut)


def _links() -> type[Link]:
    try:
        from polarway.feeds._link import Link  # noqa: PLC0415 - it needs the extra, and `import polarway` does not
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "websockets":
            raise
        raise Error(
            "CONFIGURATION", "feeds need the package websockets, 15 or later", hint="pip install 'polarway[feeds]'"
        ) from error
    return Link


def _messages(given: Sequence[str | bytes]) -> tuple[str | bytes, ...]:
    messages = tuple(given)
    for message in messages:
        if not isinstance(message, str | bytes):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise wrong_type("WebSocketDataStream", None, message, "a message (str or bytes)")
    return messages


def _unreadable(message: str | bytes, cause: Exception) -> Error:
    told = f"{type(cause).__name__}: {cause}"
    error = Error("TYPE_MISMATCH", f"the message {reprlib.repr(message)} cannot be read: {told}")
    error.__cause__ = cause
    return error
