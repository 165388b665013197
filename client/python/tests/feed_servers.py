"""WebSocket servers on loopback, and waiting for what they see."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from websockets.asyncio.server import ServerConnection, serve

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from websockets.http11 import Request, Response

# For what must come at all; nothing is asserted about how long it takes.
PATIENCE = 60.0


async def until(condition: Callable[[], bool]) -> None:
    """Lets the event loop run until something is so."""

    deadline = asyncio.get_running_loop().time() + PATIENCE
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, "it never became so"
        await asyncio.sleep(0.001)


@asynccontextmanager
async def serving(
    handler: Callable[[ServerConnection], Awaitable[None]],
    port: int = 0,
    answer: Callable[[ServerConnection, Request], Response | None] | None = None,
) -> AsyncGenerator[str, None]:
    """A server for the time of the context; gives its address. `answer` may refuse a connection."""
    with socket.create_server(("127.0.0.1", port)) as listener:
        host, bound = listener.getsockname()
        async with serve(handler, sock=listener, close_timeout=0.1, process_request=answer):
            yield f"ws://{host}:{bound}"


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def reset(connection: ServerConnection) -> None:
    """Ends a connection as a peer does that dies: with a TCP reset and no close handshake."""
    end: socket.socket = connection.transport.get_extra_info("socket")
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.transport.abort()


async def silent(connection: ServerConnection) -> None:
    """Says nothing until the client is gone."""
    await connection.wait_closed()
