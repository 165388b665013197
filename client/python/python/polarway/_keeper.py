"""What keeps the handles of a `PolarwayClient`: one thread that renews their leases."""

from __future__ import annotations

import contextlib
import enum
import os
import queue
import threading
import time
from functools import partial
from typing import TYPE_CHECKING

from polarway._leases import CLOSING, Leases, opened
from polarway._repeatable import never

if TYPE_CHECKING:
    from collections.abc import Iterable

    from polarway._calls import Cancels
    from polarway._leases import Created, Lease, Opened, Outcome
    from polarway._polarway import Done, NativeClient
    from polarway._traffic import Traffic
    from polarway.error import Fault


class _Signal(enum.Enum):
    """What the thread is told, beside outcomes."""

    ADDED = 1
    STOPPED = 2


class Keeper:
    """Opens handles, renews them, and closes them. Safe for any number of threads.

    The thread starts with the first handle, and ends when there is none left. In a forked process it does nothing: the
    handles are the parent's.
    """

    def __init__(self, native: NativeClient, traffic: Traffic) -> None:
        self._native = native
        self._traffic = traffic
        self._process = os.getpid()
        self._events: queue.SimpleQueue[Outcome | _Signal] = queue.SimpleQueue()
        self._leases = Leases(native, self._events.put)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopped = False

    def opening(self, sql: str, ttl: float, done: Done[Opened], parents: Iterable[Lease] = ()) -> Cancels:
        """Makes a handle of a query, that is renewed as long as something holds its lease."""
        return self._traffic.call(partial(self._native.create_handle, sql, ttl))(self._keeping(done, parents))

    def uploading(self, source: object, ttl: float, done: Done[Opened]) -> Cancels:
        """The same of rows, which are gone with the handle."""
        return self._traffic.call(partial(self._native.upload, source, ttl), never)(self._keeping(done, ()))

    def _keeping(self, done: Done[Opened], parents: Iterable[Lease]) -> Done[Created]:
        def told(created: Created | None, fault: Fault | None) -> None:
            found = None if created is None else opened(parents, created)
            if found is not None:
                self._keep(found)
            done(found, fault)

        return told

    def close(self, lease: Lease) -> None:
        """Renews it no more, and frees it on the server; in bounded time, since it runs out by itself."""
        if not lease.closed and os.getpid() == self._process:
            self._free(lease.close())

    def stop(self) -> None:
        """Ends the thread and closes all handles."""
        if os.getpid() != self._process:
            return
        with self._lock:
            self._stopped = True
            thread = self._thread
        self._events.put(_Signal.STOPPED)
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        held = self._leases.clear()
        for lease in held:
            lease.closed = True
        self._free(held)

    def _keep(self, found: Opened) -> None:
        with self._lock:
            if self._stopped:
                # The client was closed while it was made: it runs out.
                found.lease.closed = True
                return
            self._leases.add(found.lease)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="polarway.handles", daemon=True)
                self._thread.start()
        self._events.put(_Signal.ADDED)

    def _run(self) -> None:
        outcomes: list[Outcome] = []
        while True:
            with self._lock:
                wait = self._leases.step(outcomes)
                if wait is None or self._stopped:
                    self._thread = None
                    return
            outcomes = []
            with contextlib.suppress(queue.Empty):
                event = self._events.get(timeout=wait)
                while True:
                    if event is _Signal.STOPPED:
                        return
                    if event is not _Signal.ADDED:
                        outcomes.append(event)
                    event = self._events.get_nowait()

    def _free(self, leases: list[Lease]) -> None:
        for lease in leases:
            self._leases.discard(lease)
        freed: queue.SimpleQueue[None] = queue.SimpleQueue()
        calls = [self._native.close_handle(lease.id, lambda _, __: freed.put(None)) for lease in leases]
        ends = time.monotonic() + CLOSING
        try:
            with contextlib.suppress(queue.Empty):
                for _ in calls:
                    freed.get(timeout=max(0.0, ends - time.monotonic()))
        finally:
            for call in calls:
                call.cancel()
