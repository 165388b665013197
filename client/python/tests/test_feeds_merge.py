from __future__ import annotations

import asyncio
import gc
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feed_servers import until
from polarway import Err, Tagged, merge_streams
from polarway.feeds._turns import Turns

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Callable

    from typing_extensions import Self


@dataclass
class Source:
    """Gives its items, waiting for so many turns of the loop before each, and knows what was taken."""

    items: list[int]
    turns: int = 0
    fails: bool = False
    endless: bool = False
    taken: int = 0
    closed: int = 0
    close_turns: int = 0
    close_fails: bool = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> int:
        for _ in range(self.turns):
            await asyncio.sleep(0)
        if self.taken < len(self.items) or self.endless:
            self.taken += 1
            return self.taken - 1
        if self.fails:
            raise ConnectionError("gone")
        raise StopAsyncIteration

    async def aclose(self) -> None:
        for _ in range(self.close_turns):
            await asyncio.sleep(0)
        self.closed += 1
        if self.close_fails:
            raise ConnectionError("close")


def _source(count: int, turns: int, fails: bool) -> Source:
    return Source(list(range(count)), turns, fails)


sources = st.builds(
    _source,
    st.integers(0, 30),
    st.integers(0, 3),
    st.booleans(),
)


def alone() -> bool:
    return asyncio.all_tasks() == {asyncio.current_task()}


@settings(deadline=None)  # an event loop each
@given(st.lists(sources, max_size=5), st.integers(1, 5))
def test_row_43_every_item_comes_once_in_the_order_of_its_source(given_: list[Source], buffer: int) -> None:
    async def run() -> None:
        seen: list[list[int]] = [[] for _ in given_]
        failed: list[int] = []
        async with merge_streams(given_, buffer=buffer) as merged:
            async for tagged in merged:
                assert tagged.source not in failed
                if isinstance(tagged.item, Err):
                    failed.append(tagged.source)
                else:
                    seen[tagged.source].append(tagged.item)
        assert sorted(failed) == [place for place, source in enumerate(given_) if source.fails]
        for source, items in zip(given_, seen, strict=True):
            assert items == source.items
            assert source.closed == 1
        assert alone()

    asyncio.run(run())


@settings(deadline=None)
@given(st.integers(1, 6), st.integers(1, 5), st.integers(1, 60))
def test_row_43_merge_is_fair_and_bounded(count: int, buffer: int, taken: int) -> None:
    """Sources that are always ready are served in turn, and none is read further than its buffer."""

    async def run() -> None:
        endless = [Source([], endless=True) for _ in range(count)]
        order: list[int] = []
        async with merge_streams(endless, buffer=buffer) as merged:
            async for tagged in merged:
                order.append(tagged.source)
                await asyncio.sleep(0)
                for place, source in enumerate(endless):
                    assert source.taken - order.count(place) <= buffer
                if len(order) == taken:
                    break
        for first in range(len(order) - count + 1):
            assert sorted(order[first : first + count]) == list(range(count))
        assert alone()

    asyncio.run(run())


@given(st.integers(1, 4), st.lists(st.sampled_from(["put a", "put b", "put c", "take"]), max_size=80))
def test_row_43_who_waits_is_served_before_anybody_is_served_twice(buffer: int, path: list[str]) -> None:
    turns: Turns[str, int] = Turns("abc", buffer)
    held: dict[str, deque[int]] = {source: deque() for source in "abc"}
    since: dict[str, list[str]] = {}
    for number, step in enumerate(path):
        if step == "take":
            taken = turns.take()
            if taken is None:
                assert not any(held.values())
                continue
            source, item = taken
            assert held[source].popleft() == item
            since.pop(source)
            for waiting, served in since.items():
                assert source not in served, f"{source} was served twice while {waiting} waited"
                served.append(source)
            if held[source]:
                since[source] = []
            continue
        source = step[-1]
        assert turns.has_room(source) == (len(held[source]) < buffer)
        if turns.has_room(source):
            turns.put(source, number)
            held[source].append(number)
            since.setdefault(source, [])


async def test_row_43_a_dead_source_does_not_end_the_others() -> None:
    streams = {"dead": Source([], fails=True), "good": Source([0, 1, 2], turns=2)}
    merged = [tagged async for tagged in merge_streams(streams)]
    failed = merged.pop(0)
    assert failed.source == "dead"
    assert isinstance(failed.item, Err)
    assert isinstance(failed.item.err_value, ConnectionError)
    assert merged == [Tagged("good", 0), Tagged("good", 1), Tagged("good", 2)]


async def test_row_43_a_source_that_cannot_be_closed_does_not_end_the_others() -> None:
    ends = Source([], close_fails=True)
    fails = Source([], fails=True, close_fails=True)
    good = Source([0, 1], turns=5)
    errors: list[tuple[int, str]] = []
    items: list[int] = []
    async for tagged in merge_streams([ends, fails, good], buffer=1):
        if isinstance(tagged.item, Err):
            errors.append((tagged.source, str(tagged.item.err_value)))
        else:
            items.append(tagged.item)
    assert (errors, items) == ([(0, "close"), (1, "gone")], [0, 1])

    left = merge_streams([Source([], endless=True, close_fails=True), good])
    await anext(left)
    with pytest.raises(ConnectionError, match="close"):
        await left.aclose()
    assert (good.closed, alone()) == (2, True)


async def test_a_slow_source_is_not_waited_for_and_a_slow_reader_slows_all() -> None:
    fast, stuck = Source([], endless=True), Source([1], turns=10**9)
    async with merge_streams([fast, stuck], buffer=3) as merged:
        assert (await anext(merged)).source == 0
        await until(lambda: fast.taken == 4)
        for _ in range(100):
            await asyncio.sleep(0)
        assert fast.taken == 4
    assert (fast.closed, stuck.closed) == (1, 1)


async def _first(merged: AsyncIterator[object]) -> object:
    return await anext(merged)


async def test_a_cancelled_wait_closes_all_sources_and_goes_on_to_the_caller() -> None:
    stuck = [Source([], turns=10**9, endless=True, close_turns=3) for _ in range(3)]
    waiting = asyncio.create_task(_first(merge_streams(stuck)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert [source.closed for source in stuck] == [1, 1, 1]
    assert alone()


async def test_closing_tells_who_waits_that_there_is_no_more() -> None:
    merged = merge_streams([Source([], turns=10**9, endless=True)])
    waiting = asyncio.create_task(_first(merged))
    await asyncio.sleep(0)
    await merged.aclose()
    with pytest.raises(StopAsyncIteration):
        await waiting
    await merged.aclose()
    assert alone()


async def test_a_merge_that_was_never_read_closes_its_sources() -> None:
    source = Source([1])
    async with merge_streams([source]):
        pass
    assert (source.taken, source.closed) == (0, 1)


async def test_a_merge_that_is_dropped_ends_its_tasks() -> None:
    source = Source([], endless=True)

    async def drop() -> None:
        async for _ in merge_streams([source]):
            break

    await drop()
    gc.collect()
    await until(lambda: source.closed == 1 and alone())


async def test_generators_are_closed() -> None:
    ends: list[str] = []

    async def generate(name: str) -> AsyncIterator[str]:
        try:
            while True:
                yield name
        finally:
            await asyncio.sleep(0)
            ends.append(name)

    async with merge_streams({name: generate(name) for name in "ab"}, buffer=1) as merged:
        await anext(merged)
    assert sorted(ends) == ["a", "b"]


@dataclass
class _CancelsItself:
    closed: list[bool] = field(default_factory=list[bool])

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> int:
        raise asyncio.CancelledError

    async def aclose(self) -> None:
        self.closed.append(True)


async def test_a_cancellation_inside_a_source_is_not_swallowed() -> None:
    source = _CancelsItself()
    other = Source([], turns=10**9, endless=True)
    with pytest.raises(asyncio.CancelledError):
        streams: list[AsyncIterable[int]] = [source, other]
        await anext(merge_streams(streams))
    assert source.closed == [True]
    assert other.closed == 1


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: merge_streams([Source([])], buffer=0), "buffer must be 1 or more"),
        (lambda: merge_streams([source := Source([]), source]), "given twice"),
    ],
)
async def test_what_cannot_be_merged_is_refused(make: Callable[[], object], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        make()


async def test_no_streams_have_no_items() -> None:
    none: list[Source] = []
    assert [tagged async for tagged in merge_streams(none)] == []
