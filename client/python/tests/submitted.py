"""What stands for a server that knows jobs, in tests of how a client asks."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from polarway import Error

if TYPE_CHECKING:
    from polarway._polarway import Done
    from polarway.parameters import Encoded

ID = "j_0123456789abcdef0123456789abcdef"
SUBMITTED_AT = 1_796_036_400_123


def account(state: str, **parts: object) -> str:
    """What the native module tells of a job."""
    ended_at = None if state in {"queued", "running"} else SUBMITTED_AT + 1_500
    told: dict[str, object] = {
        "id": ID,
        "sql": "SELECT 1",
        "state": state,
        "attempt": 1,
        "submitted_at": SUBMITTED_AT,
        "ended_at": ended_at,
        "error": None,
        "outcome": None,
        "progress": None,
    }
    return json.dumps({**told, **parts})


def finished(outcome: object) -> str:
    """The account of a job with this outcome."""
    return account("finished", outcome=outcome)


class Call:
    """A call, which the native module would carry out in a thread of its own."""

    def __init__(self) -> None:
        self.cancelled = threading.Event()

    def cancel(self) -> None:
        self.cancelled.set()


@dataclass
class Opened:
    """A stream of which nobody reads."""

    query_id: str = "q"
    route: str = "direct"

    def close(self, _: object) -> Call:
        return Call()


@dataclass
class Native:
    """Answers each question about a job with the next of these, the last one again and again; None is silence."""

    answers: list[str | Error | None]
    asked: list[str] = field(default_factory=list[str])
    calls: list[Call] = field(default_factory=list[Call])
    submitted: list[tuple[str, list[Encoded], str, float]] = field(
        default_factory=list[tuple[str, "list[Encoded]", str, float]]
    )
    cancelled: list[str] = field(default_factory=list[str])
    run: list[str] = field(default_factory=list[str])
    refusals: list[Error] = field(default_factory=list[Error])

    def submit(self, sql: str, parameters: list[Encoded], key: str, keep: float, done: Done[str]) -> Call:
        self.submitted.append((sql, parameters, key, keep))
        return self._call(self._refused() or ID, done)

    def job(self, id_: str, done: Done[str]) -> Call:
        self.asked.append(id_)
        return self._call(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0], done)

    def cancel_job(self, id_: str, done: Done[bool]) -> Call:
        self.cancelled.append(id_)
        return self._call(self._refused() or len(self.cancelled) == 1, done)

    def collect(self, sql: str, _: object, done: Done[Any]) -> Call:
        self.run.append(sql)
        return self._call(object(), done)

    def stream(self, sql: str, _: object, done: Done[Any]) -> Call:
        self.run.append(sql)
        return self._call(Opened(), done)

    def _refused(self) -> Error | None:
        return self.refusals.pop(0) if self.refusals else None

    def _call(self, answer: object, done: Done[Any]) -> Call:
        self.calls.append(Call())
        if isinstance(answer, Error):
            done(None, answer.fault())
        elif answer is not None:
            done(answer, None)
        return self.calls[-1]


@dataclass
class Clock:
    """Seconds that pass only while somebody sleeps."""

    now: float = 1000.0
    slept: list[float] = field(default_factory=list[float])

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    async def sleep_async(self, seconds: float) -> None:
        self.sleep(seconds)
