"""Waiting for a job to end by asking how it is. Decisions only.

1. The first question is asked at once; the answer is waited for until the deadline, and 1 s at least.
2. A job that is over ends the wait; so do an error, and the deadline.
3. Otherwise the next question follows after a delay that doubles from 50 ms to 2 s, half of it by chance, so that many
   who wait do not ask at once; the last one is asked at the deadline.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from polarway._delays import Delays
from polarway.backoff import Backoff
from polarway.error import Error
from polarway.result import Err, Ok, Result

if TYPE_CHECKING:
    from collections.abc import Callable

    from polarway.job_status import JobStatus
    from polarway.option import Option

_BACKOFF = Backoff(0.05, cap=2.0, jitter="half")
# Seconds that an answer is waited for at least.
_ANSWER = 1.0
# Longer waits for one answer have no bound of their own, since queues take none that is much longer.
_BOUNDED = 1e6


@dataclass(frozen=True)
class Pause:
    """Ask again after so many seconds."""

    seconds: float


@dataclass(frozen=True)
class Ended:
    """The wait has ended with this."""

    outcome: Result[JobStatus, Error]


class Polling:
    """One wait. All times are seconds of one clock, which must not go backwards."""

    def __init__(self, id_: str, timeout: float | None, now: float, draw: Callable[[], float] = random.random) -> None:
        if timeout is not None and not timeout >= 0:
            raise ValueError(f"timeout must be 0 seconds or more, or None, not {timeout}")
        self._id = id_
        self._timeout = timeout
        self._deadline = math.inf if timeout is None else now + timeout
        self._delays = Delays(_BACKOFF, draw)
        self._last = "the servers have not told of it"

    def patience(self, now: float) -> float | None:
        """Seconds to wait for an answer; None: as long as it takes."""
        left = self._deadline - now
        return None if left > _BOUNDED else max(left, _ANSWER)

    def after(self, answer: Option[Result[JobStatus, Error]], now: float) -> Pause | Ended:
        """What to do after this answer; nothing stands for none in all the patience there was."""
        for told in answer:
            if isinstance(told, Err):
                return Ended(told)
            status = told.unwrap()
            if status.is_over:
                return Ended(Ok(status))
            self._last = f"it is {status.state}, attempt {status.attempt}"
            left = self._deadline - now
            if left > 0:
                return Pause(min(self._delays.next(), left))
        return Ended(Err(self._late()))

    def _late(self) -> Error:
        message = f"the job `{self._id}` had not ended within {self._timeout:g} s: {self._last}"
        hint = "the job goes on: wait for it again, or cancel it"
        return Error("DEADLINE_EXCEEDED", message, hint=hint, is_retryable=True)
