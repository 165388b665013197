"""Many `Result`s as one: `traverse`, `sequence`, `collect`, `partition`.

`traverse` and `sequence` stop at the first error and take nothing more from their input. `collect` and `partition` go
through all of it and keep every error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from polarway.result import Err, Ok, Result, require_result

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

A = TypeVar("A")
T = TypeVar("T")
E = TypeVar("E")


def traverse(items: Iterable[A], f: Callable[[A], Result[T, E]]) -> Result[list[T], E]:
    """Calls `f` with each item: an `Ok` of all values in order, or the first `Err`, after which nothing is called.

    Raises:
        TypeError: `f` returned something else than a `Result`.

    >>> def parse(text: str) -> Result[int, str]:
    ...     return Ok(int(text)) if text.isdigit() else Err(f"no number: {text}")
    >>> traverse(["1", "2"], parse), traverse(["1", "b", "c"], parse)
    (Ok([1, 2]), Err('no number: b'))
    """
    # A generator and not map(), which would take a StopIteration from f for the end of the items.
    return _first_error_or_all((f(item) for item in items), "traverse", f)


def sequence(results: Iterable[Result[T, E]]) -> Result[list[T], E]:
    """An `Ok` of all values in order, or the first `Err`.

    Raises:
        TypeError: an item is no `Result`.

    >>> sequence([Ok(1), Ok(2)]), sequence([Ok(1), Err("a"), Err("b")])
    (Ok([1, 2]), Err('a'))
    """
    return _first_error_or_all(results, "sequence")


def partition(results: Iterable[Result[T, E]]) -> tuple[list[T], list[E]]:
    """The values and the errors, each in order.

    Raises:
        TypeError: an item is no `Result`.

    >>> partition([Ok(1), Err("a"), Ok(2), Err("b")])
    ([1, 2], ['a', 'b'])
    """
    return _split(results, "partition")


def collect(results: Iterable[Result[T, E]]) -> Result[list[T], list[E]]:
    """An `Ok` of all values in order, or an `Err` of all errors in order.

    Raises:
        TypeError: an item is no `Result`.

    >>> collect([Ok(1), Ok(2)]), collect([Ok(1), Err("a"), Err("b")])
    (Ok([1, 2]), Err(['a', 'b']))
    """
    values, errors = _split(results, "collect")
    return Err(errors) if errors else Ok(values)


def _first_error_or_all(results: Iterable[Result[T, E]], method: str, f: object | None = None) -> Result[list[T], E]:
    values: list[T] = []
    for result in results:
        require_result(result, method, f)
        match result.variant:
            case Ok(value):
                values.append(value)
            case Err() as failed:
                return failed
    return Ok(values)


def _split(results: Iterable[Result[T, E]], method: str) -> tuple[list[T], list[E]]:
    values: list[T] = []
    errors: list[E] = []
    for result in results:
        require_result(result, method)
        match result.variant:
            case Ok(value):
                values.append(value)
            case Err(error):
                errors.append(error)
    return values, errors
