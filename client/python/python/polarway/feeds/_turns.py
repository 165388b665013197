"""Whose item is next: bounded queues that are served in turn. Decisions only.

A source that has items stands in line once. Who is served goes to the end of the line while it has more, so that
between two items of one source each other source that waits is served once.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable

K = TypeVar("K")
T = TypeVar("T")


class Turns(Generic[K, T]):
    """A queue of at most `buffer` items for each source."""

    def __init__(self, sources: Iterable[K], buffer: int) -> None:
        if buffer < 1:
            raise ValueError(f"buffer must be 1 or more items, not {buffer}")
        self._buffer = buffer
        self._queues: dict[K, deque[T]] = {source: deque() for source in sources}
        self._line: deque[K] = deque()

    def has_room(self, source: K) -> bool:
        """Whether one more item of this source may be put."""
        return len(self._queues[source]) < self._buffer

    def put(self, source: K, item: T) -> None:
        """Adds an item, for which there must be room."""
        queue = self._queues[source]
        if not queue:
            self._line.append(source)
        queue.append(item)

    def take(self) -> tuple[K, T] | None:
        """The next item and its source; None if there is none."""
        if not self._line:
            return None
        source = self._line.popleft()
        queue = self._queues[source]
        item = queue.popleft()
        if queue:
            self._line.append(source)
        return source, item
