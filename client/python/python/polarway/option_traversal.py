"""Many `Option`s as one. These have names of their own, since an empty list does not tell which of the two it is of.

Where `traversal` speaks of an error, there is here the position, from 0, of a `Nothing`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from polarway.option import Nothing, Option, Some, require_option
from polarway.result import Err, Ok, Result

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

A = TypeVar("A")
T = TypeVar("T")


def traverse_option(items: Iterable[A], f: Callable[[A], Option[T]]) -> Option[list[T]]:
    """Calls `f` with each item: `Some` of all values in order, or `Nothing` at the first `Nothing`.

    Raises:
        TypeError: `f` returned something else than an `Option`.

    >>> ages = {"ann": 31, "bob": 27}
    >>> traverse_option(["ann", "bob"], lambda name: Option.of(ages.get(name)))
    Some([31, 27])
    >>> traverse_option(["ann", "eve"], lambda name: Option.of(ages.get(name)))
    Nothing()
    """
    # A generator and not map(), which would take a StopIteration from f for the end of the items.
    return _all_or_nothing((f(item) for item in items), "traverse_option", f)


def sequence_option(options: Iterable[Option[T]]) -> Option[list[T]]:
    """`Some` of all values in order, or `Nothing` at the first `Nothing`.

    Raises:
        TypeError: an item is no `Option`.

    >>> sequence_option([Some(1), Some(2)]), sequence_option([Some(1), Nothing()])
    (Some([1, 2]), Nothing())
    """
    return _all_or_nothing(options, "sequence_option")


def partition_option(options: Iterable[Option[T]]) -> tuple[list[T], list[int]]:
    """The values in order, and the positions where there is none.

    Raises:
        TypeError: an item is no `Option`.

    >>> partition_option([Some("a"), Nothing(), Some("c")])
    (['a', 'c'], [1])
    """
    return _split(options, "partition_option")


def collect_option(options: Iterable[Option[T]]) -> Result[list[T], list[int]]:
    """An `Ok` of all values in order, or an `Err` of all positions where there is none.

    Raises:
        TypeError: an item is no `Option`.

    >>> collect_option([Some(1), Some(2)]), collect_option([Some(1), Nothing(), Nothing()])
    (Ok([1, 2]), Err([1, 2]))
    """
    values, missing = _split(options, "collect_option")
    return Err(missing) if missing else Ok(values)


def _all_or_nothing(options: Iterable[Option[T]], method: str, f: object | None = None) -> Option[list[T]]:
    values: list[T] = []
    for option in options:
        require_option(option, method, f)
        match option.variant:
            case Some(value):
                values.append(value)
            case Nothing() as nothing:
                return nothing
    return Some(values)


def _split(options: Iterable[Option[T]], method: str) -> tuple[list[T], list[int]]:
    values: list[T] = []
    missing: list[int] = []
    for position, option in enumerate(options):
        require_option(option, method)
        match option.variant:
            case Some(value):
                values.append(value)
            case Nothing():
                missing.append(position)
    return values, missing
