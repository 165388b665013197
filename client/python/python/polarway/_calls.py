"""Waiting for native calls, from a coroutine or from a thread."""

from __future__ import annotations

import asyncio
import contextlib
import queue
from typing import TYPE_CHECKING, TypeVar, cast

from polarway.error import Error
from polarway.result import Err, Ok, Result

if TYPE_CHECKING:
    from collections.abc import Callable

    from polarway._polarway import Call, Done
    from polarway.error import Fault

T = TypeVar("T")


def _outcome(value: T | None, fault: Fault | None) -> Result[T, Error]:
    if fault is not None:
        return Err(Error.of(fault))
    # A call whose value may be None says so in its type.
    return Ok(cast("T", value))


async def awaited(start: Callable[[Done[T]], Call]) -> Result[T, Error]:
    """Starts a call and waits for it. Cancelled, it cancels the call, and with it what that runs on the cluster."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Result[T, Error]] = loop.create_future()

    def settle(outcome: Result[T, Error]) -> None:
        if not future.done():
            future.set_result(outcome)

    def done(value: T | None, fault: Fault | None) -> None:
        # A loop that was closed meanwhile raises it: nobody waits any more.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, _outcome(value, fault))

    call = start(done)
    try:
        return await future
    except asyncio.CancelledError:
        call.cancel()
        raise


def waited(start: Callable[[Done[T]], Call]) -> Result[T, Error]:
    """Starts a call and blocks until it is done. Interrupted, it cancels the call, and what runs on the cluster."""
    outcomes: queue.SimpleQueue[Result[T, Error]] = queue.SimpleQueue()
    call = start(lambda value, fault: outcomes.put(_outcome(value, fault)))
    try:
        # Ctrl-C ends the wait with KeyboardInterrupt.
        return outcomes.get()
    except BaseException:
        call.cancel()
        raise
