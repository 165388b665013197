"""All calls of one connection of a client, from their start to its end."""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from typing import TYPE_CHECKING, Protocol, TypeVar

from polarway._calls import NOTHING
from polarway._operation import Operation, Way
from polarway._repeatable import always
from polarway._timer import Timer
from polarway.error import Error

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from polarway._calls import Cancels, Start
    from polarway._limit import Limit
    from polarway._polarway import Done
    from polarway._retrying import Retrying
    from polarway.shared_circuit import SharedCircuit

T = TypeVar("T")

AWAY = Error("DRAINING", "the client is not connected", hint="enter its context, or call connect()")
"""What a client says that has no connection."""

FORKED = Error(
    "CONFIGURATION",
    "the client belongs to the process that this one was forked from",
    hint="make a client in each process",
)
"""What it says in a process that was forked."""

CLOSING = 10.0
"""Seconds that closing a client waits for calls, unless asked for otherwise."""

_CLOSED = Error("CANCELLED", "the client was closed before the call had ended", hint="close(wait=True) waits for calls")


class Ends(Protocol):
    """What ends with the connection."""

    def end(self) -> None:
        """The connection is closed."""
        ...


class Traffic:
    """What is under way, of which no more begins once it is shut. Safe for any number of threads."""

    def __init__(
        self, *, limit: Limit | None = None, circuit: SharedCircuit | None = None, retrying: Retrying | None = None
    ) -> None:
        self._timer = Timer()
        self._whole = Way(self._timer, limit=limit, circuit=circuit, retrying=retrying)
        self._unlimited = Way(self._timer, circuit=circuit, retrying=retrying)
        self._bare = Way(self._timer)
        # Reentrant: garbage collection may end an iteration while this thread is inside.
        self._lock = threading.RLock()
        # What runs, and the thread or task that it belongs to if that iterates: who closes waits for none of his own.
        self._running: dict[object, object] = {}
        self._streams: weakref.WeakSet[Ends] = weakref.WeakSet()
        self._watchers: list[tuple[object, Callable[[], None]]] = []
        self._shut = False
        self._stopped = False
        self._process = os.getpid()

    def is_forked(self) -> bool:
        """Whether this is a child of the process that connected.

        What was under way there never ends here, and its locks may be held for ever.
        """
        return self._process != os.getpid()

    def call(self, start: Start[T], repeatable: Callable[[], bool] = always) -> Start[T]:
        """A call that takes a place, and is made again where that is allowed."""
        return lambda done: self._begin(self._whole, start, done, repeatable)

    def repeated(self, start: Start[T], repeatable: Callable[[], bool] = always) -> Start[T]:
        """The same without a place."""
        return lambda done: self._begin(self._unlimited, start, done, repeatable)

    def once(self, start: Start[T]) -> Start[T]:
        """A call that is part of what is under way, or tells of it: it is made once, at once."""
        return lambda done: self._begin(self._bare, start, done, always)

    @contextlib.contextmanager
    def reading(self, owner: object) -> Generator[None]:
        """While somebody iterates over a stream, who is not made to wait for himself."""
        if self.is_forked():
            yield
            return
        key = object()
        with self._lock:
            self._running[key] = owner
        try:
            yield
        finally:
            self._gone(key)

    def ends(self, stream: Ends) -> None:
        """Lets it end with the connection."""
        with self._lock:
            if not self._stopped:
                self._streams.add(stream)
                return
        stream.end()

    def shut(self) -> None:
        """Calls that begin from now on are refused; those that are parts of others are not."""
        with self._lock:
            self._shut = True

    def when_idle(self, owner: object, told: Callable[[], None]) -> None:
        """Calls it, from any thread, once nothing runs any more but what `owner` does."""
        with self._lock:
            idle = self._is_idle(owner)
            if not idle:
                self._watchers.append((owner, told))
        if idle:
            told()

    def stop(self) -> None:
        """Ends everything, on the cluster too. Who waits gets an error of kind `CANCELLED`."""
        with self._lock:
            self._shut = True
            self._stopped = True
            # The last first: those that wait would begin when those before them leave their places.
            running = list(reversed(self._running))
            streams = list(self._streams)
            self._streams.clear()
        for operation in running:
            if isinstance(operation, Operation):
                operation.stop(_CLOSED)
        for stream in streams:
            stream.end()
        self._timer.stop()

    def _begin(self, way: Way, start: Start[T], done: Done[T], repeatable: Callable[[], bool]) -> Cancels:
        operation: Operation[T] = Operation(way, start, done, repeatable, self._gone)
        refusal = FORKED if self.is_forked() else self._enter(way, operation)
        if refusal is not None:
            done(None, refusal.fault())
            return NOTHING
        try:
            operation.begin()
        except BaseException:
            operation.cancel()
            raise
        return operation

    def _enter(self, way: Way, operation: Operation[T]) -> Error | None:
        with self._lock:
            if self._stopped and way is not self._whole:
                return _CLOSED
            if self._shut and way is self._whole:
                return AWAY
            self._running[operation] = None
            return None

    def _gone(self, key: object) -> None:
        with self._lock:
            self._running.pop(key, None)
            if not self._watchers:
                return
            told = [told for owner, told in self._watchers if self._is_idle(owner)]
            self._watchers = [(owner, told) for owner, told in self._watchers if not self._is_idle(owner)]
        for tell in told:
            tell()

    def _is_idle(self, owner: object) -> bool:
        return all(other is not None and other == owner for other in self._running.values())
