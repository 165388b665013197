"""How much of one turn of an event loop goes to starting calls.

Who starts hundreds of calls at once would otherwise keep the loop from everything else until all are on their way.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from collections.abc import MutableMapping

# To start a call takes some tens of microseconds: these take a few milliseconds.
MOST = 32


class Turns:
    """Lets `MOST` enter in each turn of a loop, and the others in the turns after it, in their order."""

    def __init__(self) -> None:
        # Without its loop, which would be kept by it.
        self._left = MOST
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._comes = False

    async def enter(self) -> None:
        """Waits for a turn that has room."""
        loop = asyncio.get_running_loop()
        if not self._comes:
            self._comes = True
            loop.call_soon(self._next)
        if self._left > 0 and not self._waiting:
            self._left -= 1
            return
        place: asyncio.Future[None] = loop.create_future()
        self._waiting.append(place)
        await place

    def _next(self) -> None:
        self._left = MOST
        while self._left > 0 and self._waiting:
            place = self._waiting.popleft()
            # Who waited for it may have been cancelled.
            if not place.done():
                place.set_result(None)
                self._left -= 1
        self._comes = self._left < MOST
        if self._comes:
            asyncio.get_running_loop().call_soon(self._next)


_OF_LOOPS: MutableMapping[asyncio.AbstractEventLoop, Turns] = WeakKeyDictionary()


def turns(loop: asyncio.AbstractEventLoop) -> Turns:
    """Those of a loop."""
    of_loop = _OF_LOOPS.get(loop)
    if of_loop is None:
        of_loop = _OF_LOOPS[loop] = Turns()
    return of_loop
