"""Calls that are limited, that go through a breaker, and that end with their client."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from native_calls import BUSY, WRONG, Call, Calls, Time, Told
from polarway import AsyncPolarwayClient, CircuitBreaker, Err, Error, Ok, PolarwayClient, Retry
from polarway._calls import awaited, waited, waited_each
from polarway._idle import idle, idle_sync
from polarway._limit import Limit
from polarway._operation import Operation, Way
from polarway._repeatable import always
from polarway._retrying import Retrying
from polarway._timer import Timer
from polarway._traffic import Traffic

if TYPE_CHECKING:
    from polarway._calls import Cancels
    from polarway._polarway import Done


class LimitMachine(RuleBasedStateMachine):
    """Places and queue against two lists."""

    entered: Bundle[Operation[str]] = Bundle("entered")

    @initialize(most=st.integers(1, 3), waiting=st.integers(0, 3))
    def begin(self, most: int, waiting: int) -> None:
        self.most, self.most_waiting = most, waiting
        self.way = Way(Time(), limit=Limit(most, waiting))
        self.calls = Calls()
        self.inside: list[Operation[str]] = []
        self.waiting: list[Operation[str]] = []
        self.started: list[Operation[str]] = []
        self.expected: list[Operation[str]] = []
        self.call_of: dict[Operation[str], Call] = {}

    @rule(target=entered)
    def enter(self) -> Operation[str]:
        told = Told()
        operation: Operation[str]

        def start(done: Done[str]) -> Call:
            self.started.append(operation)
            self.call_of[operation] = self.calls(done)
            return self.call_of[operation]

        operation = Operation(self.way, start, told, always, lambda _: None)
        operation.begin()
        if len(self.inside) < self.most:
            self.inside.append(operation)
            self.expected.append(operation)
        elif len(self.waiting) < self.most_waiting:
            self.waiting.append(operation)
        else:
            assert told.outcomes == ["OVERLOADED"]
        return operation

    @rule(operation=consumes(entered), cancelled=st.booleans())
    def end(self, operation: Operation[str], cancelled: bool) -> None:
        if operation in self.waiting:
            operation.cancel()
            self.waiting.remove(operation)
        elif operation in self.inside:
            if cancelled:
                operation.cancel()
                assert self.call_of[operation].is_cancelled
            else:
                self.call_of[operation].succeed()
            self.inside.remove(operation)
            if self.waiting:
                following = self.waiting.pop(0)
                self.inside.append(following)
                self.expected.append(following)
        else:
            operation.cancel()

    @invariant()
    def calls_start_in_the_order_in_which_they_came(self) -> None:
        assert self.started == self.expected


def test_places_and_queue_agree_with_the_model() -> None:
    run_state_machine_as_test(LimitMachine, settings=settings(max_examples=150, stateful_step_count=40, deadline=None))


def test_the_error_of_a_full_queue_is_told_at_once_and_not_as_the_clusters() -> None:
    way, calls, errors = Way(Time(), limit=Limit(1, 0)), Calls(), list[Error]()
    Operation(way, calls, Told(), always, lambda _: None).begin()
    refused = Operation(
        way, calls, lambda _, fault: errors.append(Error.of(fault)) if fault else None, always, lambda _: None
    )
    refused.begin()
    [error] = errors
    assert (error.kind, error.is_retryable, error.is_unavailable) == ("OVERLOADED", True, False)
    assert "max_waiting" in error.hint
    assert len(calls.made) == 1


def test_a_long_queue_of_calls_that_end_at_once_needs_no_deep_stack() -> None:
    limit, calls, told = Limit(1, 100_000), Calls(), Told()
    way = Way(Time(), limit=limit)
    Operation(way, calls, told, always, lambda _: None).begin()

    def at_once(done: Done[str]) -> Call:
        done("soon", None)
        return calls.made[0]

    for _ in range(100_000):
        Operation(way, at_once, told, always, lambda _: None).begin()
    calls.made[0].succeed("first")
    assert told.outcomes == ["first"] + ["soon"] * 100_000


def test_many_threads_never_have_more_places_than_there_are() -> None:
    traffic = Traffic(limit=Limit(3, 10_000))
    running, most = 0, 0
    lock = threading.Lock()

    def start(done: Done[str]) -> Call:
        def run() -> None:
            nonlocal running, most
            with lock:
                running += 1
                most = max(most, running)
            with lock:
                running -= 1
            done("rows", None)

        threads.submit(run)
        return Call(Told())

    with ThreadPoolExecutor(8) as threads, ThreadPoolExecutor(16) as callers:
        waiting = [callers.submit(waited, traffic.call(start)) for _ in range(1000)]
        found = [future.result() for future in waiting]
    assert found == [Ok("rows")] * 1000
    assert 1 <= most <= 3


def _way(time: Time, breaker: CircuitBreaker, most: int, attempts: int) -> Way:
    return Way(time, limit=Limit(most, 9), circuit=breaker.circuit, retrying=Retrying(Retry(attempts), time.clock))


def test_the_breaker_counts_a_call_with_all_its_attempts_once() -> None:
    time, calls, told = Time(), Calls(), Told()
    breaker = CircuitBreaker(threshold=2, timeout=30, clock=time.clock)
    way = _way(time, breaker, 1, 3)
    for failures in (1, 2):
        Operation(way, calls, told, always, lambda _: None).begin()
        for _ in range(3):
            assert breaker.failures == failures - 1
            calls.made[-1].fail()
            time.go_on(1)
        assert breaker.failures == failures
    assert (breaker.state, len(calls.made)) == ("OPEN", 6)
    Operation(way, calls, told, always, lambda _: None).begin()
    assert told.outcomes == ["OVERLOADED", "OVERLOADED", "DRAINING"]
    assert len(calls.made) == 6
    time.go_on(30)
    Operation(way, calls, told, always, lambda _: None).begin()
    calls.made[-1].fail(WRONG)
    assert breaker.state == "CLOSED"


def test_a_call_asks_the_breaker_when_its_turn_has_come() -> None:
    time, calls, told = Time(), Calls(), Told()
    breaker = CircuitBreaker(threshold=1, timeout=30, clock=time.clock)
    way = _way(time, breaker, 1, 1)
    for _ in range(3):
        Operation(way, calls, told, always, lambda _: None).begin()
    calls.made[0].fail()
    assert told.outcomes == ["OVERLOADED", "DRAINING", "DRAINING"]
    assert len(calls.made) == 1


def test_a_refusal_of_the_limit_tells_the_breaker_nothing() -> None:
    time, calls, told = Time(), Calls(), Told()
    breaker = CircuitBreaker(threshold=2, timeout=30, clock=time.clock)
    way = Way(time, limit=Limit(1, 0), circuit=breaker.circuit)
    Operation(way, calls, told, always, lambda _: None).begin()
    calls.made[0].fail()
    Operation(way, calls, told, always, lambda _: None).begin()
    Operation(way, calls, told, always, lambda _: None).begin()
    assert told.outcomes == ["OVERLOADED", "OVERLOADED"]
    assert breaker.failures == 1


def test_a_cancelled_probe_leaves_its_place_to_the_next() -> None:
    time, calls, told = Time(), Calls(), Told()
    breaker = CircuitBreaker(threshold=1, timeout=30, clock=time.clock)
    way = _way(time, breaker, 1, 1)
    Operation(way, calls, told, always, lambda _: None).begin()
    calls.made[0].fail()
    time.go_on(30)
    probe = Operation(way, calls, told, always, lambda _: None)
    probe.begin()
    probe.cancel()
    Operation(way, calls, told, always, lambda _: None).begin()
    calls.made[-1].succeed()
    assert breaker.state == "CLOSED"


async def test_a_cancelled_task_frees_its_place_and_its_turn() -> None:
    traffic, calls = Traffic(limit=Limit(1, 1)), Calls()
    first = asyncio.create_task(awaited(traffic.call(calls)))
    second = asyncio.create_task(awaited(traffic.call(calls)))
    await asyncio.sleep(0)
    assert (await awaited(traffic.call(calls))).unwrap_err().kind == "OVERLOADED"
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    third = asyncio.create_task(awaited(traffic.call(calls)))
    await asyncio.sleep(0)
    assert len(calls.made) == 1
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(first, 0.01)
    assert calls.made[0].is_cancelled
    calls.made[1].succeed("third")
    assert await third == Ok("third")
    assert len(calls.made) == 2


def test_what_a_start_raises_is_raised_and_frees_the_place() -> None:
    traffic, calls = Traffic(limit=Limit(1, 1)), Calls()

    def wrong(_: Done[str]) -> Call:
        raise TypeError("no text")

    with pytest.raises(TypeError, match="no text"):
        waited(traffic.call(wrong))
    # In its turn there is nobody to raise it to.
    told = Told()
    traffic.call(calls)(told)
    traffic.call(wrong)(told)
    calls.made[0].succeed()
    assert told.outcomes == ["rows", "INTERNAL"]
    idle_sync(traffic, 60)


def test_a_batch_is_limited_and_made_again_like_other_calls() -> None:
    traffic = Traffic(limit=Limit(2, 0), retrying=Retrying(Retry(delay=0.001)))
    failing = {3: 2, 5: 9}
    lock, running, most = threading.Lock(), 0, 0

    def start(number: int, done: Done[int]) -> Cancels:
        def attempt(done: Done[int]) -> Call:
            nonlocal running, most
            with lock:
                running += 1
                most = max(most, running)
                failing[number] = failing.get(number, 0) - 1
                fails = failing[number] >= 0

            def end() -> None:
                nonlocal running
                with lock:
                    running -= 1
                done(None if fails else number, BUSY.fault() if fails else None)

            threads.submit(end)
            return Call(Told())

        return traffic.call(attempt)(done)

    with ThreadPoolExecutor(4) as threads:
        found = list(waited_each(range(20), start, limit=2))
    assert [item for item, _ in found] == list(range(20))
    expected = [Err(BUSY) if number == 5 else Ok(number) for number in range(20)]
    assert [result for _, result in found] == expected
    assert most <= 2
    assert not [thread for thread in threading.enumerate() if thread.name == "polarway.retries"]


async def test_closing_waits_for_calls_and_refuses_new_ones() -> None:
    traffic, calls = Traffic(), Calls()
    running = asyncio.create_task(awaited(traffic.call(calls)))
    await asyncio.sleep(0)
    traffic.shut()
    assert (await awaited(traffic.call(calls))).unwrap_err().kind == "DRAINING"
    closing = asyncio.create_task(idle(traffic, 60))
    # A part of what runs, such as the next rows.
    part = asyncio.create_task(awaited(traffic.once(calls)))
    await asyncio.sleep(0.01)
    calls.made[0].succeed()
    assert await asyncio.wait_for(running, 60) == Ok("rows")
    await asyncio.sleep(0.01)
    assert not closing.done()
    calls.made[1].succeed()
    assert await part == Ok("rows")
    await asyncio.wait_for(closing, 30)
    traffic.stop()
    assert (await awaited(traffic.once(calls))).unwrap_err().kind == "CANCELLED"


async def test_what_has_not_ended_in_time_is_cancelled_and_says_so() -> None:
    traffic, calls = Traffic(limit=Limit(1, 5)), Calls()
    tasks = [asyncio.create_task(awaited(traffic.call(calls))) for _ in range(3)]
    await asyncio.sleep(0)
    traffic.shut()
    await idle(traffic, 0.01)
    traffic.stop()
    ended = await asyncio.wait_for(asyncio.gather(*tasks), 60)
    assert [result.unwrap_err().kind for result in ended] == ["CANCELLED"] * 3
    assert [call.is_cancelled for call in calls.made] == [True]


async def test_a_cancellation_while_closing_is_passed_on() -> None:
    traffic, calls = Traffic(), Calls()
    running = asyncio.create_task(awaited(traffic.call(calls)))
    closing = asyncio.create_task(idle(traffic, 60))
    await asyncio.sleep(0.01)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    traffic.stop()
    assert (await asyncio.wait_for(running, 60)).is_err()


def test_closing_waits_for_the_iterations_of_others_and_not_for_its_own() -> None:
    traffic = Traffic()
    entered, left = threading.Event(), threading.Event()

    def iterate() -> None:
        with traffic.reading(threading.get_ident()):
            entered.set()
            assert left.wait(60)

    other = threading.Thread(target=iterate)
    other.start()
    assert entered.wait(60)
    told = threading.Event()
    with traffic.reading(threading.get_ident()):
        traffic.when_idle(threading.get_ident(), told.set)
        assert not told.is_set()
        left.set()
        assert told.wait(60)
    other.join()


def test_alarms_ring_in_order_and_the_thread_ends_with_the_last() -> None:
    timer, rung = Timer(), list[int]()
    over = threading.Event()

    def last() -> None:
        rung.append(3)
        over.set()

    timer.after(0.03, last)
    timer.after(0.02, lambda: rung.append(2))
    timer.after(0.01, lambda: rung.append(1))
    timer.after(0.015, lambda: rung.append(0)).cancel()
    assert over.wait(60)
    timer.stop()
    assert rung == [1, 2, 3]
    timer.after(3600, last)
    assert [thread for thread in threading.enumerate() if thread.name == "polarway.retries"]
    timer.stop()
    assert not [thread for thread in threading.enumerate() if thread.name == "polarway.retries"]
    assert rung == [1, 2, 3]


@pytest.mark.parametrize("client", [PolarwayClient, AsyncPolarwayClient])
def test_limits_out_of_range_are_refused(client: type[PolarwayClient] | type[AsyncPolarwayClient]) -> None:
    with pytest.raises(ValueError, match="max_concurrent must be 1 or more"):
        client("localhost", max_concurrent=0)
    with pytest.raises(ValueError, match="max_waiting must be 0 or more"):
        client("localhost", max_waiting=-1)
