"""`Feed`: what all feeds have."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from types import TracebackType

    from typing_extensions import Self

    from polarway.error import Error
    from polarway.feeds.counts import Counts
    from polarway.result import Result

T_co = TypeVar("T_co", covariant=True)


class Feed(ABC, Generic[T_co]):
    """Items from somewhere else, as they come: iterate over it with `async for`, from one task at a time.

    Each item is an `Ok`, or an `Err` where one could not be read. When the feed gives up, its last item is an `Err`
    that says why. Used as a context it is closed at the end.
    """

    @abstractmethod
    async def __anext__(self) -> Result[T_co, Error]:
        """The next item. Cancelled, it loses nothing: the item comes with the next call."""

    @abstractmethod
    def stop(self) -> None:
        """Ends the feed, from any task of its event loop: who waits for an item is told that there is no more."""

    @abstractmethod
    async def aclose(self) -> None:
        """As `stop`, and returns when the connection is closed, within 100 ms."""

    @property
    @abstractmethod
    def counts(self) -> Counts:
        """What the feed has done so far."""

    @property
    @abstractmethod
    def given_up(self) -> Error | None:
        """Why the feed gave up, if it did."""

    async def stream(self) -> AsyncGenerator[T_co, None]:
        """The values alone. What cannot be read is counted in `counts` and left out; the feed is closed at the end.

        Raises:
            Error: the feed gave up.
        """
        try:
            async for item in self:
                for value in item:
                    yield value
            if self.given_up is not None:
                raise self.given_up
        finally:
            await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()
