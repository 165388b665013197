"""One call of a client on its way.

1. It takes a place of the client's limit, or waits for one, or is refused.
2. It asks the circuit breaker, once it has its place: what was true when it began to wait may not be true any more.
3. It is attempted, and after an error perhaps again, with pauses between. The place is its own all the time, so that
   pauses slow down who makes the calls; the breaker counts the end only, as one call.

It goes on in whichever thread brings the news: that of the caller, of the native module, of the timer, or of another
call that has left its place. So nothing here waits, and each piece of news is taken once, under the lock.
"""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from polarway.error import Error
from polarway.unavailable import CircuitOpen

if TYPE_CHECKING:
    from collections.abc import Callable

    from polarway._calls import Cancels, Start
    from polarway._limit import Limit
    from polarway._polarway import Done
    from polarway._retrying import Attempts, Retrying
    from polarway.error import Fault
    from polarway.shared_circuit import SharedCircuit

T = TypeVar("T")


class Waits(Protocol):
    """Where pauses come from."""

    def after(self, seconds: float, call: Callable[[], None], /) -> Cancels:
        """Calls it after so many seconds."""
        ...


class Way:
    """What calls go through. Parts that are None let everything pass."""

    def __init__(
        self,
        timer: Waits,
        *,
        limit: Limit | None = None,
        circuit: SharedCircuit | None = None,
        retrying: Retrying | None = None,
    ) -> None:
        self.timer = timer
        self.limit = limit
        self.circuit = circuit
        self.retrying = retrying


class Operation(Generic[T]):
    """A call; `begin` starts it, `done` is told of its end once, unless it is cancelled."""

    def __init__(
        self,
        way: Way,
        start: Start[T],
        done: Done[T],
        repeatable: Callable[[], bool],
        ended: Callable[[Operation[T]], None],
    ) -> None:
        self._way = way
        # Until it is over: the native module may keep what it was given to call, and with it this, for a while.
        self._start: Start[T] | None = start
        self._done: Done[T] | None = done
        self._repeatable = repeatable
        self._ended = ended
        self._lock = threading.RLock()
        self._over = False
        self._turn = 0
        self._current: Cancels | None = None
        self._period: int | None = None
        self._attempts: Attempts | None = None
        # The thread that is in `begin`.
        self._caller: int | None = None

    def begin(self) -> None:
        """Starts it. What the first attempt raises, such as `TypeError`, is raised."""
        self._caller = threading.get_ident()
        try:
            refusal = None
            if self._way.limit is None:
                self.granted()
            else:
                refusal = self._way.limit.enter(self)
            if refusal is not None:
                self._refused(refusal)
        finally:
            self._caller = None

    def granted(self) -> None:
        """It has its place."""
        with self._lock:
            if self._over:
                return
        if self._way.circuit is not None:
            answer = self._way.circuit.ask()
            if isinstance(answer, CircuitOpen):
                self._refused(_opened(answer))
                return
            with self._lock:
                over = self._over
                if not over:
                    self._period = answer
            if over:
                self._way.circuit.abandoned(answer)
                return
        if self._way.retrying is not None:
            self._attempts = self._way.retrying.begin()
        self._attempt()

    def cancel(self) -> None:
        """Ends it, and what it runs on the cluster, without a word."""
        if self._close() is not None:
            self._judge(None, cancelled=True)
            self._leave()

    def stop(self, error: Error) -> None:
        """Ends it, and what it runs on the cluster, with this error."""
        self._end(None, error.fault(), cancelled=True)

    def _attempt(self) -> None:
        with self._lock:
            start = self._start
            if start is None:
                return
            self._turn += 1
            turn = self._turn
        try:
            call = start(partial(self._told, turn))
        except Exception as error:
            if self._caller == threading.get_ident():
                self.cancel()
                raise
            self.stop(Error("INTERNAL", f"the call could not be made: {error!r}"))
            return
        self._hold(turn, call)

    def _told(self, turn: int, value: T | None, fault: Fault | None) -> None:
        with self._lock:
            if self._over or turn != self._turn:
                return
            self._turn += 1
            turn = self._turn
        pause = None
        if fault is not None and self._attempts is not None:
            pause = self._attempts.after(Error.of(fault), self._repeatable)
        if pause is not None:
            self._hold(turn, self._way.timer.after(pause, self._attempt))
        else:
            self._end(value, fault)

    def _hold(self, turn: int, current: Cancels) -> None:
        """Remembers what a cancellation has to cancel, if it is not over yet."""
        with self._lock:
            stale = self._over or turn != self._turn
            if not stale:
                self._current = current
        if stale:
            current.cancel()

    def _close(self) -> Done[T] | None:
        """If this is its end, whom to tell."""
        with self._lock:
            done, self._done, self._start = self._done, None, None
            current, self._current = self._current, None
            self._over = True
        if current is not None:
            current.cancel()
        return done

    def _refused(self, error: Error) -> None:
        self._end(None, error.fault())

    def _end(self, value: T | None, fault: Fault | None, *, cancelled: bool = False) -> None:
        done = self._close()
        if done is None:
            return
        try:
            self._judge(fault, cancelled=cancelled)
        finally:
            try:
                done(value, fault)
            finally:
                self._leave()

    def _judge(self, fault: Fault | None, *, cancelled: bool) -> None:
        """Tells the breaker."""
        circuit, period = self._way.circuit, self._period
        if circuit is None or period is None:
            return
        if cancelled:
            circuit.abandoned(period)
        elif fault is None:
            circuit.succeeded(period)
        else:
            circuit.erred(period, Error.of(fault))

    def _leave(self) -> None:
        try:
            if self._way.limit is not None:
                self._way.limit.leave(self)
        finally:
            self._ended(self)


def _opened(refusal: CircuitOpen) -> Error:
    return Error(
        "DRAINING",
        str(refusal),
        hint="the calls before this one failed; see whether the servers run",
        retry_after=refusal.retry_after,
        is_retryable=True,
        is_unavailable=True,
    )
