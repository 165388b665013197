"""The one file that knows the library `websockets`: how a connection is opened, and what its errors mean.

It is imported when the first feed is made, so that `import polarway` neither needs the library nor waits for it.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import (
    ConnectionClosed,
    InvalidMessage,
    InvalidProxy,
    InvalidStatus,
    InvalidURI,
    ProxyError,
    WebSocketException,
)

from polarway.error import Error
from polarway.result import Err, Ok, Result

if TYPE_CHECKING:
    from polarway.feeds._dialing import Dialing

__all__ = ["ClientConnection", "ConnectionClosed", "dial", "lost"]

# Leaves time for a close handshake with a server that is near, and keeps `stop()` well below 100 ms with one that has
# stopped answering.
_CLOSE_TIMEOUT = 0.05

_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND = 401, 403, 404
# Of the answers that blame the request these three may be another one next time: timeout, too early, too many.
_PASSING = frozenset({408, 425, 429})


async def dial(url: str, dialing: Dialing) -> Result[ClientConnection, Error]:
    """Opens a connection. An error says with `is_retryable` whether a later attempt may fare better."""
    try:
        connection = await connect(
            url,
            additional_headers=dialing.headers,
            open_timeout=dialing.open_timeout,
            close_timeout=_CLOSE_TIMEOUT,
            # Pings are ours: those of the library take a reader that is slow for a peer that is dead.
            ping_interval=None,
            max_size=dialing.max_message_bytes,
            max_queue=dialing.buffer,
            # A buffer that counts messages is a bound only if they cannot grow a thousandfold once they are here.
            compression=None,
        )
    except (OSError, EOFError, asyncio.TimeoutError, WebSocketException, ValueError) as error:
        return Err(_refused(url, error))
    return Ok(connection)


def lost(error: ConnectionClosed) -> Error:
    """The error of a connection that ended, cleanly or not."""
    cause = f": {error.__cause__}" if error.__cause__ is not None else ""
    return _unavailable(f"the connection was closed: {error}{cause}")


def _refused(url: str, error: Exception) -> Error:  # noqa: PLR0911 - one return for each meaning
    place = _shown(url)
    match error:
        case InvalidStatus():
            return _answered(place, error.response.status_code, error.response.headers.get("Retry-After"))
        case InvalidURI():
            return Error(
                "INVALID_SETTING",
                f"{place!r} is no address of a feed: {error.msg}",
                hint="it starts with ws:// or wss://",
            )
        case socket.gaierror():
            return _unavailable(f"the host of {place} has no address: {error.strerror}", hint="check the host's name")
        case OSError() | asyncio.TimeoutError():
            return _unavailable(f"cannot connect to {place}: {error}")
        # The server hung up, or a proxy could not reach it.
        case InvalidMessage() | ProxyError() | EOFError() | ConnectionClosed():
            return _unavailable(f"{place} did not answer as a WebSocket server: {error}")
        case InvalidProxy() | ValueError():
            return Error("INVALID_SETTING", f"cannot connect to {place}: {error}")
        case _:
            return Error(
                "UNSUPPORTED", f"{place} did not answer as a WebSocket server: {error}", hint="check the address's path"
            )


def _answered(place: str, status: int, retry_after: str | None) -> Error:
    message = f"{place} answered with HTTP status {status}"
    if status in (_UNAUTHORIZED, _FORBIDDEN):
        return Error("PERMISSION_DENIED", message, hint="check the rights and credentials that the feed's headers give")
    if status == _NOT_FOUND:
        return Error("NOT_FOUND", message, hint="check the address's path")
    if 300 <= status < 500 and status not in _PASSING:  # noqa: PLR2004 - redirects and errors of the client
        return Error("UNSUPPORTED", message, hint="check the address: it takes no WebSocket connections")
    # The header may hold a date too; servers of feeds send seconds.
    seconds = float(retry_after) if retry_after is not None and retry_after.isdecimal() else None
    return _unavailable(message, retry_after=seconds)


def _unavailable(message: str, *, hint: str = "", retry_after: float | None = None) -> Error:
    return Error("DRAINING", message, hint=hint, retry_after=retry_after, is_retryable=True, is_unavailable=True)


def _shown(url: str) -> str:
    """The address without what may be secret in it: user, password and query."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "the address"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" if parts.scheme else url.partition("?")[0]
