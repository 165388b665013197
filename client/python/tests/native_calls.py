"""Calls as the native module makes them, whose ends the test decides."""

from __future__ import annotations

from typing import TYPE_CHECKING

from polarway import Error

if TYPE_CHECKING:
    from collections.abc import Callable

    from polarway._polarway import Done
    from polarway.error import Fault

BUSY = Error("OVERLOADED", "too much to do", is_retryable=True, is_unavailable=True)
WRONG = Error("SYNTAX", "no statement")


class Call:
    """One attempt that was started."""

    def __init__(self, done: Done[str]) -> None:
        self._done = done
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True

    def succeed(self, value: str = "rows") -> None:
        if not self.is_cancelled:
            self._done(value, None)

    def fail(self, error: Error = BUSY) -> None:
        if not self.is_cancelled:
            self._done(None, error.fault())


class Calls:
    """All attempts so far, in order."""

    def __init__(self) -> None:
        self.made: list[Call] = []

    def __call__(self, done: Done[str]) -> Call:
        call = Call(done)
        self.made.append(call)
        return call


class Pause:
    def __init__(self, ends: float, call: Callable[[], None]) -> None:
        self.ends = ends
        self.call = call
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class Time:
    """A clock that goes on when it is told to, and calls what is due then."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.pauses: list[Pause] = []

    def clock(self) -> float:
        return self.now

    def after(self, seconds: float, call: Callable[[], None]) -> Pause:
        pause = Pause(self.now + seconds, call)
        self.pauses.append(pause)
        return pause

    def waiting(self) -> list[float]:
        """Seconds until each pause is over."""
        return [pause.ends - self.now for pause in self.pauses if not pause.is_cancelled]

    def go_on(self, seconds: float) -> None:
        """So much time passes."""
        until = self.now + seconds
        while due := [pause for pause in self.pauses if not pause.is_cancelled and pause.ends <= until]:
            first = min(due, key=lambda pause: pause.ends)
            self.pauses.remove(first)
            self.now = max(self.now, first.ends)
            first.call()
        self.now = until


class Told:
    """What the ends of calls told."""

    def __init__(self) -> None:
        self.outcomes: list[str] = []

    def __call__(self, value: str | None, fault: Fault | None) -> None:
        self.outcomes.append(value or "" if fault is None else fault["kind"])
