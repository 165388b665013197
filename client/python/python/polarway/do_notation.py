"""Do-notation: steps that may fail, written one below the other, as with `?` in Rust.

    @do
    def total(a: str, b: str) -> Do[int, ParseError]:
        x = yield from bind(parse(a))
        y = yield from bind(parse(b))
        return Ok(x + y)

`bind` gives the value of a `Result`, or ends the function with its `Err`. `total("1", "2")` is a
`Result[int, ParseError]`. The same works for `Option` (`DoOption`), and with `do_async` and `bind_async` for what has
to be awaited (`DoAsync`, `DoAsyncOption`).

Each `yield from` has the type of its own value, and an error that the declared type does not allow is reported by type
checkers; neither holds for the forms that are built on a generator expression or on `await`.

A function that ends early is closed like any generator: its `finally` and `with` blocks run.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ParamSpec, TypeAlias, TypeVar, overload

from polarway._wrong_type import wrong_type
from polarway.option import Nothing, Option, Some
from polarway.result import Err, Ok, Result

if TYPE_CHECKING:
    from collections.abc import Coroutine

P = ParamSpec("P")
T = TypeVar("T")
E = TypeVar("E")
C = TypeVar("C", bound="Result[object, object] | Option[object]")


@dataclass(frozen=True)
class Pending:
    """What a `do_async` function yields while it waits; made by `bind_async`."""

    settle: Callable[[], Awaitable[None]]


Do: TypeAlias = Generator[Result[T, E], None, Result[T, E]]
"""The declared return type of a `do` function that makes a `Result[T, E]`."""

DoOption: TypeAlias = Generator[Option[T], None, Option[T]]
"""The declared return type of a `do` function that makes an `Option[T]`."""

DoAsync: TypeAlias = Generator[Result[T, E] | Pending, None, Result[T, E]]
"""The declared return type of a `do_async` function that makes a `Result[T, E]`."""

DoAsyncOption: TypeAlias = Generator[Option[T] | Pending, None, Option[T]]
"""The declared return type of a `do_async` function that makes an `Option[T]`."""


def do(f: Callable[P, Generator[C, None, C]]) -> Callable[P, C]:
    """Decorates a generator function of `bind` steps to return the `Result` or `Option` it ends with.

    Raises:
        TypeError: when decorating: `f` is no generator function; when called: it returned something else than a
            `Result` or an `Option`.

    >>> def parse(text: str) -> Result[int, str]:
    ...     return Ok(int(text)) if text.isdigit() else Err(f"no number: {text}")
    >>> @do
    ... def total(a: str, b: str) -> Do[int, str]:
    ...     x = yield from bind(parse(a))
    ...     y = yield from bind(parse(b))
    ...     return Ok(x + y)
    >>> total("1", "2"), total("1", "b")
    (Ok(3), Err('no number: b'))
    """
    _require_generator_function("do", f)

    @functools.wraps(f)
    def run(*args: P.args, **kwargs: P.kwargs) -> C:
        steps = f(*args, **kwargs)
        outcome: C
        try:
            outcome = next(steps)
            steps.close()
        except StopIteration as end:
            outcome = end.value
        _require_container("do", f, outcome)
        return outcome

    return run


def do_async(f: Callable[P, Generator[C | Pending, None, C]]) -> Callable[P, Coroutine[object, object, C]]:
    """Like `do`, for functions that wait with `bind_async`; what it returns is an async function.

    An exception of an awaitable, and the cancellation of the caller, is raised inside `f` at its `bind_async`.

    Raises:
        TypeError: as for `do`.

    >>> async def fetch(page: str) -> Result[str, str]:
    ...     return Ok("42") if page == "answer" else Err(f"no page {page}")
    >>> @do_async
    ... def answer(page: str) -> DoAsync[int, str]:
    ...     text = yield from bind_async(fetch(page))
    ...     return Ok(int(text))
    >>> import asyncio
    >>> asyncio.run(answer("answer")), asyncio.run(answer("question"))
    (Ok(42), Err('no page question'))
    """
    _require_generator_function("do_async", f)

    @functools.wraps(f)
    async def run(*args: P.args, **kwargs: P.kwargs) -> C:
        steps = f(*args, **kwargs)
        outcome: C
        try:
            step = next(steps)
            while isinstance(step, Pending):
                try:
                    await step.settle()
                except BaseException as error:  # noqa: BLE001 - it goes where it would go in an async function
                    step = steps.throw(error)
                else:
                    step = next(steps)
            steps.close()
            outcome = step
        except StopIteration as end:
            outcome = end.value
        _require_container("do_async", f, outcome)
        return outcome

    return run


@overload
def bind(container: Result[T, E]) -> Generator[Err[E], None, T]: ...
@overload
def bind(container: Option[T]) -> Generator[Nothing, None, T]: ...
def bind(container: Result[T, E] | Option[T]) -> Generator[Err[E] | Nothing, None, T]:
    """With `yield from`: the value, or the end of the `do` function with the `Err` or the `Nothing`.

    Raises:
        TypeError: `container` is neither a `Result` nor an `Option`.
        RuntimeError: the function went on after its end, because it is not decorated.

    >>> @do
    ... def first(items: list[int]) -> DoOption[int]:
    ...     item = yield from bind(Option.of(next(iter(items), None)))
    ...     return Some(item)
    >>> first([7]), first([])
    (Some(7), Nothing())
    """
    _require_container("bind", None, container)
    match container.variant:
        case Ok(value) | Some(value):
            return value
        case Err() | Nothing() as failed:
            yield failed
            raise RuntimeError("bind: the function around it needs @do or @do_async")


@overload
def bind_async(awaitable: Awaitable[Result[T, E]]) -> Generator[Err[E] | Pending, None, T]: ...
@overload
def bind_async(awaitable: Awaitable[Option[T]]) -> Generator[Nothing | Pending, None, T]: ...
def bind_async(
    awaitable: Awaitable[Result[T, E]] | Awaitable[Option[T]],
) -> Generator[Err[E] | Nothing | Pending, None, T]:
    """With `yield from` in a `do_async` function: awaits, then does what `bind` does.

    Raises:
        TypeError: what was awaited is neither a `Result` nor an `Option`.

    >>> async def found() -> Option[int]:
    ...     return Some(42)
    >>> @do_async
    ... def twice() -> DoAsyncOption[int]:
    ...     number = yield from bind_async(found())
    ...     return Some(2 * number)
    >>> import asyncio
    >>> asyncio.run(twice())
    Some(84)
    """
    settled: list[Result[T, E] | Option[T]] = []

    async def settle() -> None:
        settled.append(await awaitable)

    yield Pending(settle)
    [container] = settled
    return (yield from bind(container))


def _require_generator_function(decorator: str, f: object) -> None:
    if not inspect.isgeneratorfunction(f):
        raise TypeError(f"{decorator}: {f!r} is no generator function: its steps are `x = yield from bind(...)`")


def _require_container(method: str, f: object | None, value: object) -> None:
    if not isinstance(value, Result | Option):
        raise wrong_type(method, f, value, "a Result or an Option")
