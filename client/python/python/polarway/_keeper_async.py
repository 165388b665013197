"""What keeps the handles of an `AsyncPolarwayClient`: one task that renews their leases."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import TYPE_CHECKING

from polarway._calls import awaited
from polarway._leases import CLOSING, Leases, opened
from polarway._tasks import cancel_and_join
from polarway.result import Ok, Result
from polarway.traversal_async import traverse_async

if TYPE_CHECKING:
    from collections.abc import Iterable

    from polarway._leases import Lease, Opened, Outcome
    from polarway._polarway import NativeClient
    from polarway.error import Error


class AsyncKeeper:
    """Opens handles, renews them, and closes them.

    The task starts with the first handle, and ends when there is none left; it belongs to the event loop that runs
    then.
    """

    def __init__(self, native: NativeClient) -> None:
        self._native = native
        self._leases = Leases(native, self._post)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._events: asyncio.Queue[Outcome | None] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    async def open(self, sql: str, ttl: float, parents: Iterable[Lease] = ()) -> Result[Opened, Error]:
        """A handle of a query, that is renewed as long as something holds its lease."""
        created = (await awaited(partial(self._native.create_handle, sql, ttl))).map(partial(opened, parents))
        return created.inspect(self._keep)

    async def close(self, lease: Lease) -> None:
        """Renews it no more, and frees it on the server; in bounded time, since it runs out by itself."""
        if not lease.closed:
            await self._free(lease.close())

    async def stop(self) -> None:
        """Ends the task and closes all handles."""
        task, self._task = self._task, None
        held = self._leases.clear()
        if task is not None and task.get_loop() is asyncio.get_running_loop():
            await cancel_and_join([task])
        for lease in held:
            lease.closed = True
        await self._free(held)

    def _keep(self, found: Opened) -> None:
        self._leases.add(found.lease)
        loop = asyncio.get_running_loop()
        if self._task is None or self._task.done() or self._loop is not loop:
            self._loop = loop
            self._events = asyncio.Queue()
            self._task = loop.create_task(self._run(self._events), name="polarway.handles")
        else:
            self._events.put_nowait(None)

    async def _run(self, events: asyncio.Queue[Outcome | None]) -> None:
        wait = self._leases.step([])
        while wait is not None:
            outcomes: list[Outcome | None] = []
            with contextlib.suppress(asyncio.TimeoutError):
                outcomes.append(await asyncio.wait_for(events.get(), wait))
            while not events.empty():
                outcomes.append(events.get_nowait())
            wait = self._leases.step(outcome for outcome in outcomes if outcome is not None)

    def _post(self, outcome: Outcome) -> None:
        loop = self._loop
        # A loop that was closed meanwhile raises it: nobody waits any more.
        with contextlib.suppress(RuntimeError):
            if loop is not None:
                loop.call_soon_threadsafe(self._events.put_nowait, outcome)

    async def _free(self, leases: list[Lease]) -> None:
        for lease in leases:
            self._leases.discard(lease)

        async def free(lease: Lease) -> Result[None, Error]:
            await awaited(partial(self._native.close_handle, lease.id))
            return Ok(None)

        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(traverse_async(leases, free, limit=32), CLOSING)
