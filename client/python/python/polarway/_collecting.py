"""A statement that is run to its end, and is asked meanwhile how far it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from polarway._calls import NOTHING
from polarway._steps import Steps

if TYPE_CHECKING:
    from polarway._calls import Cancels, Start
    from polarway._polarway import Done, NativeStream, NativeTable
    from polarway.error import Fault


class Collecting:
    """Opens a stream and collects its rows, as one call. It may be made again: nobody has rows before all are there."""

    def __init__(self, opening: Start[NativeStream]) -> None:
        self._opening = opening
        self._latest = _Attempt()

    def __call__(self, done: Done[NativeTable]) -> Cancels:
        # Without a reference to what is started: see `Operation`.
        steps, attempt = Steps(), _Attempt()
        self._latest = attempt

        def collected(table: NativeTable | None, fault: Fault | None) -> None:
            attempt.stream = None
            done(table, fault)

        def opened(stream: NativeStream | None, fault: Fault | None) -> None:
            if stream is None:
                done(None, fault)
                return
            attempt.stream = stream
            steps.hold(stream.collect(collected))
            # Cancelled last: it waits for whoever reads.
            steps.hold(attempt)

        steps.hold(self._opening(opened))
        return steps

    def progress(self, done: Done[str | None]) -> Cancels:
        """How far it is, as JSON; None before it is opened, after its end, and between two attempts."""
        stream = self._latest.stream
        if stream is None:
            done(None, None)
            return NOTHING
        return stream.progress(done)


class _Attempt:
    """One, whose stream lives no longer than it."""

    def __init__(self) -> None:
        self.stream: NativeStream | None = None

    def cancel(self) -> None:
        """Ends the query, which a call that is cancelled while it reads leaves open."""
        stream, self.stream = self.stream, None
        if stream is not None:
            stream.close(_ignored)


def _ignored(_: None, __: Fault | None) -> None:
    """Nobody waits for it."""
