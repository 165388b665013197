"""How long to wait before something is tried again."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Delays:
    """Steps that double up to a limit; each delay lies in the upper half of its step, so that many do not come at once.

    >>> delays = Delays(0.1, 0.3, uniform=lambda low, high: high)
    >>> [delays.next() for _ in range(4)]
    [0.1, 0.2, 0.3, 0.3]
    """

    def __init__(
        self, shortest: float, longest: float, uniform: Callable[[float, float], float] = random.uniform
    ) -> None:
        self._shortest = shortest
        self._longest = longest
        self._uniform = uniform
        self._step = shortest

    def next(self) -> float:
        """Seconds to wait now."""
        step = self._step
        self._step = min(self._longest, step * 2)
        return self._uniform(step / 2, step)

    def reset(self) -> None:
        """Begins anew: it went well."""
        self._step = self._shortest
