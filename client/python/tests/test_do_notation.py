from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import given

from polarway import (
    Do,
    DoAsync,
    DoAsyncOption,
    DoOption,
    Err,
    Nothing,
    Ok,
    Option,
    Result,
    Some,
    bind,
    bind_async,
    do,
    do_async,
)
from strategies import option_functions, options, result_functions, results

if TYPE_CHECKING:
    from collections.abc import Callable, Generator


@given(results, result_functions)
def test_row_31_do_is_and_then(result: Result[object, object], f: Callable[[object], Result[object, object]]) -> None:
    @do
    def steps() -> Do[object, object]:
        one = yield from bind(result)
        two = yield from bind(f(one))
        return Ok((one, two))

    assert steps() == result.and_then(lambda one: f(one).map(lambda two: (one, two)))


@given(options, option_functions)
def test_row_31_do_is_and_then_for_options(option: Option[object], f: Callable[[object], Option[object]]) -> None:
    @do
    def steps() -> DoOption[object]:
        one = yield from bind(option)
        two = yield from bind(f(one))
        return Some((one, two))

    assert steps() == option.and_then(lambda one: f(one).map(lambda two: (one, two)))


@given(results, result_functions)
def test_row_31_do_async_is_and_then(
    result: Result[object, object], f: Callable[[object], Result[object, object]]
) -> None:
    async def later(outcome: Result[object, object]) -> Result[object, object]:
        await asyncio.sleep(0)
        return outcome

    @do_async
    def steps() -> DoAsync[object, object]:
        one = yield from bind_async(later(result))
        two = yield from bind(f(one))
        return Ok((one, two))

    assert asyncio.run(steps()) == result.and_then(lambda one: f(one).map(lambda two: (one, two)))


async def test_row_31_do_async_for_options() -> None:
    async def find(number: int) -> Option[int]:
        return Option.of(number or None)

    @do_async
    def both(a: int, b: int) -> DoAsyncOption[int]:
        x = yield from bind_async(find(a))
        y = yield from bind_async(find(b))
        return Some(x + y)

    assert await both(1, 2) == Some(3)
    assert await both(1, 0) is Nothing()


def test_row_31_do_ends_at_the_first_error_and_cleans_up() -> None:
    log: list[str] = []

    @contextmanager
    def resource() -> Generator[None]:
        log.append("open")
        try:
            yield
        finally:
            log.append("close")

    @do
    def steps() -> Do[int, str]:
        with resource():
            value = yield from bind(failing())
            log.append("unreached")
            return Ok(value)

    def failing() -> Result[int, str]:
        return Err("e")

    assert steps() == Err("e")
    assert log == ["open", "close"]


async def test_row_31_do_does_not_let_a_function_go_on_after_its_end() -> None:
    def failing() -> Result[int, str]:
        return Err("e")

    @do
    def steps() -> Do[int, str]:
        try:
            return Ok((yield from bind(failing())))
        finally:
            yield from bind(failing())

    @do_async
    def steps_async() -> DoAsync[int, str]:
        try:
            return Ok((yield from bind(failing())))
        finally:
            yield from bind(failing())

    with pytest.raises(RuntimeError, match="ignored GeneratorExit"):
        steps()
    with pytest.raises(RuntimeError, match="ignored GeneratorExit"):
        await steps_async()


def test_row_31_do_may_end_with_any_result() -> None:
    @do
    def steps(result: Result[int, str]) -> Do[int, str]:
        value = yield from bind(result)
        return Err("odd") if value % 2 else Ok(value)

    assert steps(Ok(2)) == Ok(2)
    assert steps(Ok(1)) == Err("odd")
    assert steps.__name__ == "steps"


def test_row_31_do_needs_a_generator_function_and_a_result() -> None:
    def plain() -> Result[int, str]:
        return Ok(1)

    @do  # type: ignore[type-var]  # pyright: ignore[reportArgumentType]
    def returns_a_number() -> Generator[Result[int, str], None, int]:
        return (yield from bind(Ok(1)))

    with pytest.raises(TypeError, match="is no generator function"):
        do(plain)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match="is no generator function"):
        do_async(plain)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match=r"returned 1 \(int\), not a Result or an Option"):
        returns_a_number()


def test_row_31_bind_needs_a_container_and_a_decorator() -> None:
    wrong = cast("Callable[[int], Generator[object, None, object]]", bind)
    with pytest.raises(TypeError, match=r"bind: got 3 \(int\), not a Result or an Option"):
        wrong(3).send(None)
    undecorated = bind(Err("e"))
    assert next(undecorated) == Err("e")
    with pytest.raises(RuntimeError, match="needs @do"):
        next(undecorated)


async def test_row_31_do_async_raises_inside_what_its_awaitable_raises() -> None:
    async def broken() -> Result[int, str]:
        await asyncio.sleep(0)
        raise LookupError("page")

    @do_async
    def steps() -> DoAsync[int, str]:
        try:
            value = yield from bind_async(broken())
        except LookupError as error:
            return Err(str(error))
        return Ok(value)

    @do_async
    def unguarded() -> DoAsync[int, str]:
        value = yield from bind_async(broken())
        return Ok(value)

    assert await steps() == Err("page")
    with pytest.raises(LookupError, match="page"):
        await unguarded()


async def test_row_31_do_async_is_cancelled_inside() -> None:
    log: list[str] = []

    async def stuck() -> Result[int, str]:
        try:
            await asyncio.Event().wait()
        finally:
            log.append("awaitable")
        return Ok(1)

    @do_async
    def steps() -> DoAsync[int, str]:
        try:
            value = yield from bind_async(stuck())
        finally:
            log.append("steps")
        return Ok(value)

    task = asyncio.create_task(steps())
    for _ in range(3):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert log == ["awaitable", "steps"]
