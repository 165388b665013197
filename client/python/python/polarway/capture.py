"""Functions that raise, made into functions that return a `Result`."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Generic, ParamSpec, TypeVar, overload

from polarway._wrong_type import wrong_type
from polarway.result import Err, Ok, Result

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from typing_extensions import Never

P = ParamSpec("P")
T = TypeVar("T")
X = TypeVar("X", bound=Exception)


def as_result(*exceptions: type[X]) -> Capture[X]:
    """Decorates a function, plain or async, to return `Ok` of its value, or `Err` of an exception of these types.

    Others are raised as before. Only subclasses of `Exception` can be named: a cancelled task or Ctrl-C is never an
    `Err`.

    Raises:
        TypeError: no type is named, or one that is no subclass of `Exception`; when decorating: a generator function,
            whose exceptions come later than its return.

    >>> @as_result(ValueError)
    ... def parse(text: str) -> int:
    ...     return int(text)
    >>> parse("42"), parse("x").map_err(str)
    (Ok(42), Err("invalid literal for int() with base 10: 'x'"))
    """
    if not exceptions:
        raise TypeError("as_result: name at least one exception")
    for exception in exceptions:
        _require_exception(exception)
    return Capture(exceptions)


class Capture(Generic[X]):
    """What `as_result(...)` decorates with.

    >>> safely = as_result(KeyError, IndexError)
    >>> safely([7].__getitem__)(0), safely({}.__getitem__)(0)
    (Ok(7), Err(KeyError(0)))
    """

    def __init__(self, exceptions: tuple[type[X], ...]) -> None:
        self._exceptions = exceptions

    # A coroutine is an object too, so the two overlap; the first that fits is the one that is meant.
    @overload
    def __call__(  # type: ignore[overload-overlap]  # pyright: ignore[reportOverlappingOverload]
        self, f: Callable[P, Coroutine[object, Never, T]], /
    ) -> Callable[P, Coroutine[object, object, Result[T, X]]]: ...
    @overload
    def __call__(self, f: Callable[P, T], /) -> Callable[P, Result[T, X]]: ...
    def __call__(self, f: Callable[P, object], /) -> Callable[P, object]:
        """The function that gives a `Result`."""
        if inspect.isgeneratorfunction(f) or inspect.isasyncgenfunction(f):
            raise TypeError(f"as_result: {f.__qualname__} is a generator function, whose exceptions come later")
        return self._of_async(f) if inspect.iscoroutinefunction(f) else self._of_plain(f)

    def _of_plain(self, f: Callable[P, T]) -> Callable[P, Result[T, X]]:
        @functools.wraps(f)
        def captured(*args: P.args, **kwargs: P.kwargs) -> Result[T, X]:
            try:
                value = f(*args, **kwargs)
            except self._exceptions as error:
                return Err(error)
            if inspect.iscoroutine(value):
                # It would be an Ok whose exceptions come later, uncaught.
                raise wrong_type("as_result", f, value, "a value")
            return Ok(value)

        return captured

    def _of_async(
        self, f: Callable[P, Coroutine[object, Never, T]]
    ) -> Callable[P, Coroutine[object, object, Result[T, X]]]:
        @functools.wraps(f)
        async def captured(*args: P.args, **kwargs: P.kwargs) -> Result[T, X]:
            try:
                return Ok(await f(*args, **kwargs))
            except self._exceptions as error:
                return Err(error)

        return captured


def _require_exception(exception: object) -> None:
    if not (isinstance(exception, type) and issubclass(exception, Exception)):
        raise TypeError(f"as_result: {exception!r} is no subclass of Exception")
