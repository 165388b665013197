"""Several calls that are one for whoever cancels it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from polarway._calls import Cancels


class Steps:
    """Those that have been started, one after the other. A call that has ended is cancelled without effect."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._held: list[Cancels] = []
        self._cancelled = False

    def hold(self, step: Cancels) -> None:
        """This one was started."""
        with self._lock:
            self._held.append(step)
            cancelled = self._cancelled
        if cancelled:
            step.cancel()

    def cancel(self) -> None:
        """Cancels all of them, and what is started later."""
        with self._lock:
            self._cancelled = True
            held = list(self._held)
        for step in held:
            step.cancel()
