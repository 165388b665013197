"""Iterating over what comes one by one until there is no more."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, TypeVar

from polarway.result import Err, Ok, Result

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from contextlib import AbstractContextManager

T = TypeVar("T")
E = TypeVar("E")


async def items(
    following: Callable[[], Awaitable[Result[T | None, E]]], during: AbstractContextManager[object] | None = None
) -> AsyncIterator[Result[T, E]]:
    """What `following` gives, until it gives None. An error is the last item. `during` is entered meanwhile."""
    with during or nullcontext():
        while True:
            result = (await following()).variant
            if isinstance(result, Err):
                yield result
                return
            if result.ok_value is None:
                return
            yield Ok(result.ok_value)
