"""What a `LiveTableSink` says about its rows."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Pushed:
    """Rows that were handed over.

    Attributes:
        rows: How many.
    """

    rows: int


@dataclass(frozen=True)
class Acknowledged:
    """What was acknowledged since the flush before.

    Attributes:
        rows: Rows that have arrived, in the table or as dead letters.
        bad: Of them, those that the server said to have put with the dead letters. Of a frame that arrived while the
            connection broke, it does not say it again.
        token: After `SET polarway.read_after = 'TOKEN'` a query sees all rows acknowledged so far, or fails. None as
            long as nothing was acknowledged, and with `ack="received"`.
    """

    rows: int
    bad: int
    token: str | None


@dataclass(frozen=True)
class SinkCounts:
    """What a sink has done, and what it holds.

    Attributes:
        rows: Rows that were pushed.
        frames: Frames that were sent, each time counted.
        acknowledged: Rows that have arrived, in the table or as dead letters.
        bad: Of them, those that the server said to have put with the dead letters.
        reconnects: Connections after the first.
        failures: Attempts to connect that failed, and connections that broke.
        unacknowledged_rows: Rows that are held until they are acknowledged.
        unacknowledged_frames: Frames that are held so, without the one that is being filled.
        unacknowledged_bytes: What these frames take.
    """

    rows: int
    frames: int
    acknowledged: int
    bad: int
    reconnects: int
    failures: int
    unacknowledged_rows: int
    unacknowledged_frames: int
    unacknowledged_bytes: int
