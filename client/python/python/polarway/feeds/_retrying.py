"""Whether a feed whose connection is gone connects again, and when. Decisions only.

1. An error that is not retryable (access refused, no such path) ends the feed.
2. Any other is one more failure in a row. More of them than `max_retries` end the feed.
3. Otherwise the backoff says how long to wait; a server that names a delay is given it, within the backoff's cap.
4. A message that could be read sets the count to 0. One that could not does not: a server that greets each connection
   with a refusal and hangs up is asked less and less often.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from polarway.error import Error

if TYPE_CHECKING:
    from polarway.backoff import Backoff


@dataclass(frozen=True)
class Again:
    """Connect again after so many seconds."""

    delay: float


@dataclass(frozen=True)
class GiveUp:
    """Do not connect again; the error tells why."""

    error: Error


class Retrying:
    """The failures of one feed."""

    def __init__(self, backoff: Backoff, max_retries: int | None) -> None:
        if max_retries is not None and max_retries < 0:
            raise ValueError(f"max_retries must be 0 or more, or None, not {max_retries}")
        self._backoff = backoff
        self._max_retries = max_retries
        self._failures = 0

    def heard(self) -> None:
        """A message was received and read."""
        self._failures = 0

    def lost(self, error: Error, draw: float) -> Again | GiveUp:
        """A connection was lost, or could not be opened, with this error; `draw` (0 to 1) is the luck of the delay."""
        if not error.is_retryable:
            return GiveUp(error)
        self._failures += 1
        if self._max_retries is not None and self._failures > self._max_retries:
            return GiveUp(_exhausted(self._failures, error))
        asked = min(error.retry_after or 0.0, self._backoff.cap)
        return Again(max(asked, self._backoff.delay(self._failures, draw)))


def _exhausted(failures: int, last: Error) -> Error:
    return Error(
        last.kind,
        f"gave up after {failures} failures in a row, the last: {last.message}",
        hint=last.hint,
        retry_after=last.retry_after,
        is_retryable=last.is_retryable,
        is_unavailable=last.is_unavailable,
    )
