"""One call under a circuit breaker, from its admission to its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar, cast

from polarway.result import Err
from polarway.unavailable import CircuitOpen

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from polarway.shared_circuit import SharedCircuit

T = TypeVar("T")


class Attempt:
    """Made by `CircuitBreaker.attempt()`: asks on entry, tells on exit how the block ended. For one `with`.

    >>> from polarway import CircuitBreaker
    >>> with CircuitBreaker().attempt() as attempt:
    ...     result = attempt.note(Err(ConnectionResetError()))
    >>> result
    Err(ConnectionResetError())
    """

    def __init__(self, circuit: SharedCircuit, ask: Callable[[], int | CircuitOpen]) -> None:
        self._circuit = circuit
        self._ask = ask
        self._period: int | None = None
        self._failed: Err[object] | None = None

    def note(self, value: T) -> T:
        """Gives `value` back; if it is an `Err`, its error counts as if it had been raised."""
        outcome: object = value
        if isinstance(outcome, Err):
            self._failed = cast("Err[object]", outcome)
        return value

    def __enter__(self) -> Attempt:
        if self._period is not None:
            raise RuntimeError("an attempt is for one with block: call attempt() for each")
        answer = self._ask()
        if isinstance(answer, CircuitOpen):
            raise answer
        self._period = answer
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._period is None:
            return
        if isinstance(error, Exception):
            self._circuit.erred(self._period, error)
        elif error is not None:
            self._circuit.abandoned(self._period)
        elif self._failed is not None:
            self._circuit.erred(self._period, self._failed.err_value)
        else:
            self._circuit.succeeded(self._period)
