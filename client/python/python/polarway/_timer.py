"""Calling something later, from one thread for all that is to be called."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Alarm:
    """Something that is to be called."""

    def __init__(self, timer: Timer, call: Callable[[], None]) -> None:
        self._timer = timer
        self.call = call

    def cancel(self) -> None:
        """Calls it no more, unless that is under way already."""
        self._timer.discard(self)


class Timer:
    """The thread starts with the first alarm, and ends when there is none left."""

    def __init__(self) -> None:
        self._alarms: list[tuple[float, int, Alarm]] = []
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def after(self, seconds: float, call: Callable[[], None]) -> Alarm:
        """Calls it after so many seconds, in the thread of the timer, so that it must not wait."""
        alarm = Alarm(self, call)
        with self._changed:
            heapq.heappush(self._alarms, (time.monotonic() + seconds, next(self._numbers), alarm))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="polarway.retries", daemon=True)
                self._thread.start()
            self._changed.notify()
        return alarm

    def discard(self, alarm: Alarm) -> None:
        """Calls it no more."""
        with self._changed:
            self._alarms = [entry for entry in self._alarms if entry[2] is not alarm]
            heapq.heapify(self._alarms)
            self._changed.notify()

    def stop(self) -> None:
        """Calls nothing of what there is, and ends the thread."""
        with self._changed:
            self._alarms.clear()
            self._changed.notify()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _run(self) -> None:
        while (alarm := self._due()) is not None:
            alarm.call()

    def _due(self) -> Alarm | None:
        with self._changed:
            while self._alarms:
                wait = self._alarms[0][0] - time.monotonic()
                if wait <= 0:
                    return heapq.heappop(self._alarms)[2]
                self._changed.wait(wait)
            self._thread = None
            return None
