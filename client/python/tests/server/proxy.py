"""A way to a server that can be cut, so that the server is gone for those who come by it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self


class Proxy:
    """Carries bytes between a port of its own and a server, while it is open."""

    def __init__(self, server: str) -> None:
        host, port = server.rsplit(":", 1)
        self._to = (host, int(port))
        self._open = asyncio.Event()
        self._open.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._port = 0
        self._is_cut = False
        self.address = ""

    async def __aenter__(self) -> Self:
        await self.mend()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.cut()

    async def cut(self) -> None:
        """As with a server that has died: connections break, and nobody takes new ones."""
        self._is_cut = True
        if self._server is not None:
            # Connections that were taken just now become tasks after some turns of the loop, and asyncio loses them
            # if their server is closed before that.
            for listener in self._server.sockets:
                asyncio.get_running_loop().remove_reader(listener.fileno())
            for _ in range(10):
                await asyncio.sleep(0)
            self._server.close()
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks)
            await asyncio.sleep(0)

    async def mend(self) -> None:
        """New connections are taken, at the same address."""
        self._is_cut = False
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", self._port)
        host, self._port = self._server.sockets[0].getsockname()
        self.address = f"{host}:{self._port}"

    def stop(self) -> None:
        """Nothing comes through any more, as with a server that is stopped: connections stay, and nobody answers."""
        self._open.clear()

    def go_on(self) -> None:
        """What was held comes through."""
        self._open.set()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._both_ways(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _both_ways(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if self._is_cut:
                return
            inner, outer = await asyncio.open_connection(*self._to)
            try:
                copies = [asyncio.create_task(self._copy(*way)) for way in ((reader, outer), (inner, writer))]
                try:
                    # One end that is gone is the end of both.
                    await asyncio.wait(copies, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for copy in copies:
                        copy.cancel()
                    await asyncio.gather(*copies, return_exceptions=True)
            finally:
                outer.close()
        except OSError:
            pass
        finally:
            writer.close()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            await self._open.wait()
            writer.write(data)
            await writer.drain()
