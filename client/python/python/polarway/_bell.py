"""Waiting until something has changed."""

from __future__ import annotations

import asyncio


class Bell:
    """Wakes all tasks that wait at the moment. What they wait for they have to look at themselves, before and after."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def ring(self) -> None:
        """Wakes who waits. Who comes later waits for the next."""
        self._event.set()
        self._event = asyncio.Event()

    async def wait(self) -> None:
        """Waits for the next `ring`."""
        await self._event.wait()
