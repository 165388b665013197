"""What stands before a broker in a test: TLS, a password, a count of what passes, and silence."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator

_API_VERSIONS, _SASL_HANDSHAKE, _SASL_AUTHENTICATE = 18, 17, 36
_AUTHENTICATION_FAILED = 58


class Proxy:
    """Passes requests and answers on.

    Attributes:
        answered: Bytes of answers that came from the broker.
        connections: That clients have open.
        accepted: That clients have opened.
    """

    def __init__(self, target: int, password: bytes | None) -> None:
        self._target = target
        self._password = password
        self._is_silent = False
        self._slow: dict[tuple[int, bytes], float] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0
        self.answered = 0
        self.connections = 0
        self.accepted = 0

    def hush(self) -> None:
        """Takes connections and requests, and answers nothing any more."""
        self._is_silent = True

    def cut(self) -> None:
        """Ends the connections that there are."""
        for task in self._tasks:
            task.cancel()

    def delay(self, api: int, client: str, seconds: float) -> None:
        """Lets the requests of a kind wait that come from this client."""
        self._slow[api, client.encode()] = seconds

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.accepted += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with contextlib.suppress(OSError, EOFError):
                await self._pass(reader, writer)
        except asyncio.CancelledError:
            pass
        finally:
            self._tasks.discard(task)
            self.connections -= 1
            writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request after the other, as brokers do."""
        upstream, broker = await asyncio.open_connection("127.0.0.1", self._target)
        known = self._password is None
        try:
            while True:
                request = await _frame(reader)
                if self._is_silent:
                    continue
                api, _, correlation, named = struct.unpack(">hhih", request[:10])
                await asyncio.sleep(self._slow.get((api, request[10 : 10 + named]), 0))
                if api == _SASL_HANDSHAKE:
                    answer = struct.pack(">ihi", correlation, 0, 1) + _text(b"PLAIN")
                elif api == _SASL_AUTHENTICATE:
                    known = request.endswith(b"\x00" + (self._password or b""))
                    answer = struct.pack(">ih", correlation, 0 if known else _AUTHENTICATION_FAILED)
                    answer += _text(b"" if known else b"no such user") + struct.pack(">i", 0)
                elif api != _API_VERSIONS and not known:
                    return
                else:
                    broker.write(struct.pack(">i", len(request)) + request)
                    answer = await _frame(upstream)
                    self.answered += len(answer)
                    if api == _API_VERSIONS and self._password is not None:
                        answer = _with_sasl(answer)
                writer.write(struct.pack(">i", len(answer)) + answer)
                await writer.drain()
        finally:
            broker.close()

    async def end(self) -> None:
        self.cut()
        if self._tasks:
            await asyncio.wait(self._tasks)


async def _frame(reader: asyncio.StreamReader) -> bytes:
    (size,) = struct.unpack(">i", await reader.readexactly(4))
    return await reader.readexactly(size)


def _text(text: bytes) -> bytes:
    return struct.pack(">h", len(text)) + text


def _with_sasl(answer: bytes) -> bytes:
    """The versions that a broker knows (version 0 of the answer), and those of what the proxy answers itself."""
    correlation, error, count = struct.unpack(">ihi", answer[:10])
    assert len(answer) == 10 + 6 * count
    added = struct.pack(">hhh", _SASL_HANDSHAKE, 1, 1) + struct.pack(">hhh", _SASL_AUTHENTICATE, 0, 0)
    return struct.pack(">ihi", correlation, error, count + 2) + answer[10:] + added


@contextlib.asynccontextmanager
async def proxy(
    target: int, *, tls: ssl.SSLContext | None = None, password: bytes | None = None, port: int = 0
) -> AsyncGenerator[Proxy]:
    made = Proxy(target, password)
    server = await asyncio.start_server(made.accept, "127.0.0.1", port, ssl=tls)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        await made.end()
        await server.wait_closed()
