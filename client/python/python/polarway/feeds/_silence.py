"""When a connection that says nothing is probed, and when it is held for dead. Decisions only.

Silence counts only while somebody waits for a message. A reader that is slow fills the buffer, the connection is then
read no further, and the answer to a ping stands unread behind the messages: what has not been read proves nothing. So
all times here are seconds of waited silence. They stand still while nobody waits, and start from 0 with each message.

1. After `ping_interval` without a sign of life (a message or the answer to a ping) a ping is sent.
2. `ping_timeout` later, without a sign of life since, the connection is dead.
3. After `idle_timeout` without a message the connection is dead, whether pings are answered or not.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Wait:
    """Nothing to do for so many seconds (None: ever)."""

    seconds: float | None


@dataclass(frozen=True)
class Ping:
    """Send a ping."""


@dataclass(frozen=True)
class Dead:
    """Hang up."""

    reason: str


class Silence:
    """The silence of one connection; `now` is in seconds of one clock that never goes backwards."""

    def __init__(self, ping_interval: float | None, ping_timeout: float, idle_timeout: float | None) -> None:
        for name, seconds in (
            ("ping_interval", ping_interval),
            ("ping_timeout", ping_timeout),
            ("idle_timeout", idle_timeout),
        ):
            if seconds is not None and not seconds > 0:
                raise ValueError(f"{name} must be more than 0 seconds, not {seconds}")
        self._ping_interval = ping_interval
        self._ping_timeout = ping_timeout
        self._idle_timeout = idle_timeout
        self._spent = 0.0
        self._since: float | None = None
        self._sign = 0.0
        self._pinged: float | None = None

    def waits(self, now: float) -> None:
        """Somebody begins to wait for a message."""
        self._since = now

    def leaves(self, now: float) -> None:
        """The wait ends without a message; the next one goes on counting from here."""
        self._spent = self._lasting(now)
        self._since = None

    def heard(self) -> None:
        """The wait ends with a message."""
        self._spent = 0.0
        self._since = None
        self._sign = 0.0
        self._pinged = None

    def pinged(self, now: float) -> None:
        """A ping was sent."""
        self._pinged = self._lasting(now)

    def answered(self, now: float) -> None:
        """A ping was answered."""
        self._sign = self._lasting(now)
        self._pinged = None

    def decide(self, now: float) -> Wait | Ping | Dead:
        """What to do now."""
        if self._since is None:
            # A wait that begins meanwhile is looked at before anything about it can be due.
            return Wait(self._shortest())
        lasting = self._lasting(now)
        due: list[float] = []
        if self._idle_timeout is not None:
            if lasting >= self._idle_timeout:
                return Dead(f"no message for {self._idle_timeout:g} s")
            due.append(self._idle_timeout)
        if self._pinged is not None:
            if lasting >= self._pinged + self._ping_timeout:
                return Dead(f"no answer to a ping for {self._ping_timeout:g} s")
            due.append(self._pinged + self._ping_timeout)
        elif self._ping_interval is not None:
            if lasting >= self._sign + self._ping_interval:
                return Ping()
            due.append(self._sign + self._ping_interval)
        return Wait(min(due) - lasting if due else None)

    def _lasting(self, now: float) -> float:
        return self._spent if self._since is None else self._spent + now - self._since

    def _shortest(self) -> float | None:
        known = [self._idle_timeout, self._ping_interval, self._ping_timeout if self._ping_interval else None]
        return min((seconds for seconds in known if seconds is not None), default=None)
