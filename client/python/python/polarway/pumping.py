"""`pump`: from a source whose batches are confirmed into a live table, so that nothing is lost between the two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from polarway.result import Err, Ok, Result

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable, Iterable, Sequence

    from polarway.error import Error
    from polarway.live_counts import Acknowledged, Pushed
    from polarway.live_encoding import Row


class ConfirmedBatch(Protocol):
    """Rows that somebody keeps until they are confirmed; a `MessageBatch` is one."""

    @property
    def records(self) -> Sequence[Row]:
        """The rows."""
        ...

    async def confirm(self) -> Result[None, Error]:
        """Says that the rows are safe."""
        ...


class Sink(Protocol):
    """Where rows become safe; a `LiveTableSink` is one."""

    async def push(self, records: Row | Iterable[Row]) -> Result[Pushed, Error]:
        """Hands rows over."""
        ...

    async def flush(self, timeout: float | None = None) -> Result[Acknowledged, Error]:
        """Waits until they are safe."""
        ...


@dataclass(frozen=True)
class Pumped:
    """What a `pump` has done.

    Attributes:
        batches: Batches that were confirmed.
        rows: Rows that were acknowledged.
        bad: Of them, those that the server put with the dead letters.
        again: Batches that could not be confirmed after they were stored, since the connection was lost; their rows
            come again.
        token: Of the last acknowledgement.
    """

    batches: int = 0
    rows: int = 0
    bad: int = 0
    again: int = 0
    token: str | None = None


async def pump(
    source: AsyncIterable[Result[ConfirmedBatch, Error]],
    sink: Sink,
    *,
    progress: Callable[[Pumped], object] | None = None,
) -> Result[Pumped, Error]:
    """Pushes each batch, waits until it is acknowledged, and confirms it; until the source ends.

    Source and sink connect again by themselves; an error of either that will not get better ends the pump. Cancelled,
    it leaves the batch that is under way unconfirmed: that comes again.

    Args:
        source: Batches, as `subscribe_mqtt` gives them.
        sink: A connected `LiveTableSink` that nobody else flushes.
        progress: Called after each batch with what was done so far.
    """
    done = Pumped()
    async for item in source:
        got = item.variant
        if isinstance(got, Err):
            return got
        batch = got.ok_value
        pushed = await sink.push(batch.records)
        if isinstance(pushed, Err):
            return pushed
        flushed = await sink.flush()
        if isinstance(flushed, Err):
            return flushed
        acknowledged = flushed.unwrap()
        confirmed = await batch.confirm()
        done = Pumped(
            done.batches + confirmed.is_ok(),
            done.rows + acknowledged.rows,
            done.bad + acknowledged.bad,
            done.again + confirmed.is_err(),
            acknowledged.token,
        )
        if progress is not None:
            progress(done)
    return Ok(done)
