from __future__ import annotations

import asyncio
import functools
import inspect
from typing import TYPE_CHECKING

import pytest

from polarway import Err, Ok, Result, as_result

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


@as_result(ValueError, KeyError)
def parse(text: str, *, base: int = 10) -> int:
    """Reads a number."""
    if text == "ctrl-c":
        raise KeyboardInterrupt
    return int(text, base)


@as_result(Exception)
async def fetch(page: str) -> int:
    await asyncio.sleep(0)
    if page == "stuck":
        await asyncio.Event().wait()
    return len(page) or int(page)


def test_row_31_as_result_of_a_plain_function() -> None:
    assert parse("ff", base=16) == Ok(255)
    assert isinstance(parse("x").unwrap_err(), ValueError)
    assert (parse.__name__, parse.__doc__) == ("parse", "Reads a number.")


async def test_row_31_as_result_of_an_async_function() -> None:
    assert inspect.iscoroutinefunction(fetch)
    assert await fetch("page") == Ok(4)
    assert isinstance((await fetch("")).unwrap_err(), ValueError)


def test_row_31_as_result_passes_what_is_not_named() -> None:
    with pytest.raises(TypeError):
        parse(3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    with pytest.raises(KeyboardInterrupt):
        parse("ctrl-c")


async def test_row_31_as_result_never_takes_a_cancellation() -> None:
    task = asyncio.create_task(fetch("stuck"))
    for _ in range(3):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("wrong", [BaseException, KeyboardInterrupt, asyncio.CancelledError, int, "ValueError", None])
def test_row_31_as_result_takes_only_exceptions(wrong: object) -> None:
    with pytest.raises(TypeError, match="is no subclass of Exception"):
        as_result(ValueError, wrong)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def test_row_31_as_result_needs_a_type() -> None:
    with pytest.raises(TypeError, match="name at least one exception"):
        as_result()


def test_row_31_as_result_keeps_the_traceback() -> None:
    error = parse("x").unwrap_err()
    assert error.__traceback__ is not None


def test_row_31_as_result_of_a_method() -> None:
    class Reader:
        def __init__(self, text: str) -> None:
            self.text = text

        @as_result(ValueError)
        def read(self) -> int:
            return int(self.text)

    assert Reader("7").read() == Ok(7)


async def test_row_31_as_result_of_a_partial_async_function() -> None:
    async def times(one: int, two: int) -> int:
        return one * two

    assert await as_result(ValueError)(functools.partial(times, 2))(3) == Ok(6)


def test_row_31_as_result_refuses_what_fails_after_its_return() -> None:
    def numbers() -> Iterator[int]:
        yield 1

    async def numbers_async() -> AsyncIterator[int]:
        yield 1

    async def later() -> int:
        return 1

    for generator in (numbers, numbers_async):
        with pytest.raises(TypeError, match="is a generator function"):
            as_result(ValueError)(generator)
    with pytest.raises(TypeError, match=r"as_result: .* returned <coroutine .*await it first"):
        _ = as_result(ValueError)(lambda: later())()  # noqa: PLW0108 - the lambda is not marked as async


def test_row_31_as_result_composes() -> None:
    def reciprocal(number: int) -> Result[float, Exception]:
        return as_result(ZeroDivisionError)(lambda: 1 / number)()

    assert parse("4").and_then(reciprocal) == Ok(0.25)
    assert isinstance(parse("0").and_then(reciprocal), Err)
