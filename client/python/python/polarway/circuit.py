"""The decisions of a circuit breaker, apart from clocks, locks and calls.

1. CLOSED: every call is admitted; failures in a row are counted, a success sets the count to 0.
2. At `threshold` failures in a row it is OPEN: for `timeout` seconds no call is admitted.
3. After that it is HALF_OPEN: one call is admitted, the probe, and no other until the probe has ended. Its success
   closes the circuit, its failure opens it for another `timeout`; a probe that ended without a verdict (it was
   cancelled) leaves room for the next.

Each admission carries the number of the period it was made in. A period ends where the circuit opens or closes and
where a probe is abandoned, and what is reported for an ended period counts for nothing: a call that was admitted before
the circuit opened and ends long after neither closes it nor keeps it open.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class CircuitState(str, Enum):
    """Whether a breaker admits calls; equal to its own name as a string.

    Attributes:
        CLOSED: Every call is admitted.
        OPEN: No call is admitted.
        HALF_OPEN: One call is admitted, to see how it ends.

    >>> CircuitState.OPEN == "OPEN", str(CircuitState.OPEN)
    (True, 'OPEN')
    """

    CLOSED = "CLOSED"
    OPEN = "OPEN"
    HALF_OPEN = "HALF_OPEN"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Admitted:
    """A call may be made; its end is reported with `period`."""

    period: int


@dataclass(frozen=True)
class Refused:
    """No call may be made; asking again makes sense after so many seconds."""

    retry_after: float


class Circuit:
    """The state of one breaker. All times are seconds of one clock, which must not go backwards."""

    def __init__(self, threshold: int, timeout: float) -> None:
        if threshold < 1:
            raise ValueError(f"threshold must be 1 or more, not {threshold}")
        if not timeout > 0:
            raise ValueError(f"timeout must be more than 0 seconds, not {timeout}")
        self._threshold = threshold
        self._timeout = timeout
        self._failures = 0
        self._opened_at: float | None = None
        self._probing = False
        self._period = 0

    @property
    def failures(self) -> int:
        """Failures since the last success."""
        return self._failures

    def state(self, now: float) -> CircuitState:
        """The state at `now`."""
        if self._opened_at is None:
            return CircuitState.CLOSED
        return CircuitState.HALF_OPEN if self._remaining(self._opened_at, now) <= 0 else CircuitState.OPEN

    def ask(self, now: float) -> Admitted | Refused:
        """Whether a call may be made at `now`."""
        if self._opened_at is None:
            return Admitted(self._period)
        remaining = self._remaining(self._opened_at, now)
        if remaining > 0:
            return Refused(remaining)
        if self._probing:
            # The soonest that another probe follows this one, should it fail.
            return Refused(self._timeout)
        self._probing = True
        return Admitted(self._period)

    def succeeded(self, period: int) -> None:
        """The server answered a call of `period`."""
        if period != self._period:
            return
        self._failures = 0
        if self._opened_at is not None:
            self._opened_at = None
            self._next_period()

    def failed(self, period: int, now: float) -> None:
        """The server did not answer a call of `period`."""
        if period != self._period:
            return
        self._failures += 1
        if self._failures >= self._threshold:
            self._opened_at = now
            self._next_period()

    def abandoned(self, period: int) -> None:
        """A call of `period` ended without telling anything of the server."""
        if period == self._period and self._probing:
            self._next_period()

    def _remaining(self, opened_at: float, now: float) -> float:
        return opened_at + self._timeout - now

    def _next_period(self) -> None:
        self._period += 1
        self._probing = False
