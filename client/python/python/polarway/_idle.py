"""Waiting until nothing is under way, from a coroutine or from a thread."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from polarway._traffic import Traffic


async def idle(traffic: Traffic, timeout: float) -> None:
    """Returns once nothing is under way but what this task does, or the time is over."""
    loop = asyncio.get_running_loop()
    quiet = asyncio.Event()

    def told() -> None:
        # A loop that was closed meanwhile raises it: nobody waits any more.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(quiet.set)

    traffic.when_idle(asyncio.current_task(), told)
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(quiet.wait(), timeout)


def idle_sync(traffic: Traffic, timeout: float) -> None:
    """Returns once nothing is under way but what this thread does, or the time is over."""
    quiet = threading.Event()
    traffic.when_idle(threading.get_ident(), quiet.set)
    quiet.wait(timeout)
