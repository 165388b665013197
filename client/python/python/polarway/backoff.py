"""`Backoff`: how long to wait before the next attempt. Data and arithmetic; it draws nothing and waits for nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

# The least part of its ceiling that a delay has.
_LEAST = {"full": 0.0, "half": 0.5, "none": 1.0}


@dataclass(frozen=True)
class Backoff:
    """Delays that grow with each failure in a row.

    With full jitter a delay is anything between nothing and its ceiling, so that clients that lost the same server at
    the same time do not all come back at the same time. With half jitter it is in the upper half of that, so that there
    is a pause in any case.

    Attributes:
        first: Ceiling in seconds after the first failure; more than 0.
        factor: By how much each further failure multiplies it; 1 or more.
        cap: The highest ceiling in seconds; `first` or more.
        jitter: `full`, `half`, or `none` for delays that are always their ceiling.

    Raises:
        ValueError: a number is out of its range.

    >>> [Backoff().ceiling(failures) for failures in (1, 2, 3, 8, 1_000_000)]
    [0.25, 0.5, 1.0, 30.0, 30.0]
    >>> Backoff().delay(2, 0.5), Backoff(jitter="half").delay(2, 0.5), Backoff(jitter="none").delay(2, 0.5)
    (0.25, 0.375, 0.5)
    """

    first: float = 0.25
    factor: float = 2.0
    cap: float = 30.0
    jitter: Literal["full", "half", "none"] = "full"

    def __post_init__(self) -> None:
        # Written so that NaN is refused too.
        if not 0 < self.first < math.inf:
            raise ValueError(f"first must be more than 0 seconds, not {self.first}")
        if not 1 <= self.factor < math.inf:
            raise ValueError(f"factor must be 1 or more, not {self.factor}")
        if not self.first <= self.cap < math.inf:
            raise ValueError(f"cap must be at least first ({self.first} seconds), not {self.cap}")
        if self.jitter not in _LEAST:
            raise ValueError(f"jitter must be 'full', 'half' or 'none', not {self.jitter!r}")

    def ceiling(self, failures: int) -> float:
        """The longest delay in seconds after so many failures in a row (1 or more)."""
        try:
            return min(self.cap, self.first * self.factor ** (failures - 1))
        except OverflowError:
            return self.cap

    def delay(self, failures: int, draw: float) -> float:
        """The delay in seconds after so many failures in a row, with `draw` from 0 to 1 as the luck of it."""
        least = _LEAST[self.jitter]
        return self.ceiling(failures) * (least + (1.0 - least) * draw)
