"""One connection to a server that takes rows of a stream. The only file that knows `websockets`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from polarway.live_faults import UNTRUSTED, Refusal, answered, closed, told
from polarway.live_options import is_tls
from polarway.result import Err, Ok, Result

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

# A server that does not answer pings for so long is gone. One that has no room does not read them either: it gets the
# time to seal rows.
_PING_EVERY = 15.0
_PING_TIMEOUT = 45.0
# A peer that says goodbye does so at once; one that does not is not waited for.
_CLOSE_TIMEOUT = 0.05
_LARGEST_MESSAGE = 1024 * 1024
# What may wait in memory for the network before `send` waits.
_WRITE_LIMIT = 1024 * 1024
_SCHEME = "Bearer "


@dataclass(frozen=True)
class Ack:
    """All frames up to a number have come.

    Attributes:
        upto: The number.
        bad: Rows that were refused, of the frames that are newly acknowledged.
        token: For `polarway.read_after` of a query that has to see the rows, if there is one.
    """

    upto: int
    bad: int
    token: str | None


class _Discretion(logging.Filter):
    """Keeps tokens out of the log: at level DEBUG the library writes each header."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(_hidden(part) for part in record.args)
        return True


# Below the library's own, so that whoever turns that on sees what it tells of sinks too.
_LOGGER = logging.getLogger("websockets.client.polarway")
_LOGGER.addFilter(_Discretion())


class _Connect(connect):
    def process_redirect(self, exc: Exception) -> Exception | str:
        """Follows none: where the stream is has to be known, to come back there."""
        return exc


class Link:
    """An open connection, after the server's first message.

    Attributes:
        last: The last number that the stream has of the producer.
    """

    def __init__(self, socket: ClientConnection, last: int) -> None:
        self._socket = socket
        self.last = last
        self._said: Refusal | None = None

    @classmethod
    async def open(
        cls, url: str, timeout: float, token: str | None = None, trusted: ssl.SSLContext | None = None
    ) -> Result[Link, Refusal]:
        """Connects, and reads the first message. `trusted` is for `wss://` alone, which needs it."""
        try:
            return await asyncio.wait_for(cls._open(url, token, trusted), timeout)
        except (asyncio.TimeoutError, TimeoutError):
            return Err(Refusal("unreachable", f"{_place(url)} did not answer within {timeout:g} s"))
        except InvalidStatus as error:
            answer = error.response
            headers = answer.headers
            return Err(
                answered(
                    answer.status_code, bytes(answer.body or b""), headers.get("Retry-After"), headers.get("Location")
                )
            )
        except InvalidURI as error:
            return Err(Refusal("no_server", str(error)))
        except ConnectionClosed as error:
            return Err(_ended(error))
        except (OSError, EOFError, InvalidHandshake) as error:
            return Err(_not_reached(url, error))

    @classmethod
    async def _open(cls, url: str, token: str | None, trusted: ssl.SSLContext | None) -> Result[Link, Refusal]:
        socket = await _Connect(
            url,
            ssl=trusted,
            additional_headers=None if token is None else {"Authorization": _SCHEME + token},
            logger=_LOGGER,
            compression=None,
            open_timeout=None,
            ping_interval=_PING_EVERY,
            ping_timeout=_PING_TIMEOUT,
            close_timeout=_CLOSE_TIMEOUT,
            max_size=_LARGEST_MESSAGE,
            write_limit=_WRITE_LIMIT,
        )
        try:
            text = await socket.recv()
            said = told(text)
            hello = _object(text)
            if said is None and not isinstance(hello.get("last"), int):
                said = Refusal("no_server", f"{_place(url)} is no server that takes rows")
            if said is None:
                return Ok(cls(socket, hello["last"]))
        except BaseException:
            socket.transport.abort()
            raise
        socket.transport.abort()
        return Err(said)

    async def send(self, data: bytes) -> bool:
        """Sends one frame of text, which `data` has in UTF-8. False: the connection has ended, `acks` says why."""
        try:
            await self._socket.send(data, text=True)
        except ConnectionClosed:
            return False
        return True

    async def acks(self) -> AsyncIterator[Ack | Refusal]:
        """Acknowledgements as they come; at the end why it is over."""
        while True:
            try:
                text = await self._socket.recv()
            except ConnectionClosed as error:
                yield self._said or _ended(error)
                return
            self._said = told(text) or self._said
            message = _object(text)
            if isinstance(message.get("ack"), int):
                yield Ack(message["ack"], int(message.get("bad", 0)), message.get("token"))

    async def close(self) -> None:
        """Ends the connection; a peer that is silent is not waited for."""
        with contextlib.suppress(asyncio.TimeoutError, TimeoutError):
            await asyncio.wait_for(self._socket.close(), _CLOSE_TIMEOUT)
        self._socket.transport.abort()


def _hidden(part: object) -> object:
    return f"{_SCHEME}***" if isinstance(part, str) and part.startswith(_SCHEME) else part


def _object(text: str | bytes) -> dict[str, Any]:
    try:
        message: Any = json.loads(text)
    except ValueError:
        return {}
    return cast("dict[str, Any]", message) if isinstance(message, dict) else {}


def _ended(error: ConnectionClosed) -> Refusal:
    received = error.rcvd
    return closed(received.code, received.reason) if received else closed(None, "")


def _not_reached(url: str, error: Exception) -> Refusal:
    # A handshake that the server's end has cut off says nothing of whether it is to be trusted.
    if isinstance(error, ssl.SSLError) and not isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
        cause = error.verify_message if isinstance(error, ssl.SSLCertVerificationError) else error.reason
        return Refusal(UNTRUSTED, f"no TLS connection to {_place(url)}: {cause or error}")
    hint = ""
    if isinstance(error, (EOFError, InvalidHandshake, ssl.SSLError, ConnectionResetError)):
        # There is somebody, who speaks something else, or stops.
        other = "a server without TLS is written ws" if is_tls(url) else "a server with TLS is written wss"
        hint = f"check the address; {other}://HOST:PORT"
    return Refusal("unreachable", f"{_place(url)} cannot be reached: {error}", hint)


def _place(url: str) -> str:
    return url.partition("/v1/")[0]
