"""How many retries there may be, as a bucket of tokens.

1. The bucket begins full, with `reserve` tokens, and never holds more.
2. Each call puts `ratio` of a token in; time puts `reserve` tokens a minute in.
3. Each retry takes one out; without one there is no retry.

So in any span of time there are at most `reserve` retries, and as many again for each minute of it, and `ratio` of the
calls in it. A cluster that fails altogether gets little more than its calls, however many clients retry.
"""

from __future__ import annotations

# Seconds in which time alone fills the bucket.
WINDOW = 60.0


class Budget:
    """The bucket. All times are seconds of one clock, which must not go backwards."""

    def __init__(self, ratio: float, reserve: int, now: float) -> None:
        self._ratio = ratio
        self._reserve = float(reserve)
        self._tokens = float(reserve)
        self._at = now

    def called(self, now: float) -> None:
        """A call is made for the first time."""
        self._fill(now, self._ratio)

    def spend(self, now: float) -> bool:
        """Whether there may be a retry; it is counted."""
        self._fill(now, 0.0)
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def _fill(self, now: float, more: float) -> None:
        grown = self._tokens + more + self._reserve * (now - self._at) / WINDOW
        self._tokens = min(self._reserve, grown)
        self._at = now
