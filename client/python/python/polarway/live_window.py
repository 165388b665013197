"""Frames of one producer that are not acknowledged yet: their numbers, and what is to be sent next.

Numbers grow by one from frame to frame. A connection begins with what the stream has of the producer (`last`): of the
frames that were sent and not acknowledged, those up to it are there, and those behind it are sent again. To learn
whether the former have reached the durability that is asked for, an empty frame with the number `last` is sent: it is
stored by nobody, and its acknowledgement covers them.

`last` may also be below what was acknowledged: then the log of a dead server has the rest, and will hand it over. Since
every frame carries its number, such a gap harms nobody.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from polarway.result import Err, Ok, Result

if TYPE_CHECKING:
    from polarway.live_encoding import Payload


@dataclass(frozen=True)
class Frame:
    """Rows under a number, as they are sent."""

    number: int
    data: bytes
    rows: int


@dataclass(frozen=True)
class Released:
    """What an acknowledgement let go."""

    frames: int
    rows: int


def first_number(*, named: bool, last: int, now: float) -> int:
    """The number of a producer's first frame.

    Under a name that was used before, numbers that were acknowledged must not come again with other rows. What the
    stream has does not tell them, while a dead server's log has more. The clock does: it grows by a million a second,
    and nobody sends as many frames.

    Args:
        named: Whether the producer's name may have been used before.
        last: What the stream has of it.
        now: Seconds since 1970.
    """
    return max(last, int(now * 1e6) if named else 0) + 1


class Window:
    """Frames from their closing to their acknowledgement, within bounds."""

    def __init__(self, first: int, max_frames: int, max_bytes: int) -> None:
        self._max_frames = max_frames
        self._max_bytes = max_bytes
        self._next = first
        self._waiting: deque[Frame] = deque()
        self._sent: deque[Frame] = deque()
        self._highest_sent = first - 1
        self.bytes = 0
        self.rows = 0

    @property
    def frames(self) -> int:
        """Frames that are not acknowledged."""
        return len(self._waiting) + len(self._sent)

    @property
    def newest(self) -> int:
        """The number of the frame that was added last; below the first when there was none."""
        return self._next - 1

    @property
    def oldest(self) -> int:
        """The number of the first frame that is not acknowledged; one above the newest when all are."""
        return (self._sent or self._waiting)[0].number if self.frames else self._next

    @property
    def is_full(self) -> bool:
        """Whether rows have to wait."""
        return self.frames >= self._max_frames or self.bytes >= self._max_bytes

    def add(self, payload: Payload) -> None:
        """Gives rows the next number."""
        frame = Frame(self._next, f"#{self._next}\n{payload.text}".encode("ascii"), payload.rows)
        self._next += 1
        self._waiting.append(frame)
        self.bytes += len(frame.data)
        self.rows += frame.rows

    def resume(self, last: int) -> Result[Frame | None, int]:
        """Begins a connection to a server that has the frames up to `last`; everything else is sent again.

        Returns:
            A frame to send before the others, if there is to be one; or the number that the stream has although it was
            never sent from here: somebody else sends under the same name.
        """
        if last > self._highest_sent:
            return Err(last)
        there = [frame for frame in self._sent if frame.number <= last]
        again = [frame for frame in self._sent if frame.number > last]
        self._waiting.extendleft(reversed(again))
        self._sent = deque(there)
        return Ok(Frame(last, f"#{last}\n".encode("ascii"), 0) if there else None)

    def take(self) -> Frame | None:
        """The next frame to send, which counts as sent from now on."""
        if not self._waiting:
            return None
        frame = self._waiting.popleft()
        self._sent.append(frame)
        self._highest_sent = max(self._highest_sent, frame.number)
        return frame

    def acknowledge(self, upto: int) -> Released:
        """Lets all frames that were sent go up to this number."""
        frames = rows = 0
        while self._sent and self._sent[0].number <= upto:
            frame = self._sent.popleft()
            frames += 1
            rows += frame.rows
            self.bytes -= len(frame.data)
        self.rows -= rows
        return Released(frames, rows)
