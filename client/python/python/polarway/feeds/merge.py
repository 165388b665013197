"""`merge_streams`: several async iterators as one, in turn and with bounded memory.

1. A task per source takes an item only when the source's queue has room for it. So no more than `buffer` items of a
   source are ever held, and a reader that is slow slows every source down.
2. Items are given in turn: a source that is always ready gets no more turns than one that is ready at times.
3. A source that ends leaves the others going on; one that raises gives its exception as its last item.
4. Each source is closed when it ends, and all are when the merge is closed, cancelled or dropped.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar, cast, overload

from polarway._tasks import cancel_and_join
from polarway.feeds._turns import Turns
from polarway.result import Err

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable
    from types import TracebackType

    from typing_extensions import Self

K = TypeVar("K")
T = TypeVar("T")
K_co = TypeVar("K_co", covariant=True)
T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Tagged(Generic[K_co, T_co]):
    """An item and where it came from.

    Attributes:
        source: The key of its stream in the mapping, or its place in the sequence, from 0.
        item: What the stream gave, or an `Err` with the exception that it raised.
    """

    source: K_co
    item: T_co


# A mapping is an iterable of its keys too; the first that fits is the one that is meant.
@overload
def merge_streams(  # type: ignore[overload-overlap]
    streams: Mapping[K, AsyncIterable[T]], *, buffer: int = 64
) -> Merged[K, T]: ...
@overload
def merge_streams(streams: Iterable[AsyncIterable[T]], *, buffer: int = 64) -> Merged[int, T]: ...
def merge_streams(
    streams: Mapping[K, AsyncIterable[T]] | Iterable[AsyncIterable[T]], *, buffer: int = 64
) -> Merged[K, T] | Merged[int, T]:
    """The items of several streams as they come, each with its source. It ends when all have ended.

    Args:
        streams: By name, or one after the other. Each belongs to the merge from now on, which closes it.
        buffer: Items of each stream that may wait to be taken; 1 or more.

    Raises:
        ValueError: `buffer` is too small, or one stream is given twice.

    >>> async def numbers(*values: int) -> AsyncIterator[int]:
    ...     for value in values:
    ...         yield value
    >>> async def merged() -> list[tuple[str, object]]:
    ...     streams = {"a": numbers(1, 2, 3), "b": numbers(10)}
    ...     return [(tagged.source, tagged.item) async for tagged in merge_streams(streams)]
    >>> asyncio.run(merged())
    [('a', 1), ('b', 10), ('a', 2), ('a', 3)]
    """
    if isinstance(streams, Mapping):
        # The type of the other half is lost in the check.
        return Merged(dict(cast("Mapping[K, AsyncIterable[T]]", streams)), buffer)
    return Merged(dict(enumerate(streams)), buffer)


class Merged(Generic[K, T]):
    """What `merge_streams` gives: to iterate over with `async for`, best as a context, which closes it at the end.

    A wait for an item that is cancelled closes it too.
    """

    def __init__(self, streams: Mapping[K, AsyncIterable[T]], buffer: int) -> None:
        if len({id(stream) for stream in streams.values()}) < len(streams):
            raise ValueError("merge_streams: the same stream is given twice, and only one could read it")
        self._sources = _Sources(streams, buffer)
        # A generator, since the event loop closes those that are dropped before their end.
        self._items = self._sources.items()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Tagged[K, T | Err[Exception]]:
        return await self._items.__anext__()

    async def aclose(self) -> None:
        """Gives no more items, and returns when all streams are closed. A task that waits for one is told so."""
        await self._sources.close()
        # It runs where another task waits for an item, and ends there by itself.
        with contextlib.suppress(RuntimeError):
            await self._items.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


class _Sources(Generic[K, T]):
    """The streams of a merge, the tasks that read them, and what these have read."""

    def __init__(self, streams: Mapping[K, AsyncIterable[T]], buffer: int) -> None:
        self._iterators = {source: aiter(stream) for source, stream in streams.items()}
        # An iterator that its stream made for this merge is closed first, then the stream.
        self._open: dict[K, tuple[object, ...]] = {
            source: (iterator,) if iterator is streams[source] else (iterator, streams[source])
            for source, iterator in self._iterators.items()
        }
        self._turns: Turns[K, T | Err[Exception]] = Turns(streams, buffer)
        self._room = {source: asyncio.Event() for source in streams}
        self._news = asyncio.Event()
        self._readers: set[asyncio.Task[None]] = set()
        self._closed = False

    async def items(self) -> AsyncGenerator[Tagged[K, T | Err[Exception]], None]:
        try:
            for source, iterator in self._iterators.items():
                reader = asyncio.create_task(self._read(source, iterator), name=f"polarway.merge_streams[{source}]")
                reader.add_done_callback(lambda _: self._news.set())
                self._readers.add(reader)
            while not self._closed:
                taken = self._turns.take()
                if taken is not None:
                    source, item = taken
                    self._room[source].set()
                    yield Tagged(source, item)
                elif self._readers:
                    self._news.clear()
                    await self._news.wait()
                    self._forget_ended()
                else:
                    return
        finally:
            await self.close()

    async def close(self) -> None:
        """Ends all reading and closes what is open."""
        self._closed = True
        self._news.set()
        readers, self._readers = self._readers, set()
        try:
            await cancel_and_join(readers)
        finally:
            left, self._open = self._open, {}
            ends = await asyncio.gather(*(_close(parts) for parts in left.values()), return_exceptions=True)
        for end in ends:
            if end is not None:
                raise end

    async def _read(self, source: K, iterator: AsyncIterator[T]) -> None:
        try:
            try:
                while True:
                    await self._room_for(source)
                    self._put(source, await anext(iterator))
            except StopAsyncIteration:
                await _close(self._open.pop(source))
        except Exception as error:  # noqa: BLE001 - whatever one stream raises, the others go on
            self._put(source, Err(error))
            # What it raised first is what counts.
            with contextlib.suppress(Exception):
                await _close(self._open.pop(source, ()))

    async def _room_for(self, source: K) -> None:
        while not self._turns.has_room(source):
            self._room[source].clear()
            await self._room[source].wait()

    def _put(self, source: K, item: T | Err[Exception]) -> None:
        self._turns.put(source, item)
        self._news.set()

    def _forget_ended(self) -> None:
        for reader in [reader for reader in self._readers if reader.done()]:
            self._readers.discard(reader)
            reader.result()  # raises what ended it early: a cancellation by somebody else


async def _close(parts: Iterable[object]) -> None:
    for part in parts:
        close: Callable[[], Awaitable[object]] | None = getattr(part, "aclose", None)
        if close is not None:
            await close()
