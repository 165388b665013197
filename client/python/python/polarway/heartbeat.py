"""`heartbeat`: whether the servers of a client answer, told again and again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeAlias

from polarway._tasks import cancel_and_join
from polarway.error import Error
from polarway.option import Nothing, Option, Some
from polarway.result import Err, Result

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import TracebackType

    from typing_extensions import Self

    from polarway.async_client import AsyncPolarwayClient

Beat: TypeAlias = "Result[float, Error]"


def heartbeat(client: AsyncPolarwayClient, interval: float = 30.0, *, timeout: float = 5.0) -> Heartbeat:
    """Pings the cluster every `interval` seconds, and waits `timeout` seconds for each answer.

    Each beat is `Ok(seconds)` or the `Err` of a cluster that does not answer, so that one that has stopped is told of
    after interval and timeout at most. It never ends by itself: a cluster that is there again gives `Ok` again.

        async with heartbeat(client, interval=1.0) as beats:
            async for beat in beats:
                match beat.variant:
                    case Ok(seconds):
                        print(f"{seconds * 1000:.1f} ms")
                    case Err(error):
                        print("no answer:", error.message)

    Without `async for` it beats as well, for `beats.last` and `beats.is_alive`.
    """
    if not interval > 0 or not timeout > 0:
        raise ValueError(f"interval and timeout are seconds above 0, not {interval} and {timeout}")
    return Heartbeat(client, interval, timeout)


class Heartbeat:
    """A task that pings. It runs while this is a context, or iterated over.

    Attributes:
        last: The last beat, once there is one.
    """

    def __init__(self, client: AsyncPolarwayClient, interval: float, timeout: float) -> None:
        self.last: Option[Beat] = Nothing()
        self._client = client
        self._interval = interval
        self._timeout = timeout
        self._count = 0
        self._beaten = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None

    @property
    def is_alive(self) -> bool:
        """Whether the last ping was answered."""
        return any(beat.is_ok() for beat in self.last)

    async def __aenter__(self) -> Self:
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="polarway.heartbeat")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends the task, at once; who iterates gets no more."""
        task, self._task = self._task, None
        if task is not None:
            await cancel_and_join([task])
        async with self._beaten:
            self._beaten.notify_all()

    async def __aiter__(self) -> AsyncIterator[Beat]:
        """Each beat that is new; who is slower than they come gets the last one."""
        if self._running():
            async for beat in self._beats():
                yield beat
        else:
            async with self:
                async for beat in self._beats():
                    yield beat

    async def _beats(self) -> AsyncIterator[Beat]:
        seen = 0
        while self._running():
            async with self._beaten:
                while self._count == seen and self._running():
                    await self._beaten.wait()
            if self._count > seen:
                seen = self._count
                yield self.last.unwrap()

    def _running(self) -> bool:
        return self._task is not None

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        following = loop.time()
        while True:
            beat = await self._ping()
            async with self._beaten:
                self.last = Some(beat)
                self._count += 1
                self._beaten.notify_all()
            # What was missed while there was no answer is not made up for.
            following = max(following + self._interval, loop.time())
            await asyncio.sleep(following - loop.time())

    async def _ping(self) -> Beat:
        try:
            return await asyncio.wait_for(self._client._beat(), self._timeout)  # pyright: ignore[reportPrivateUsage]
        except asyncio.TimeoutError:
            message = f"no answer within {self._timeout} s"
            return Err(
                Error("DRAINING", message, hint="see whether its servers run", is_retryable=True, is_unavailable=True)
            )
