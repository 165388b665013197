"""One connection of a feed, from the delay before it is opened to its close, in one task.

The task waits, dials, sends what is to be sent first, and then watches over the silence while somebody else receives.
Whatever ends it (a verdict of silence, cancellation) closes the connection before the task is done, so whoever joins
the task knows that nothing is left open.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from polarway._tasks import cancel_and_join
from polarway.error import Error
from polarway.feeds._silence import Dead, Ping, Silence
from polarway.feeds._websockets import ClientConnection, ConnectionClosed, dial, lost
from polarway.result import Err, Ok, Result

if TYPE_CHECKING:
    from collections.abc import Sequence

    from polarway.feeds._dialing import Dialing


class Link:
    """Opens a connection `delay` seconds from now. Needs a running event loop."""

    def __init__(
        self, url: str, first: Sequence[str | bytes], dialing: Dialing, silence: Silence, *, delay: float = 0.0
    ) -> None:
        loop = asyncio.get_running_loop()
        self.loop = loop
        self._silence = silence
        self._opened: asyncio.Future[Result[ClientConnection, Error]] = loop.create_future()
        self._verdict: Error | None = None
        self._task = loop.create_task(self._live(url, first, dialing, delay), name="polarway.feeds")

    async def opened(self) -> Result[ClientConnection, Error]:
        """The connection once it is open, and the first messages sent. A caller that is cancelled may ask again."""
        if not self._opened.done():
            either: list[asyncio.Future[Any]] = [self._opened, self._task]
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if self._opened.done():
            return self._opened.result()
        if self._task.cancelled():
            return Err(Error("CANCELLED", "the feed was stopped"))
        self._task.result()  # raises what nobody expected
        return Err(Error("INTERNAL", "the connection was neither opened nor refused"))

    async def receive(self, connection: ClientConnection) -> Result[str | bytes, Error]:
        """The next message; after an error there is no more."""
        self._silence.waits(self.loop.time())
        try:
            message = await connection.recv()
        except ConnectionClosed as error:
            self._silence.leaves(self.loop.time())
            return Err(self._verdict or lost(error))
        except BaseException:
            self._silence.leaves(self.loop.time())
            raise
        self._silence.heard()
        return Ok(message)

    def cut(self) -> None:
        """Begins to close the connection, or gives up opening it."""
        self._task.cancel()

    async def end(self) -> None:
        """Closes the connection and returns when it is closed."""
        await cancel_and_join([self._task])
        if not self._task.cancelled():
            # Only what nobody expected is raised here.
            self._task.result()

    async def _live(self, url: str, first: Sequence[str | bytes], dialing: Dialing, delay: float) -> None:
        if delay > 0:
            await asyncio.sleep(delay)
        dialed = (await dial(url, dialing)).variant
        if isinstance(dialed, Err):
            self._opened.set_result(dialed)
            return
        connection = dialed.ok_value
        try:
            overdue = await self._greet(connection, first, dialing.open_timeout)
            self._opened.set_result(dialed if overdue is None else Err(overdue))
            if overdue is None:
                await self._watch(connection)
        except ConnectionClosed as error:
            if not self._opened.done():
                self._opened.set_result(Err(lost(error)))
        finally:
            await _hang_up(connection)

    async def _greet(self, connection: ClientConnection, first: Sequence[str | bytes], timeout: float) -> Error | None:
        """Sends the first messages; an error if they were not taken in time."""
        overdue: list[Error] = []

        # A peer that reads nothing would hold a long message for ever. What waits to be sent returns as if it were
        # sent when the connection is aborted, so the error has to come from here.
        def give_up() -> None:
            overdue.append(_unavailable(f"the first messages were not taken within {timeout:g} s"))
            connection.transport.abort()

        timer = self.loop.call_later(timeout, give_up)
        try:
            for message in first:
                await connection.send(message)
        except ConnectionClosed:
            if not overdue:
                raise
        finally:
            timer.cancel()
        return overdue[0] if overdue else None

    async def _watch(self, connection: ClientConnection) -> None:
        while True:
            step = self._silence.decide(self.loop.time())
            if isinstance(step, Dead):
                self._verdict = _unavailable(step.reason)
                return
            if isinstance(step, Ping):
                answer = asyncio.ensure_future(await connection.ping())
                self._silence.pinged(self.loop.time())
                answer.add_done_callback(self._answered)
            elif step.seconds is None:
                await connection.wait_closed()
                return
            else:
                await asyncio.sleep(step.seconds)

    def _answered(self, answer: asyncio.Future[float]) -> None:
        if not answer.cancelled() and answer.exception() is None:
            self._silence.answered(self.loop.time())


def _unavailable(message: str) -> Error:
    return Error("DRAINING", message, is_retryable=True, is_unavailable=True)


async def _hang_up(connection: ClientConnection) -> None:
    try:
        await connection.close()
    except BaseException:
        # Cancelled once more: no time is left for a close handshake.
        connection.transport.abort()
        raise
