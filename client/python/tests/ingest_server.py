"""A small server that speaks the protocol of docs/streams.md, and misbehaves as it is told."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator, Callable

    from websockets.http11 import Request, Response


@dataclass
class Stream:
    """Rows as they were stored; several servers may share one."""

    rows: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    last: dict[str, int] = field(default_factory=dict[str, int])
    repeated: int = 0


@dataclass
class Behaviour:
    """Of one connection; the next has the next."""

    status: HTTPStatus | None = None
    location: str | None = None
    retry_after: str | None = None
    refusal: str = "unavailable"
    store: int = 1_000_000
    """Frames that are stored before the connection ends."""
    acks: bool = True
    say: str | None = None
    """The kind of error that is told at the end; without one the connection just breaks."""
    code: int = 1012


class IngestServer:
    def __init__(self, stream: Stream, *behaviours: Behaviour) -> None:
        self.stream = stream
        self.behaviours = list(behaviours)
        self.requests: list[str] = []
        self.authorizations: list[str | None] = []
        self.tokens: set[str] | None = None
        """Those that are taken; without a set, everybody is."""
        self.on_request: Callable[[], None] = lambda: None
        """Is called before each request is looked at."""
        self.frames: list[bytes] = []
        self.address = ""

    def answer(self, connection: ServerConnection, request: Request) -> Response | None:
        self.on_request()
        self.requests.append(request.path)
        authorization = request.headers.get("Authorization")
        self.authorizations.append(authorization)
        if self.tokens is not None and authorization not in {f"Bearer {token}" for token in self.tokens}:
            return connection.respond(HTTPStatus.UNAUTHORIZED, _error("unauthenticated"))
        behaviour = self.behaviours.pop(0) if self.behaviours else Behaviour()
        setattr(connection, "behaviour", behaviour)  # noqa: B010 - a place for what belongs to it
        if behaviour.status is None:
            return None
        response = connection.respond(behaviour.status, _error(behaviour.refusal))
        if behaviour.location is not None:
            response.headers["Location"] = f"{behaviour.location}{request.path}"
        if behaviour.retry_after is not None:
            response.headers["Retry-After"] = behaviour.retry_after
        return response

    async def serve(self, connection: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            await self._talk(connection, getattr(connection, "behaviour"))  # noqa: B009

    async def _talk(self, connection: ServerConnection, behaviour: Behaviour) -> None:
        request = connection.request
        assert request is not None
        producer = parse_qs(urlsplit(request.path).query)["producer"][0]
        stream = self.stream
        last = stream.last.get(producer, 0)
        await connection.send(json.dumps({"stream": "public.t", "producer": producer, "last": last}))
        stored = previous = 0
        while stored < behaviour.store:
            data = await connection.recv(decode=False)
            self.frames.append(data)
            header, _, rows = data.partition(b"\n")
            number = int(header[1:])
            assert number > previous, "numbers have to grow"
            previous = number
            read = [json.loads(line) for line in rows.split(b"\n") if line]
            if number > stream.last.get(producer, 0):
                stream.rows += read
                stream.last[producer] = number
            else:
                stream.repeated += len(read)
            stored += 1
            if behaviour.acks:
                ack = {"ack": number, "durability": "wal", "rows": len(read), "bad": 0, "token": f"t:{number}"}
                await connection.send(json.dumps(ack))
        if behaviour.say is None:
            connection.transport.abort()
        else:
            await connection.send(_error(behaviour.say))
            await connection.close(behaviour.code)


def _error(kind: str) -> str:
    return json.dumps({"error": {"kind": kind, "message": f"it is {kind}", "hint": "do something"}})


async def _listen(server: IngestServer, tls: ssl.SSLContext | None) -> Server:
    # The goodbyes of a client that has much to send come late, and are not waited for.
    started = serve(server.serve, "127.0.0.1", 0, process_request=server.answer, close_timeout=0.2, ssl=tls)
    # Its type is told with a name that Python 3.10 does not have.
    return await started  # type: ignore[no-any-return]  # pyright: ignore[reportUnknownVariableType]


@contextlib.asynccontextmanager
async def running(
    stream: Stream, *behaviours: Behaviour, tls: ssl.SSLContext | None = None
) -> AsyncGenerator[IngestServer]:
    server = IngestServer(stream, *behaviours)
    listening = await _listen(server, tls)
    server.address = f"{'ws' if tls is None else 'wss'}://127.0.0.1:{next(iter(listening.sockets)).getsockname()[1]}"
    try:
        yield server
    finally:
        listening.close()
        await listening.wait_closed()
