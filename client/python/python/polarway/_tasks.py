"""How tasks that nobody wants any more are ended."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable

T = TypeVar("T")


async def cancel_and_join(futures: Iterable[asyncio.Future[T]]) -> None:
    """Cancels the futures and returns once all have ended, whatever they end with.

    A caller that is cancelled meanwhile cancels them once more, still waits, and gets its `CancelledError` at the end.
    What they raise is not retrieved: asyncio reports it, as it does for every error that nobody asked for.
    """
    interrupted: asyncio.CancelledError | None = None
    pending = [future for future in futures if not future.done()]
    while pending:
        for future in pending:
            future.cancel()
        try:
            await asyncio.wait(pending)
        except asyncio.CancelledError as error:
            interrupted = error
        pending = [future for future in pending if not future.done()]
    if interrupted is not None:
        raise interrupted


async def join(future: asyncio.Future[T]) -> None:
    """Returns once the future has ended, whatever it ends with, and cancels nothing.

    A caller that is cancelled meanwhile still waits, and gets its `CancelledError` at the end.
    """
    interrupted: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError as error:
            interrupted = error
    if interrupted is not None:
        raise interrupted
