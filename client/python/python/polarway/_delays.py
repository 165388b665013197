"""How long to wait before something is tried again, time after time."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from polarway.backoff import Backoff


class Delays:
    """The delays of a backoff, one after the other, with luck drawn for each.

    >>> from polarway.backoff import Backoff
    >>> delays = Delays(Backoff(0.1, cap=0.3), draw=lambda: 1.0)
    >>> [delays.next() for _ in range(4)]
    [0.1, 0.2, 0.3, 0.3]
    """

    def __init__(self, backoff: Backoff, draw: Callable[[], float] = random.random) -> None:
        self._backoff = backoff
        self._draw = draw
        self._failures = 0

    def next(self) -> float:
        """Seconds to wait now, after one more failure."""
        self._failures += 1
        return self._backoff.delay(self._failures, self._draw())

    def reset(self) -> None:
        """Begins anew: it went well."""
        self._failures = 0
