"""A progress bar for one query: when it is drawn, and that it never disturbs what it tells of."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from polarway._calls import NOTHING, awaited, outcome_of
from polarway._collecting import Collecting
from polarway._screens import screen
from polarway._tasks import cancel_and_join
from polarway.streams import Progress

if TYPE_CHECKING:
    from collections.abc import Callable

    from polarway._calls import Cancels, Start
    from polarway._polarway import NativeStream, NativeTable
    from polarway._screens import Screen
    from polarway._traffic import Traffic
    from polarway.error import Error, Fault
    from polarway.result import Result

T = TypeVar("T")

# Seconds before it is first shown, and between two times that it is.
_SILENT = 1.0
_PAUSE = 0.25

# There is one line, or one cell: the first of several queries at once has it.
_one = threading.Lock()


class Meter:
    """What is shown of one query. None of its methods raises, or waits for anything but the screen."""

    def __init__(self, on: Screen) -> None:
        self._screen: Screen | None = on
        self._began = time.monotonic()
        self._next = self._began + _SILENT
        self._progress: Progress | None = None
        self._has_lock = False

    def pause(self) -> float:
        """Seconds until `draw` is to be called."""
        return max(0.0, self._next - time.monotonic())

    def told(self, text: str | None) -> None:
        """What the server says about the query; None if it knows it no more."""
        with contextlib.suppress(ValueError, KeyError, TypeError):
            self._progress = self._progress if text is None else Progress.parse(text)

    def draw(self) -> None:
        """Shows it as it is now."""
        now = time.monotonic()
        self._next = now + _PAUSE
        self._has_lock = self._has_lock or _one.acquire(blocking=False)
        shown = self._screen
        if shown is None or not self._has_lock:
            return
        try:
            shown.show(self._progress, now - self._began)
        except Exception:  # noqa: BLE001 - a query does not fail because a terminal is gone
            self._screen = None

    def close(self) -> None:
        """Leaves nothing of it."""
        if not self._has_lock:
            return
        self._has_lock = False
        try:
            if self._screen is not None:
                self._screen.clear()
        except Exception:  # noqa: BLE001 - as above
            self._screen = None
        finally:
            _one.release()


def meter(wanted: bool | None) -> Meter | None:
    """A new one, if progress is wanted and there is where to show it."""
    try:
        found = screen(wanted)
    except Exception:  # noqa: BLE001 - as above
        found = None
    return None if found is None else Meter(found)


def collected(
    traffic: Traffic, opening: Start[NativeStream], repeatable: Callable[[], bool], shown: Meter
) -> Result[NativeTable, Error]:
    """Runs a statement to its end, which is one call, and shows how far it is."""
    with contextlib.closing(shown):
        collecting = Collecting(opening)
        return watched(traffic.call(collecting, repeatable), traffic.once(collecting.progress), shown)


async def collected_async(
    traffic: Traffic, opening: Start[NativeStream], repeatable: Callable[[], bool], shown: Meter
) -> Result[NativeTable, Error]:
    """The same, for asyncio."""
    with contextlib.closing(shown):
        collecting = Collecting(opening)
        return await watched_async(traffic.call(collecting, repeatable), traffic.once(collecting.progress), shown)


@dataclass(frozen=True)
class _Told:
    """An answer to how far it is."""

    text: str | None


def watched(start: Start[T], ask: Start[str | None], shown: Meter) -> Result[T, Error]:
    """Starts a call, waits for it, and meanwhile asks how far it is, one question at a time."""
    events: queue.SimpleQueue[Result[T, Error] | _Told] = queue.SimpleQueue()

    def done(value: T | None, fault: Fault | None) -> None:
        events.put(outcome_of(value, fault))

    def answered(text: str | None, _: Fault | None) -> None:
        events.put(_Told(text))

    asking: Cancels | None = None
    call: Cancels = NOTHING
    try:
        call = start(done)
        while True:
            try:
                event = events.get(timeout=shown.pause())
            except queue.Empty:
                shown.draw()
                if asking is None:
                    asking = ask(answered)
                continue
            if not isinstance(event, _Told):
                return event
            asking = None
            shown.told(event.text)
    except BaseException:
        call.cancel()
        raise
    finally:
        if asking is not None:
            asking.cancel()


async def watched_async(start: Start[T], ask: Start[str | None], shown: Meter) -> Result[T, Error]:
    """The same, for asyncio."""
    running = asyncio.ensure_future(awaited(start))
    asking: asyncio.Task[Result[str | None, Error]] | None = None
    try:
        while not running.done():
            waiting = {running} if asking is None else {running, asking}
            ended, _ = await asyncio.wait(waiting, timeout=shown.pause(), return_when=asyncio.FIRST_COMPLETED)
            if asking is not None and asking in ended:
                asking.result().inspect(shown.told)
                asking = None
            elif not ended:
                shown.draw()
                if asking is None:
                    asking = asyncio.ensure_future(awaited(ask))
        return running.result()
    finally:
        if asking is not None:
            await cancel_and_join([asking])
        await cancel_and_join([running])
