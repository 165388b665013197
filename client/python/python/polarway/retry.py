"""`Retry`: which calls a client makes again, and when. Data; `_retrying` decides by it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from polarway.backoff import Backoff


@dataclass(frozen=True)
class Retry:
    """How calls are made again that failed for the moment.

    Made again is what changes nothing (queries, handles, pings, connecting), after errors that are `is_retryable`. The
    pauses have full jitter: each is anything from nothing to its ceiling, which doubles. An error that names a delay is
    given that time at least; one that names more than `cap` is given to the caller.

    Calls that are made again burden a cluster that has enough to do, so they are bounded for all calls of a client
    together: in any time there are at most `budget` of them for each call, and `reserve` a minute beside.

    Attributes:
        attempts: How often a call is made at most, the first time included; 1 or more.
        budget: Retries for each call, such as 0.2 for one in five; 0 to 1.
        reserve: Retries a minute, and at once, that do not depend on how many calls there are; 1 or more.
        delay: Ceiling in seconds of the first pause; more than 0.
        cap: The highest ceiling in seconds; `delay` or more.

    Raises:
        ValueError: a number is out of its range.
    """

    attempts: int = 4
    budget: float = 0.2
    reserve: int = 10
    delay: float = 0.1
    cap: float = 5.0

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise ValueError(f"attempts must be 1 or more, not {self.attempts}")
        if not 0 <= self.budget <= 1:
            raise ValueError(f"budget must be from 0 to 1 retries a call, not {self.budget}")
        if self.reserve < 1:
            raise ValueError(f"reserve must be 1 or more retries a minute, not {self.reserve}")
        if not 0 < self.delay <= self.cap < math.inf:
            raise ValueError(f"delay must be more than 0 seconds, and cap no less, not {self.delay} and {self.cap}")

    @property
    def backoff(self) -> Backoff:
        """The pauses."""
        return Backoff(self.delay, cap=self.cap)
