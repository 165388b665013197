"""Waiting for native calls, from a coroutine or from a thread."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import time
from collections import deque
from typing import TYPE_CHECKING, Generic, Protocol, TypeAlias, TypeVar, cast

from polarway._tasks import cancel_and_join
from polarway._turns import turns
from polarway.error import Error
from polarway.option import Nothing, Option, Some
from polarway.result import Err, Ok, Result

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from polarway._polarway import Done
    from polarway.error import Fault

A = TypeVar("A")
T = TypeVar("T")


class Cancels(Protocol):
    """What has been started: a call of the native module, or something around one."""

    def cancel(self) -> None:
        """Stops it. Its function is not called any more, unless that is under way already."""
        ...


class _Nothing:
    def cancel(self) -> None:
        """Nothing was started."""


NOTHING = _Nothing()
"""What was over before it began."""

# Starts something, and tells the function what came of it, from any thread.
Start: TypeAlias = "Callable[[Done[T]], Cancels]"

_END = object()


def outcome_of(value: T | None, fault: Fault | None) -> Result[T, Error]:
    """What a call told."""
    if fault is not None:
        return Err(Error.of(fault))
    # A call whose value may be None says so in its type.
    return Ok(cast("T", value))


class Timed(Generic[T]):
    """Something to start, of which the latest took so many seconds."""

    def __init__(self, start: Start[T]) -> None:
        self._start = start
        self._took: list[float] = []

    @property
    def took(self) -> float:
        """Seconds."""
        return self._took[-1]

    def __call__(self, done: Done[T]) -> Cancels:
        began, took = time.perf_counter(), self._took

        # Without a reference to what it starts: see `Operation`.
        def told(value: T | None, fault: Fault | None) -> None:
            took.append(time.perf_counter() - began)
            done(value, fault)

        return self._start(told)


async def awaited(start: Start[T]) -> Result[T, Error]:
    """Starts a call and waits for it. Cancelled, it cancels the call, and with it what that runs on the cluster."""
    loop = asyncio.get_running_loop()
    await turns(loop).enter()
    future: asyncio.Future[Result[T, Error]] = loop.create_future()

    def settle(outcome: Result[T, Error]) -> None:
        if not future.done():
            future.set_result(outcome)

    def done(value: T | None, fault: Fault | None) -> None:
        # A loop that was closed meanwhile raises it: nobody waits any more.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, outcome_of(value, fault))

    call: Cancels = NOTHING
    try:
        call = start(done)
        return await future
    except asyncio.CancelledError:
        call.cancel()
        raise


async def awaited_for(start: Start[T], timeout: float | None) -> Option[Result[T, Error]]:
    """The same, for so many seconds at most, after which it cancels the call too and gives nothing."""
    # asyncio.wait_for of Python 3.11 loses a cancellation that comes together with the outcome.
    waiting = asyncio.ensure_future(awaited(start))
    try:
        ended, _ = await asyncio.wait([waiting], timeout=timeout)
        return Some(waiting.result()) if ended else Nothing()
    finally:
        await cancel_and_join([waiting])


def waited(start: Start[T]) -> Result[T, Error]:
    """Starts a call and blocks until it is done. Interrupted, it cancels the call, and what runs on the cluster."""
    outcomes: queue.SimpleQueue[Result[T, Error]] = queue.SimpleQueue()
    call: Cancels = NOTHING
    try:
        call = start(_putting(outcomes))
        # Ctrl-C ends the wait with KeyboardInterrupt.
        return outcomes.get()
    except BaseException:
        call.cancel()
        raise


def waited_for(start: Start[T], timeout: float | None) -> Option[Result[T, Error]]:
    """The same, for so many seconds at most, after which it cancels the call too and gives nothing."""
    outcomes: queue.SimpleQueue[Result[T, Error]] = queue.SimpleQueue()
    call: Cancels = NOTHING
    try:
        call = start(_putting(outcomes))
        return Some(outcomes.get(timeout=timeout))
    except queue.Empty:
        call.cancel()
        return Nothing()
    except BaseException:
        call.cancel()
        raise


def waited_each(
    items: Iterable[A], start: Callable[[A, Done[T]], Cancels | None], *, limit: int
) -> Iterator[tuple[A, Result[T, Error]]]:
    """Starts a call for each item, at most `limit` at once, and gives items and outcomes in order.

    Items are taken when there is room for one more. An outcome that is known at once needs no call. Left early, it
    cancels the calls that it has started.
    """
    if limit < 1:
        raise ValueError(f"limit must be 1 or more, not {limit}")
    source = iter(items)
    running: deque[tuple[A, queue.SimpleQueue[Result[T, Error]], Cancels | None]] = deque()
    try:
        while True:
            while len(running) < limit:
                found = next(source, _END)
                if found is _END:
                    break
                item = cast("A", found)
                outcomes: queue.SimpleQueue[Result[T, Error]] = queue.SimpleQueue()
                running.append((item, outcomes, start(item, _putting(outcomes))))
            if not running:
                return
            item, outcomes, _ = running[0]
            outcome = outcomes.get()
            running.popleft()
            yield item, outcome
    finally:
        for _, _, call in running:
            if call is not None:
                call.cancel()


def _putting(outcomes: queue.SimpleQueue[Result[T, Error]]) -> Done[T]:
    return lambda value, fault: outcomes.put(outcome_of(value, fault))
