from __future__ import annotations

import asyncio
import gc
import inspect
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from polarway import CircuitBreaker, CircuitOpen, CircuitState, Err, Ok, Result, is_unavailable

if TYPE_CHECKING:
    from collections.abc import Callable


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class ServerError(Exception):
    def __init__(self, *, is_unavailable: bool) -> None:
        super().__init__()
        self.is_unavailable = is_unavailable


UNAVAILABLE = ServerError(is_unavailable=True)
SQL_ERROR = ServerError(is_unavailable=False)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> CircuitBreaker:
    return CircuitBreaker(threshold=3, timeout=30.0, clock=clock)


def fail_with(error: Exception) -> Callable[[], int]:
    def fail() -> int:
        raise error

    return fail


def fail(breaker: CircuitBreaker, times: int) -> None:
    for _ in range(times):
        with pytest.raises(ServerError):
            breaker.call_sync(fail_with(UNAVAILABLE))


def answer() -> int:
    return 42


async def answer_async() -> int:
    return 42


def test_row_41_consecutive_failures_open_it(breaker: CircuitBreaker) -> None:
    fail(breaker, 2)
    assert (breaker.state, breaker.failures) == ("CLOSED", 2)
    fail(breaker, 1)
    assert (breaker.state, breaker.failures) == ("OPEN", 3)


def test_row_41_a_success_resets_the_count(breaker: CircuitBreaker) -> None:
    for _ in range(5):
        fail(breaker, 2)
        assert breaker.call_sync(answer) == 42
        assert (breaker.state, breaker.failures) == (CircuitState.CLOSED, 0)


def test_row_41_an_sql_error_is_an_answer(breaker: CircuitBreaker) -> None:
    fail(breaker, 2)
    with pytest.raises(ServerError):
        breaker.call_sync(fail_with(SQL_ERROR))
    assert breaker.failures == 0
    for _ in range(10):
        assert breaker.try_call_sync(lambda: Err(SQL_ERROR)) == Err(SQL_ERROR)
    assert breaker.state == "CLOSED"


def test_row_41_an_sql_error_of_the_probe_closes_it(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.now += 30
    with pytest.raises(ServerError):
        breaker.call_sync(fail_with(SQL_ERROR))
    assert breaker.state == "CLOSED"


async def test_row_41_a_returned_err_counts_like_an_exception(clock: Clock) -> None:
    async def refused() -> Result[int, ServerError]:
        return Err(UNAVAILABLE)

    def refused_sync() -> Result[int, ServerError]:
        return Err(UNAVAILABLE)

    breaker = CircuitBreaker(threshold=5, clock=clock)
    assert await breaker.call(refused) == Err(UNAVAILABLE)
    assert breaker.call_sync(refused_sync) == Err(UNAVAILABLE)
    assert await breaker.try_call(refused) == Err(UNAVAILABLE)
    assert breaker.try_call_sync(refused_sync) == Err(UNAVAILABLE)
    assert breaker.failures == 4
    with breaker.attempt() as attempt:
        attempt.note(refused_sync())
    assert (breaker.state, breaker.failures) == ("OPEN", 5)


async def test_row_41_open_refuses_without_a_call(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker, 3)
    calls: list[str] = []

    def call() -> Result[int, str]:
        calls.append("called")
        return Ok(1)

    async def call_async() -> Result[int, str]:
        return call()

    clock.now += 12.5
    for refused in (breaker.call(call_async), asyncio.to_thread(breaker.call_sync, call)):
        with pytest.raises(CircuitOpen) as caught:
            await refused
        assert caught.value.retry_after == 17.5
    for result in (await breaker.try_call(call_async), breaker.try_call_sync(call)):
        error = result.unwrap_err()
        assert isinstance(error, CircuitOpen)
        assert error.retry_after == 17.5
    with pytest.raises(CircuitOpen), breaker.attempt():
        calls.append("entered")
    assert calls == []
    assert breaker.failures == 3


def test_row_41_a_probe_that_succeeds_closes_it(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.now += 29.999
    with pytest.raises(CircuitOpen):
        breaker.call_sync(answer)
    clock.now += 0.001
    assert breaker.state == "HALF_OPEN"
    assert breaker.call_sync(answer) == 42
    assert (breaker.state, breaker.failures) == ("CLOSED", 0)
    fail(breaker, 2)
    assert breaker.state == "CLOSED"


def test_row_41_a_probe_that_fails_opens_it_for_another_timeout(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker, 3)
    for _ in range(3):
        clock.now += 40
        fail(breaker, 1)
        assert breaker.state == "OPEN"
        with pytest.raises(CircuitOpen) as caught:
            breaker.call_sync(answer)
        assert caught.value.retry_after == 30


async def test_row_41_one_probe_of_a_hundred_calls(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.now += 30
    may_end = asyncio.Event()
    calls = 0

    async def probe() -> Result[int, str]:
        nonlocal calls
        calls += 1
        await may_end.wait()
        return Ok(1)

    tasks = [asyncio.create_task(breaker.try_call(probe)) for _ in range(100)]
    for _ in range(3):
        await asyncio.sleep(0)
    assert calls == 1
    refusals = [task.result().unwrap_err() for task in tasks if task.done()]
    assert len(refusals) == 99
    assert {refusal.retry_after for refusal in refusals if isinstance(refusal, CircuitOpen)} == {30.0}
    may_end.set()
    assert [result for result in await asyncio.gather(*tasks) if result.is_ok()] == [Ok(1)]
    assert breaker.state == "CLOSED"


async def test_row_41_a_cancelled_probe_leaves_its_place(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.now += 30
    stuck = asyncio.create_task(breaker.call(asyncio.Event().wait))
    await asyncio.sleep(0)
    with pytest.raises(CircuitOpen):
        await breaker.call(answer_async)
    stuck.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stuck
    assert breaker.state == "HALF_OPEN"
    assert await breaker.call(answer_async) == 42
    assert breaker.state == "CLOSED"


def test_row_41_an_interrupted_probe_leaves_its_place(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.now += 30
    with pytest.raises(KeyboardInterrupt), breaker.attempt():
        raise KeyboardInterrupt
    assert breaker.call_sync(answer) == 42


def test_row_41_a_probe_whose_coroutine_is_dropped_leaves_its_place(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.now += 30
    loop = asyncio.new_event_loop()
    try:
        coroutine = breaker.call(loop.create_future)
        coroutine.send(None)
        with pytest.raises(CircuitOpen):
            breaker.call_sync(answer)
        del coroutine
        gc.collect()
    finally:
        loop.close()
    assert breaker.call_sync(answer) == 42


async def test_row_41_a_cancelled_call_is_no_failure_and_no_success(breaker: CircuitBreaker) -> None:
    fail(breaker, 2)
    stuck = asyncio.create_task(breaker.call(asyncio.Event().wait))
    await asyncio.sleep(0)
    stuck.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stuck
    assert (breaker.state, breaker.failures) == ("CLOSED", 2)


async def test_row_41_calls_of_before_count_for_nothing_after(breaker: CircuitBreaker, clock: Clock) -> None:
    loop = asyncio.get_running_loop()
    replies: list[asyncio.Future[int]] = [loop.create_future() for _ in range(2)]

    async def old(reply: asyncio.Future[int]) -> int:
        return await reply

    late_success, late_failure = (asyncio.create_task(breaker.call(old, reply)) for reply in replies)
    await asyncio.sleep(0)
    fail(breaker, 3)
    clock.now += 10
    replies[0].set_result(1)
    await late_success
    assert breaker.state == "OPEN"
    replies[1].set_exception(UNAVAILABLE)
    with pytest.raises(ServerError):
        await late_failure
    clock.now += 20
    assert (breaker.state, breaker.failures) == ("HALF_OPEN", 3)


def test_row_41_threads_get_one_probe_and_lose_no_count(clock: Clock) -> None:
    workers = 16
    breaker = CircuitBreaker(threshold=workers * 50, clock=clock)
    ready = threading.Barrier(workers, timeout=30)

    def fail_often() -> None:
        ready.wait()
        fail(breaker, 50)

    with ThreadPoolExecutor(workers) as pool:
        for done in [pool.submit(fail_often) for _ in range(workers)]:
            done.result()
        assert (breaker.state, breaker.failures) == ("OPEN", workers * 50)

        clock.now += 30
        everyone_asked = threading.Barrier(workers, timeout=30)

        def probe() -> Result[str, str]:
            everyone_asked.wait()
            return Ok("probed")

        def ask() -> Result[str, str | CircuitOpen]:
            ready.wait()
            result = breaker.try_call_sync(probe)
            if result.is_err():
                everyone_asked.wait()
            return result

        results = [future.result() for future in [pool.submit(ask) for _ in range(workers)]]
    assert [result.is_ok() for result in results].count(True) == 1
    assert breaker.state == "CLOSED"


async def test_row_41_decorators_of_functions_that_raise(breaker: CircuitBreaker) -> None:
    @breaker.protect
    def plain(number: int) -> int:
        """Checks a number."""
        if number < 0:
            raise UNAVAILABLE
        return number

    @breaker.protect
    async def later(number: int) -> int:
        return plain(number)

    assert (plain(1), await later(2)) == (1, 2)
    assert (plain.__name__, plain.__doc__) == ("plain", "Checks a number.")
    assert inspect.iscoroutinefunction(later)
    for _ in range(2):
        with pytest.raises(ServerError):
            await later(-1)
    with pytest.raises(CircuitOpen):
        plain(1)
    with pytest.raises(CircuitOpen):
        await later(1)


async def test_row_41_decorators_of_functions_that_return_a_result(breaker: CircuitBreaker) -> None:
    class Client:
        @breaker.protect_result
        def plain(self, number: int) -> Result[int, Exception]:
            return Ok(number) if number >= 0 else Err(UNAVAILABLE)

        @breaker.protect_result
        async def later(self, number: int) -> Result[int, Exception]:
            return Ok(number) if number >= 0 else Err(UNAVAILABLE)

    client = Client()
    assert (client.plain(1), await client.later(2)) == (Ok(1), Ok(2))
    assert [client.plain(-1), await client.later(-1), await client.later(-1)] == [Err(UNAVAILABLE)] * 3
    assert isinstance(client.plain(1).unwrap_err(), CircuitOpen)
    assert isinstance((await client.later(1)).unwrap_err(), CircuitOpen)


async def test_row_41_an_attempt_may_await(breaker: CircuitBreaker) -> None:
    with breaker.attempt():
        assert await answer_async() == 42

    async def reset() -> None:
        with breaker.attempt():
            await asyncio.sleep(0)
            raise ConnectionResetError

    for _ in range(3):
        with pytest.raises(ConnectionResetError):
            await reset()
    assert breaker.state == "OPEN"


def test_row_41_an_attempt_is_for_one_block(breaker: CircuitBreaker) -> None:
    attempt = breaker.attempt()
    with attempt:
        pass
    with pytest.raises(RuntimeError, match="for one with block"):
        attempt.__enter__()


def test_row_41_what_counts_can_be_told(clock: Clock) -> None:
    breaker = CircuitBreaker(threshold=1, clock=clock, counts=lambda error: error == "slow")
    assert breaker.try_call_sync(lambda: Err("wrong")) == Err("wrong")
    with pytest.raises(ConnectionResetError):
        breaker.call_sync(fail_with(ConnectionResetError()))
    assert breaker.state == "CLOSED"
    assert breaker.try_call_sync(lambda: Err("slow")) == Err("slow")
    assert breaker.state == "OPEN"


def test_row_41_a_judge_that_raises_keeps_no_probe(clock: Clock) -> None:
    verdicts: list[bool] = [True]
    breaker = CircuitBreaker(threshold=1, clock=clock, counts=lambda _: verdicts.pop())
    breaker.try_call_sync(lambda: Err("e"))
    clock.now += 30
    with pytest.raises(IndexError):
        breaker.try_call_sync(lambda: Err("e"))
    assert breaker.state == "HALF_OPEN"
    assert breaker.call_sync(answer) == 42


def test_row_41_which_errors_are_the_servers() -> None:
    network = (ConnectionRefusedError(), TimeoutError(), asyncio.TimeoutError(), OSError())
    for error in (UNAVAILABLE, CircuitOpen(1), *network):
        assert is_unavailable(error)

    class PathError(FileNotFoundError):
        is_unavailable = False

    for other in (SQL_ERROR, PathError(), ValueError(), "text", None):
        assert not is_unavailable(other)


async def test_row_41_wrong_kinds_of_functions_are_named(breaker: CircuitBreaker) -> None:
    with pytest.raises(TypeError, match="call_sync: answer_async returned <coroutine"):
        _ = breaker.call_sync(answer_async)
    with pytest.raises(TypeError, match="not a Result"):
        await breaker.try_call(answer_async)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match="not a Result"):
        breaker.try_call_sync(answer)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def test_row_41_a_refusal_says_when_to_come_back() -> None:
    refusal = CircuitOpen(12.5)
    assert "retry after 12.500 s" in str(refusal)
    twin: object = pickle.loads(pickle.dumps(refusal))  # noqa: S301
    assert isinstance(twin, CircuitOpen)
    assert twin.retry_after == 12.5


def test_row_41_the_real_clock_is_monotonic() -> None:
    breaker = CircuitBreaker(threshold=1)
    fail(breaker, 1)
    with pytest.raises(CircuitOpen) as caught:
        breaker.call_sync(answer)
    assert 0 < caught.value.retry_after <= 30
