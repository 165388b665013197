"""What keeps the handles of an `AsyncPolarwayClient`: one task that renews their leases."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import TYPE_CHECKING

from polarway._calls import awaited
from polarway._leases import CLOSING, Leases, opened
from polarway._repeatable import never
from polarway._tasks import cancel_and_join
from polarway.result import Ok, Result
from polarway.traversal_async import traverse_async

if TYPE_CHECKING:
    from collections.abc import Iterable

    from polarway._leases import Lease, Opened, Outcome
    from polarway._polarway import NativeClient
    from polarway._traffic import Traffic
    from polarway.error import Error


class _Events:
    """What the task waits for, in the event loop that it belongs to."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._queue: asyncio.Queue[Outcome | None] = asyncio.Queue()

    def begin(self) -> None:
        """Takes them in this event loop from now on."""
        self._loop = asyncio.get_running_loop()
        self._queue = asyncio.Queue()

    def are_here(self) -> bool:
        """Whether they are taken in this event loop."""
        return self._loop is asyncio.get_running_loop()

    def wake(self) -> None:
        """Something has changed."""
        self._queue.put_nowait(None)

    def post(self, outcome: Outcome) -> None:
        """An outcome has come; from any thread."""
        # A loop that was closed meanwhile raises it: nobody waits any more.
        with contextlib.suppress(RuntimeError):
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._queue.put_nowait, outcome)

    async def within(self, seconds: float) -> list[Outcome]:
        """All outcomes that are there, once there is one, or something has changed, or the time is over."""
        found: list[Outcome | None] = []
        with contextlib.suppress(asyncio.TimeoutError):
            found.append(await asyncio.wait_for(self._queue.get(), seconds))
        while not self._queue.empty():
            found.append(self._queue.get_nowait())
        return [outcome for outcome in found if outcome is not None]


class AsyncKeeper:
    """Opens handles, renews them, and closes them.

    The task starts with the first handle, and ends when there is none left; it belongs to the event loop that runs
    then.
    """

    def __init__(self, native: NativeClient, traffic: Traffic) -> None:
        self._native = native
        self._traffic = traffic
        self._events = _Events()
        self._leases = Leases(native, self._events.post)
        self._task: asyncio.Task[None] | None = None
        self._stopped = False

    async def open(self, sql: str, ttl: float, parents: Iterable[Lease] = ()) -> Result[Opened, Error]:
        """A handle of a query, that is renewed as long as something holds its lease."""
        creating = self._traffic.call(partial(self._native.create_handle, sql, ttl))
        return (await awaited(creating)).map(partial(opened, parents)).inspect(self._keep)

    async def upload(self, source: object, ttl: float) -> Result[Opened, Error]:
        """The same of rows, which are gone with the handle."""
        uploading = self._traffic.call(partial(self._native.upload, source, ttl), never)
        return (await awaited(uploading)).map(partial(opened, ())).inspect(self._keep)

    async def close(self, lease: Lease) -> None:
        """Renews it no more, and frees it on the server; in bounded time, since it runs out by itself."""
        if not lease.closed:
            await self._free(lease.close())

    async def stop(self) -> None:
        """Ends the task and closes all handles."""
        self._stopped = True
        task, self._task = self._task, None
        held = self._leases.clear()
        if task is not None and task.get_loop() is asyncio.get_running_loop():
            await cancel_and_join([task])
        for lease in held:
            lease.closed = True
        await self._free(held)

    def _keep(self, found: Opened) -> None:
        if self._stopped:
            # The client was closed while it was made: it runs out.
            found.lease.closed = True
            return
        self._leases.add(found.lease)
        if self._task is None or self._task.done() or not self._events.are_here():
            self._events.begin()
            self._task = asyncio.create_task(self._run(), name="polarway.handles")
        else:
            self._events.wake()

    async def _run(self) -> None:
        wait = self._leases.step([])
        while wait is not None:
            wait = self._leases.step(await self._events.within(wait))

    async def _free(self, leases: list[Lease]) -> None:
        for lease in leases:
            self._leases.discard(lease)

        async def free(lease: Lease) -> Result[None, Error]:
            await awaited(partial(self._native.close_handle, lease.id))
            return Ok(None)

        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(traverse_async(leases, free, limit=32), CLOSING)
