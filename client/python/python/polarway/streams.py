"""Results that are read while the cluster makes them."""

from __future__ import annotations

import asyncio
import json
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from polarway._calls import awaited, waited
from polarway._items import items
from polarway.option import Option
from polarway.result import Err, Ok, Result
from polarway.table import Batch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping
    from types import TracebackType

    from typing_extensions import Self

    from polarway._polarway import NativeBatch
    from polarway._source import Source
    from polarway.error import Error


@dataclass(frozen=True)
class Progress:
    """How far a query is.

    Attributes:
        state: `queued`, `running`, `finished`, `failed` or `cancelled`.
        attempt: Counted from one; a later one follows the loss of an executor or scheduler.
        tasks: Tasks of all stages that are known so far.
        done: Of them, those that are done.
        stages: How many stages are known so far.
        stages_done: Of them, those whose tasks are all done.
    """

    state: str
    attempt: int
    tasks: int
    done: int
    stages: int
    stages_done: int

    @classmethod
    def parse(cls, text: str) -> Progress:
        """Reads the server's account of a query."""
        return cls.of(json.loads(text))

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Progress:
        """The same, of what the JSON holds."""
        stages: list[dict[str, int]] = told["stages"]
        return cls(
            state=told["state"],
            attempt=told["attempt"],
            tasks=sum(stage["tasks"] for stage in stages),
            done=sum(stage["done"] for stage in stages),
            stages=len(stages),
            stages_done=sum(stage["done"] >= stage["tasks"] for stage in stages),
        )


def _batch(native: NativeBatch | None) -> Batch | None:
    return None if native is None else Batch(native)


def _progress(text: str | None) -> Option[Progress]:
    return Option.of(text).map(Progress.parse)


class _Rows:
    """What all streams have. One that nothing holds any more ends its query."""

    __slots__ = ("__weakref__", "_source")

    def __init__(self, source: Source) -> None:
        self._source = source

    @property
    def query_id(self) -> str:
        """The query's id, as the server's log and web pages name it."""
        return self._source.query_id

    @property
    def route(self) -> str:
        """How the server runs the query: `direct`, `staged` or `metadata`."""
        return self._source.route

    def __arrow_c_schema__(self) -> object:
        return self._source.schema()


class AsyncRows(_Rows):
    """The batches of a result, as `Ok(batch)`; after an `Err` there is no more.

    Used as a context it is closed at the end; a query that has not ended is cancelled then.
    """

    __slots__ = ()

    async def next(self) -> Result[Batch | None, Error]:
        """The next batch, `None` at the end."""
        return (await awaited(self._source.next)).map(_batch)

    async def close(self) -> None:
        """Reads no further, and cancels the query unless it has ended."""
        await awaited(self._source.close)

    async def progress(self) -> Result[Option[Progress], Error]:
        """How far the query is; nothing when its server knows it no more, about a minute after its end."""
        return (await awaited(self._source.progress)).map(_progress)

    def __aiter__(self) -> AsyncIterator[Result[Batch, Error]]:
        return items(self.next, self._source.reading(asyncio.current_task()))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class Rows(_Rows):
    """As `AsyncRows`, for code that blocks."""

    __slots__ = ()

    def next(self) -> Result[Batch | None, Error]:
        """The next batch, `None` at the end."""
        return waited(self._source.next).map(_batch)

    def close(self) -> None:
        """Reads no further, and cancels the query unless it has ended."""
        waited(self._source.close)

    def progress(self) -> Result[Option[Progress], Error]:
        """How far the query is; nothing when its server knows it no more, about a minute after its end."""
        return waited(self._source.progress).map(_progress)

    def __iter__(self) -> Iterator[Result[Batch, Error]]:
        with self._source.reading(threading.get_ident()):
            while True:
                result = self.next().variant
                if isinstance(result, Err):
                    yield result
                    return
                if result.ok_value is None:
                    return
                yield Ok(result.ok_value)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
