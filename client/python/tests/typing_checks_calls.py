"""What type checkers have to see of functions over results; like typing_checks.py, only read."""

from __future__ import annotations

from collections.abc import Coroutine, Generator

from typing_extensions import Never, assert_type

from polarway import (
    CircuitBreaker,
    CircuitOpen,
    Do,
    DoAsync,
    DoAsyncOption,
    DoOption,
    Err,
    Ok,
    Option,
    Result,
    Some,
    as_result,
    bind,
    bind_async,
    collect,
    collect_option,
    do,
    do_async,
    partition,
    partition_option,
    sequence,
    sequence_async,
    sequence_option,
    traverse,
    traverse_async,
    traverse_option,
)


def parse(text: str) -> Result[int, ValueError]:
    return Ok(int(text))


async def fetch(page: str) -> Result[bytes, OSError]:
    return Ok(page.encode())


async def find(key: str) -> Option[int]:
    return Some(len(key))


def many(results: list[Result[int, str]], options: list[Option[int]]) -> None:
    assert_type(sequence(results), Result[list[int], str])
    assert_type(collect(results), Result[list[int], list[str]])
    assert_type(partition(results), tuple[list[int], list[str]])
    assert_type(traverse(["1"], parse), Result[list[int], ValueError])
    assert_type(sequence_option(options), Option[list[int]])
    assert_type(collect_option(options), Result[list[int], list[int]])
    assert_type(partition_option(options), tuple[list[int], list[int]])
    assert_type(traverse_option(["1"], lambda text: Option.some(len(text))), Option[list[int]])


async def many_async() -> None:
    assert_type(await traverse_async(["a"], fetch, limit=3), Result[list[bytes], OSError])
    assert_type(await sequence_async([fetch("a"), fetch("b")]), Result[list[bytes], OSError])


@do
def total(a: str, b: bytes) -> Do[float, ValueError | KeyError]:
    x = yield from bind(parse(a))
    assert_type(x, int)
    y = yield from bind(Result.ok(float(b)))
    assert_type(y, float)
    return Ok(x + y)


@do
def longest(words: list[str]) -> DoOption[int]:
    word = yield from bind(Option.of(max(words, key=len, default=None)))
    assert_type(word, str)
    return Some(len(word))


@do_async
def page_number(page: str) -> DoAsync[int, OSError | ValueError]:
    text = yield from bind_async(fetch(page))
    assert_type(text, bytes)
    number = yield from bind(parse(text.decode()))
    assert_type(number, int)
    return Ok(number)


@do_async
def found(key: str) -> DoAsyncOption[str]:
    number = yield from bind_async(find(key))
    assert_type(number, int)
    return Some(str(number))


@do
def an_error_that_is_not_declared(text: str) -> Do[int, KeyError]:
    number = yield from bind(parse(text))  # type: ignore[misc]  # pyright: ignore[reportReturnType]
    return Ok(number)


def bound(result: Result[int, str], option: Option[int]) -> None:
    assert_type(bind(result), Generator[Err[str], None, int])
    bind(option)


async def decorated() -> None:
    assert_type(total("1", b"2"), Result[float, ValueError | KeyError])
    assert_type(longest(["a"]), Option[int])
    assert_type(await page_number("a"), Result[int, OSError | ValueError])
    assert_type(await found("a"), Option[str])
    total(1, b"")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


@as_result(ValueError)
def read(text: str, *, base: int = 10) -> int:
    return int(text, base)


@as_result(OSError)
async def download(page: str) -> bytes:
    return page.encode()


async def captured() -> None:
    assert_type(read("1", base=2), Result[int, ValueError])
    assert_type(await download("a"), Result[bytes, OSError])
    pending: Coroutine[object, object, Result[bytes, OSError]] = download("a")
    assert_type(await pending, Result[bytes, OSError])
    read(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def guarded(breaker: CircuitBreaker) -> None:
    assert_type(breaker.call_sync(len, "a"), int)
    assert_type(await breaker.call(fetch, "a"), Result[bytes, OSError])
    assert_type(breaker.try_call_sync(parse, "1"), Result[int, ValueError | CircuitOpen])
    assert_type(await breaker.try_call(fetch, "a"), Result[bytes, OSError | CircuitOpen])
    assert_type(breaker.protect_result(parse)("1"), Result[int, ValueError | CircuitOpen])
    assert_type(await breaker.protect_result(fetch)("a"), Result[bytes, OSError | CircuitOpen])
    assert_type(breaker.protect(parse)("1"), Result[int, ValueError])
    assert_type(await breaker.protect(fetch)("a"), Result[bytes, OSError])
    with breaker.attempt() as attempt:
        assert_type(attempt.note(parse("1")), Result[int, ValueError])
    breaker.call_sync(parse, 1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    breaker.try_call_sync(len, "a")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def empty_lists() -> None:
    nothing: list[Result[Never, Never]] = []
    assert_type(sequence(nothing), Result[list[Never], Never])
