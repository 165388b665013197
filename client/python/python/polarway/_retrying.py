"""Whether a call that failed is made again, and after how long. Decisions only; they wait for nothing.

1. An error that is not retryable, and what is not repeatable, end the call.
2. So do as many attempts as the policy has, and a server that asks for a longer pause than its cap.
3. Then the budget of the client is asked, last, so that it pays only for what is really made again.
4. The pause is what the backoff draws, or what the server asks for if that is more.
"""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING

from polarway._budget import Budget
from polarway._delays import Delays

if TYPE_CHECKING:
    from collections.abc import Callable

    from polarway.error import Error
    from polarway.retry import Retry


class Retrying:
    """What the calls of one client have in common: policy and budget. Safe for any number of threads."""

    def __init__(
        self, policy: Retry, clock: Callable[[], float] = time.monotonic, draw: Callable[[], float] = random.random
    ) -> None:
        self.policy = policy
        self._clock = clock
        self._draw = draw
        self._budget = Budget(policy.budget, policy.reserve, clock())
        self._lock = threading.Lock()

    def begin(self) -> Attempts:
        """A call is made for the first time."""
        with self._lock:
            self._budget.called(self._clock())
        return Attempts(self, Delays(self.policy.backoff, self._draw))

    def spend(self) -> bool:
        """Whether there may be one more retry."""
        with self._lock:
            return self._budget.spend(self._clock())


class Attempts:
    """Those of one call."""

    def __init__(self, retrying: Retrying, delays: Delays) -> None:
        self._retrying = retrying
        self._delays = delays
        self._made = 1

    def after(self, error: Error, repeatable: Callable[[], bool]) -> float | None:
        """Seconds until the call is made again after this error; None if it is not."""
        policy = self._retrying.policy
        if not error.is_retryable or self._made >= policy.attempts or not repeatable():
            return None
        asked = error.retry_after or 0.0
        if asked > policy.cap or not self._retrying.spend():
            return None
        self._made += 1
        return max(asked, self._delays.next())
