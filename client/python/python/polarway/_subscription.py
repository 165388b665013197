"""What subscriptions of brokers have in common: one task that keeps a connection, and batches until it has ended."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Generic, TypeVar

from polarway._bell import Bell
from polarway._items import items
from polarway._tasks import cancel_and_join
from polarway.error import Error
from polarway.result import Err, Ok, Result

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import TracebackType

    from typing_extensions import Self

Batch = TypeVar("Batch")


class Subscription(ABC, Generic[Batch]):
    """A context that is iterated once."""

    def __init__(self, kind: str, task: str) -> None:
        """`kind` is what errors call it, `task` the name of its task."""
        self._kind = kind
        self._task = task
        self._bell = Bell()
        self._work: asyncio.Task[Error] | None = None
        self._failure: Error | None = None

    @abstractmethod
    async def next(self) -> Result[Batch | None, Error]:
        """The next batch; `None` when it is closed."""

    @abstractmethod
    def _missing(self) -> Error | None:
        """What is said when the package that it needs is not there."""

    @abstractmethod
    async def _run(self) -> Error:
        """Keeps a connection until that makes no sense any more; gives the reason."""

    @abstractmethod
    def _forget(self) -> None:
        """Lets go of what was not given."""

    def __aiter__(self) -> AsyncIterator[Result[Batch, Error]]:
        return items(self.next)

    async def __aenter__(self) -> Self:
        self._start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()

    async def _close(self) -> None:
        if self._failure is None:
            self._failure = Error("CANCELLED", f"the {self._kind} is closed")
        self._forget()
        if self._work is not None:
            await cancel_and_join([self._work])
        self._bell.ring()

    def _start(self) -> Result[None, Error]:
        if self._work is not None or self._failure is not None:
            return Ok(None)
        missing = self._missing()
        if missing is not None:
            return Err(missing)
        self._work = asyncio.create_task(self._run(), name=self._task)
        self._work.add_done_callback(self._ended)
        return Ok(None)

    def _ended(self, work: asyncio.Task[Error]) -> None:
        if work.cancelled():
            ended = Error("CANCELLED", f"the task of the {self._kind} was cancelled")
        else:
            defect = work.exception()
            ended = work.result() if defect is None else Error("INTERNAL", f"the {self._kind} has failed: {defect!r}")
        self._failure = self._failure or ended
        self._bell.ring()
