"""`traverse` and `sequence` for coroutines: several at once, never more than a limit.

The outcome is that of the plain forms, as if the calls had been made one after the other: all values in the order of
the input, or the first `Err` in the order of the input (not the first in time).

What ends early:

* An `Err` at one item cancels the calls for all later items and starts no more. The calls for earlier items go on,
  since one of them may still give the `Err` that counts.
* Of calls that end in the same turn of the event loop, the earlier item counts.
* An exception from a call, from the input, or from the caller's own cancellation cancels all calls and goes on to the
  caller. The same holds for a call that was cancelled by somebody else: it gives `asyncio.CancelledError`.

A cancelled call is always waited for, so that nothing runs on after the return. What it raises instead of its
`CancelledError` doesn't change the outcome; asyncio reports it through the loop's exception handler.
"""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, TypeVar

from polarway._tasks import cancel_and_join
from polarway.result import Err, Ok, Result, require_result

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

A = TypeVar("A")
T = TypeVar("T")
E = TypeVar("E")


async def traverse_async(
    items: Iterable[A], f: Callable[[A], Awaitable[Result[T, E]]], *, limit: int = 10
) -> Result[list[T], E]:
    """Awaits `f` of each item, at most `limit` at once: all values in order, or the first `Err` in order.

    Items are taken only when there is room for one more, so that the input may be a long generator.

    Raises:
        TypeError: `f` gave something else than a `Result`.
        ValueError: `limit` is below 1.

    >>> async def fetch(n: int) -> Result[int, str]:
    ...     return Ok(n * 2) if n < 3 else Err(f"no page {n}")
    >>> asyncio.run(traverse_async([1, 2], fetch)), asyncio.run(traverse_async(range(9), fetch, limit=4))
    (Ok([2, 4]), Err('no page 3'))
    """
    if limit < 1:
        raise ValueError(f"limit must be 1 or more, not {limit}")

    async def step(item: A) -> Result[T, E]:
        result = await f(item)
        require_result(result, "traverse_async", f)
        return result

    source = enumerate(items)
    running: dict[asyncio.Task[Result[T, E]], int] = {}
    values: dict[int, T] = {}
    failure: Err[E] | None = None
    try:
        while True:
            while failure is None and len(running) < limit:
                following = next(source, None)
                if following is None:
                    break
                position, item = following
                task = asyncio.create_task(step(item), name=f"polarway.traverse_async[{position}]")
                running[task] = position
            if not running:
                break
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in sorted(done, key=running.__getitem__):
                match task.result().variant:
                    case Ok(value):
                        values[running.pop(task)] = value
                    case Err() as failure:
                        position = running.pop(task)
                        later = [other for other, place in running.items() if place > position]
                        for other in later:
                            del running[other]
                        await cancel_and_join(later)
                        break
    except BaseException:
        await cancel_and_join(running)
        raise
    return Ok([values[position] for position in range(len(values))]) if failure is None else failure


async def sequence_async(awaitables: Iterable[Awaitable[Result[T, E]]], *, limit: int = 10) -> Result[list[T], E]:
    """Awaits results, at most `limit` at once: all values in order, or the first `Err` in order.

    The limit can hold back coroutines only: a task or a future runs already. Of a list, what was not reached when the
    outcome is known is closed (coroutines) or cancelled and waited for (tasks, futures); of a generator it is not
    taken.

    Raises:
        TypeError: an awaitable gave something else than a `Result`.
        ValueError: `limit` is below 1.

    >>> async def fetch(n: int) -> Result[int, str]:
    ...     return Ok(n * 2) if n < 3 else Err(f"no page {n}")
    >>> asyncio.run(sequence_async([fetch(1), fetch(2)]))
    Ok([2, 4])
    """

    async def given(awaitable: Awaitable[Result[T, E]]) -> Result[T, E]:
        result = await awaitable
        require_result(result, "sequence_async")
        return result

    source = iter(awaitables)
    try:
        return await traverse_async(source, given, limit=limit)
    finally:
        if source is not awaitables:
            await _abandon(awaitables)


async def _abandon(awaitables: Iterable[Awaitable[Result[T, E]]]) -> None:
    """Ends those awaitables that have not ended."""
    running: list[asyncio.Future[Result[T, E]]] = []
    for awaitable in awaitables:
        if inspect.iscoroutine(awaitable):
            awaitable.close()
        elif asyncio.isfuture(awaitable):
            running.append(awaitable)
    await cancel_and_join(running)
