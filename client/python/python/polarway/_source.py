"""Where the rows of a stream come from, and come from once more if the first of them fail."""

from __future__ import annotations

from typing import TYPE_CHECKING

from polarway._calls import NOTHING
from polarway._steps import Steps

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from polarway._calls import Cancels, Start
    from polarway._polarway import Done, NativeBatch, NativeStream
    from polarway._traffic import Traffic
    from polarway.error import Fault


class Source:
    """A stream that was opened, until its client is closed."""

    def __init__(
        self, traffic: Traffic, native: NativeStream, opening: Start[NativeStream], repeatable: Callable[[], bool]
    ) -> None:
        self.query_id = native.query_id
        self.route = native.route
        self._traffic = traffic
        self._native: NativeStream | None = native
        self._repeatable = repeatable
        # Until rows are asked for.
        self._opening: Start[NativeStream] | None = opening
        traffic.ends(self)

    def schema(self) -> object:
        """The columns, as a capsule.

        Raises:
            ValueError: the client is closed.
        """
        if self._native is None:
            raise ValueError("the client of this stream was closed")
        return self._native.__arrow_c_schema__()

    def next(self, done: Done[NativeBatch | None]) -> Cancels:
        """The next rows. Those that come first may be asked for again: none have been given to anybody."""
        opening, self._opening = self._opening, None
        if opening is None:
            return self._traffic.once(self._read)(done)
        return self._traffic.repeated(_First(self._read, opening, self._reopened), self._repeatable)(done)

    def close(self, done: Done[None]) -> Cancels:
        """Reads no further."""
        self._opening = None
        if self._native is None or self._traffic.is_forked():
            done(None, None)
            return NOTHING
        return self._native.close(done)

    def progress(self, done: Done[str | None]) -> Cancels:
        """How far the query is, as JSON."""

        def start(done: Done[str | None]) -> Cancels:
            if self._native is None:
                done(None, None)
                return NOTHING
            return self._native.progress(done)

        return self._traffic.once(start)(done)

    def reading(self, owner: object) -> AbstractContextManager[None]:
        """While this thread or task iterates over the rows."""
        return self._traffic.reading(owner)

    def end(self) -> None:
        """The client is closed: no rows come any more, and nothing holds the connection."""
        native, self._native, self._opening = self._native, None, None
        if native is not None:
            native.close(_ignored)

    def _read(self, done: Done[NativeBatch | None]) -> Cancels:
        if self._native is None:
            done(None, None)
            return NOTHING
        return self._native.next(done)

    def _reopened(self, native: NativeStream) -> None:
        self._native, self.query_id, self.route = native, native.query_id, native.route


def _ignored(_: None, __: Fault | None) -> None:
    """There is nothing that anybody could do about it."""


class _First:
    """The first rows: of the stream as it was opened, or after a failure of another one."""

    def __init__(
        self, read: Start[NativeBatch | None], opening: Start[NativeStream], opened: Callable[[NativeStream], None]
    ) -> None:
        self._read = read
        self._opening = opening
        self._opened = opened
        self._began = False

    def __call__(self, done: Done[NativeBatch | None]) -> Cancels:
        # It is called once more only after a failure.
        if not self._began:
            self._began = True
            return self._read(done)
        # Without a reference to what is started: see `Operation`.
        steps, read, reopened = Steps(), self._read, self._opened

        def opened(native: NativeStream | None, fault: Fault | None) -> None:
            if native is None:
                done(None, fault)
            else:
                reopened(native)
                steps.hold(read(done))

        steps.hold(self._opening(opened))
        return steps
