from __future__ import annotations

import asyncio
import gc
import inspect
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polarway import Err, Ok, Result, sequence_async, traverse, traverse_async

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator


@dataclass(frozen=True)
class Call:
    """What one call does: waits for so many turns of the loop, then gives a value or an error."""

    name: int
    turns: int
    fails: bool
    cleanup_turns: int = 0

    def outcome(self) -> Result[int, str]:
        return Err(f"error {self.name}") if self.fails else Ok(self.name)


@dataclass
class Server:
    """Makes calls and sees how many are in flight."""

    in_flight: int = 0
    most_in_flight: int = 0
    started: list[int] = field(default_factory=list[int])
    ended: list[int] = field(default_factory=list[int])
    cancelled: list[int] = field(default_factory=list[int])

    async def call(self, call: Call) -> Result[int, str]:
        self.started.append(call.name)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            for _ in range(call.turns):
                await asyncio.sleep(0)
            return call.outcome()
        except asyncio.CancelledError:
            self.cancelled.append(call.name)
            for _ in range(call.cleanup_turns):
                await asyncio.sleep(0)
            raise
        finally:
            self.in_flight -= 1
            self.ended.append(call.name)

    def is_idle(self) -> bool:
        return self.in_flight == 0 and asyncio.all_tasks() == {asyncio.current_task()}


@st.composite
def plans(draw: st.DrawFn, *, failing: st.SearchStrategy[bool] | None = None) -> list[Call]:
    count = draw(st.integers(0, 12))
    fails = failing if failing is not None else st.integers(0, 5).map(lambda n: n == 0)
    return [
        Call(name, draw(st.integers(0, 6)), draw(fails), cleanup_turns=draw(st.integers(0, 3))) for name in range(count)
    ]


limits = st.integers(1, 6)


@given(plans(), limits)
def test_row_32_async_equals_plain_and_never_exceeds_its_limit(plan: list[Call], limit: int) -> None:
    async def run() -> None:
        server = Server()
        result = await traverse_async(plan, server.call, limit=limit)
        assert result == traverse(plan, Call.outcome)
        assert server.most_in_flight <= limit
        assert server.is_idle()
        assert sorted(server.started) == sorted(server.ended)

    asyncio.run(run())


@given(plans(failing=st.just(value=False)), limits)
def test_row_32_the_limit_is_used_in_full(plan: list[Call], limit: int) -> None:
    async def run() -> None:
        server = Server()
        await traverse_async([Call(c.name, c.turns + 1, fails=False) for c in plan], server.call, limit=limit)
        assert server.most_in_flight == min(limit, len(plan))

    asyncio.run(run())


@given(plans(), limits)
def test_row_32_sequence_async_of_map_is_traverse_async(plan: list[Call], limit: int) -> None:
    async def run() -> None:
        server = Server()
        coroutines = [server.call(call) for call in plan]
        assert await sequence_async(coroutines, limit=limit) == traverse(plan, Call.outcome)
        assert server.most_in_flight <= limit
        assert server.is_idle()
        assert {inspect.getcoroutinestate(coroutine) for coroutine in coroutines} <= {inspect.CORO_CLOSED}

    asyncio.run(run())


@given(plans(), limits, st.integers(0, 25))
def test_row_32_no_cancellation_is_lost(plan: list[Call], limit: int, turns: int) -> None:
    async def run() -> None:
        server = Server()
        task = asyncio.create_task(traverse_async(plan, server.call, limit=limit))
        for _ in range(turns):
            await asyncio.sleep(0)
        if task.cancel():
            await asyncio.wait([task])
            assert task.cancelled()
        else:
            assert task.result() == traverse(plan, Call.outcome)
        assert server.is_idle()
        assert sorted(server.started) == sorted(server.ended)

    asyncio.run(run())


@given(plans(), limits, st.integers(0, 25), st.integers(0, 5))
def test_row_32_a_second_cancellation_leaves_nothing_running(
    plan: list[Call], limit: int, turns: int, more_turns: int
) -> None:
    async def run() -> None:
        server = Server()
        task = asyncio.create_task(traverse_async(plan, server.call, limit=limit))
        for _ in range(turns):
            await asyncio.sleep(0)
        cancelled = task.cancel()
        for _ in range(more_turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled() is cancelled
        assert server.is_idle()

    asyncio.run(run())


async def test_row_32_an_earlier_call_goes_on_after_a_later_error_and_its_error_wins() -> None:
    server = Server()
    plan = [
        Call(0, 9, fails=True),
        Call(1, 0, fails=True),
        Call(2, 99, fails=False, cleanup_turns=3),
        Call(3, 0, False),
    ]
    assert await traverse_async(plan, server.call, limit=3) == Err("error 0")
    assert server.started == [0, 1, 2]
    assert server.cancelled == [2]
    assert server.is_idle()


async def test_row_32_an_exception_cancels_all_waits_for_them_and_is_raised() -> None:
    server = Server()

    async def call(one: Call) -> Result[int, str]:
        if one.fails:
            raise LookupError(one.name)
        return await server.call(one)

    plan = [Call(0, 99, fails=False, cleanup_turns=3), Call(1, 0, fails=True), Call(2, 99, fails=False)]
    with pytest.raises(LookupError, match="1"):
        await traverse_async(plan, call)
    assert sorted(server.cancelled) == [0, 2]
    assert server.is_idle()


async def test_row_32_of_calls_that_end_together_the_earlier_item_counts() -> None:
    reported: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context.get("exception")))

    async def call(item: int) -> Result[int, str]:
        if item > 0:
            raise LookupError(item)
        return Err("zero")

    assert await traverse_async(range(10), call) == Err("zero")
    gc.collect()
    assert sorted(map(repr, reported)) == [f"LookupError({item})" for item in range(1, 10)]


async def test_row_32_an_exception_of_the_input_is_raised() -> None:
    server = Server()

    def feed() -> Iterator[Call]:
        yield Call(0, 99, fails=False)
        yield Call(1, 1, fails=False)
        raise LookupError("feed")

    with pytest.raises(LookupError, match="feed"):
        await traverse_async(feed(), server.call, limit=2)
    assert server.cancelled == [0]
    assert server.is_idle()


async def test_row_32_a_call_cancelled_by_somebody_else_is_a_cancellation() -> None:
    stopped: asyncio.Future[Result[int, str]] = asyncio.get_running_loop().create_future()
    stopped.cancel()
    server = Server()
    with pytest.raises(asyncio.CancelledError):
        await sequence_async([server.call(Call(0, 99, fails=False)), stopped])
    assert server.cancelled == [0]
    assert server.is_idle()


async def test_row_32_an_exception_of_a_cancelled_call_is_reported_and_changes_nothing() -> None:
    reported: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context.get("exception")))

    async def call(item: int) -> Result[int, str]:
        if item == 0:
            await asyncio.sleep(0)
            return Err("zero")
        try:
            await asyncio.Event().wait()
        finally:
            raise LookupError("in its cleanup")

    assert await traverse_async([0, 1], call) == Err("zero")
    gc.collect()
    assert [repr(error) for error in reported] == ["LookupError('in its cleanup')"]


async def test_row_32_cancelled_while_it_waits_for_cancelled_calls() -> None:
    in_cleanup = asyncio.Event()
    may_end = asyncio.Event()
    ended: list[int] = []

    async def call(item: int) -> Result[int, str]:
        if item == 0:
            await asyncio.sleep(0)
            return Err("zero")
        try:
            await asyncio.Event().wait()
        finally:
            in_cleanup.set()
            while not may_end.is_set():
                try:
                    await may_end.wait()
                except asyncio.CancelledError:
                    continue
            ended.append(item)
        return Ok(item)

    task = asyncio.create_task(traverse_async([0, 1], call))
    await in_cleanup.wait()
    task.cancel()
    for _ in range(5):
        await asyncio.sleep(0)
    assert not task.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == [1]


async def test_row_32_items_are_taken_only_when_there_is_room() -> None:
    taken = 0
    room = asyncio.Semaphore(0)

    def feed() -> Iterator[int]:
        nonlocal taken
        for item in range(100):
            taken += 1
            yield item

    async def call(item: int) -> Result[int, str]:
        await room.acquire()
        return Ok(item)

    task = asyncio.create_task(traverse_async(feed(), call, limit=3))
    for done in range(5):
        for _ in range(10):
            await asyncio.sleep(0)
        assert taken == 3 + done
        room.release()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_row_32_what_is_no_result_is_named() -> None:
    async def call(item: int) -> int:
        return item

    def plain(item: int) -> Result[int, str]:
        return Ok(item)

    with pytest.raises(TypeError, match=r"traverse_async: .*call returned 7 \(int\), not a Result"):
        await traverse_async([7], call)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match=r"sequence_async: got 7 \(int\), not a Result"):
        await sequence_async([call(7)])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match="await"):
        await traverse_async([7], plain)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def test_row_32_a_limit_below_one_is_refused() -> None:
    server = Server()
    with pytest.raises(ValueError, match="limit must be 1 or more, not 0"):
        await traverse_async([Call(0, 0, fails=False)], server.call, limit=0)
    unused = server.call(Call(0, 0, fails=False))
    with pytest.raises(ValueError, match="limit must be 1 or more"):
        await sequence_async([unused], limit=0)
    assert inspect.getcoroutinestate(unused) == inspect.CORO_CLOSED


async def test_row_32_sequence_async_ends_what_it_did_not_reach() -> None:
    server = Server()
    reached = server.call(Call(0, 1, fails=True))
    unreached: Coroutine[object, object, Result[int, str]] = server.call(Call(1, 0, fails=False))
    running = asyncio.create_task(server.call(Call(2, 99, fails=False, cleanup_turns=3)))
    assert await sequence_async([reached, unreached, running], limit=1) == Err("error 0")
    assert inspect.getcoroutinestate(unreached) == inspect.CORO_CLOSED
    assert server.cancelled == [2]
    assert server.is_idle()


async def test_row_32_sequence_async_takes_no_more_of_a_generator_than_it_needs() -> None:
    server = Server()
    names = iter(range(10))
    coroutines = (server.call(Call(name, 1, fails=name == 1)) for name in names)
    assert await sequence_async(coroutines, limit=1) == Err("error 1")
    assert server.started == [0, 1]
    assert list(names) == [2, 3, 4, 5, 6, 7, 8, 9]
