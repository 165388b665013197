"""How many calls of one client are under way at once, and how many wait for their turn."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Protocol

from polarway.error import Error


class Waiter(Protocol):
    """Who waits for a place."""

    def granted(self) -> None:
        """The place is there. Called in the thread of whoever made room, so that it must not wait."""
        ...


class Limit:
    """Places, given in the order in which they were asked for. Safe for any number of threads."""

    def __init__(self, most: int, waiting: int) -> None:
        self._most = most
        self._most_waiting = waiting
        self._inside: set[Waiter] = set()
        self._waiting: OrderedDict[Waiter, None] = OrderedDict()
        self._granting = False
        # Reentrant: garbage collection may end a call while this thread is inside.
        self._lock = threading.RLock()

    def enter(self, waiter: Waiter) -> Error | None:
        """Grants a place, at once or later, or gives the error of a queue that is full."""
        with self._lock:
            if len(self._inside) + len(self._waiting) >= self._most + self._most_waiting:
                return self._refusal()
            self._waiting[waiter] = None
        self._grant()
        return None

    def leave(self, waiter: Waiter) -> None:
        """Gives the place to the next one; whoever still waits for one waits no more."""
        with self._lock:
            self._inside.discard(waiter)
            self._waiting.pop(waiter, None)
        self._grant()

    def _grant(self) -> None:
        # One at a time, in a loop: who ends at once leaves at once, and would come back here ever deeper.
        with self._lock:
            if self._granting:
                return
            self._granting = True
        try:
            while (waiter := self._next()) is not None:
                waiter.granted()
        except BaseException:
            with self._lock:
                self._granting = False
            raise

    def _next(self) -> Waiter | None:
        with self._lock:
            if not self._waiting or len(self._inside) >= self._most:
                self._granting = False
                return None
            waiter, _ = self._waiting.popitem(last=False)
            self._inside.add(waiter)
            return waiter

    def _refusal(self) -> Error:
        return Error(
            "OVERLOADED",
            f"{len(self._inside)} calls of this client run and {len(self._waiting)} wait: that is all it may have",
            hint="make fewer calls at once, or raise max_concurrent or max_waiting",
            is_retryable=True,
        )
