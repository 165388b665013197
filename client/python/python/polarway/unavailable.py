"""Which errors mean that the server did not answer, and the one of a call that was therefore not made."""

from __future__ import annotations

import asyncio


class CircuitOpen(Exception):  # noqa: N818 - a state, as people know it from other breakers
    """A call was refused, because the calls before it failed.

    Attributes:
        retry_after: Seconds after which another call may be admitted. While a probe is under way it is the whole
            timeout: the soonest that another follows if this one fails.
        is_unavailable: True, as for the failures behind it.

    >>> print(CircuitOpen(12.5))
    the circuit is open after repeated failures; retry after 12.500 s
    """

    is_unavailable: bool = True

    def __init__(self, retry_after: float) -> None:
        super().__init__(retry_after)
        self.retry_after = retry_after

    def __str__(self) -> str:
        return f"the circuit is open after repeated failures; retry after {self.retry_after:.3f} s"


def is_unavailable(error: object) -> bool:
    """Whether an error means that the server did not answer; what a `CircuitBreaker` counts unless told otherwise.

    An error that has an attribute `is_unavailable` of type bool is believed. Of the others, those of the network and
    of the operating system count: `OSError` with its `ConnectionError` and `TimeoutError`.

    >>> is_unavailable(ConnectionResetError()), is_unavailable(ValueError("no such column"))
    (True, False)
    """
    said = getattr(error, "is_unavailable", None)
    if isinstance(said, bool):
        return said
    # Python 3.10 has a TimeoutError for asyncio that is no OSError.
    return isinstance(error, OSError | asyncio.TimeoutError)
