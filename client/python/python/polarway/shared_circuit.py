"""A `Circuit` that tasks and threads can share: with a lock, a clock and a judge of errors."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from polarway.circuit import Circuit, CircuitState, Refused
from polarway.unavailable import CircuitOpen

if TYPE_CHECKING:
    from collections.abc import Callable


class SharedCircuit:
    """The one circuit of a `CircuitBreaker`; the methods that tell of a call take the period it was admitted in."""

    def __init__(self, circuit: Circuit, clock: Callable[[], float], counts: Callable[[object], bool]) -> None:
        self._circuit = circuit
        self._clock = clock
        self._counts = counts
        # Reentrant: garbage collection may close an abandoned coroutine, and so end its attempt, while this thread
        # is inside the critical section of another.
        self._lock = threading.RLock()

    def state(self) -> CircuitState:
        """The state now."""
        with self._lock:
            return self._circuit.state(self._clock())

    def failures(self) -> int:
        """Failures since the last success."""
        with self._lock:
            return self._circuit.failures

    def ask(self) -> int | CircuitOpen:
        """The period of a call that may be made now, or the error to give if none may."""
        with self._lock:
            answer = self._circuit.ask(self._clock())
        return CircuitOpen(answer.retry_after) if isinstance(answer, Refused) else answer.period

    def succeeded(self, period: int) -> None:
        """The call ended well."""
        with self._lock:
            self._circuit.succeeded(period)

    def abandoned(self, period: int) -> None:
        """The call was cancelled or interrupted."""
        with self._lock:
            self._circuit.abandoned(period)

    def erred(self, period: int, error: object) -> None:
        """The call ended with an error, which is a failure of the server or an answer of it."""
        try:
            failure = self._counts(error)
        except BaseException:
            self.abandoned(period)
            raise
        with self._lock:
            if failure:
                self._circuit.failed(period, self._clock())
            else:
                self._circuit.succeeded(period)
