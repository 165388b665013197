"""The connection of a `LiveTableSink`: one task that sends frames, reads acknowledgements, and connects again."""

from __future__ import annotations

import asyncio
import itertools
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from polarway._bell import Bell
from polarway._delays import Delays
from polarway._tasks import cancel_and_join
from polarway.backoff import Backoff
from polarway.live_faults import UNAUTHENTICATED, UNTRUSTED, Refusal
from polarway.live_options import moved_to
from polarway.live_window import Window, first_number
from polarway.result import Err

if TYPE_CHECKING:
    from collections.abc import Sequence

    from polarway._token import LatestToken
    from polarway._trust import LatestTrust
    from polarway.error import Error
    from polarway.live_link import Link
    from polarway.live_options import SinkOptions

# Redirects in a row that are followed without a pause.
_HOPS = 3


@dataclass
class Tally:
    """What has been done so far; `SinkCounts` explains the fields."""

    rows: int = 0
    frames: int = 0
    acknowledged: int = 0
    bad: int = 0
    connections: int = 0
    failures: int = 0
    token: str | None = None


class Delivery:
    """Frames on their way.

    Attributes:
        bell: Rings when something has changed that somebody may wait for.
        window: The frames that are not acknowledged; none before the first connection.
        refusal: Why the latest connection did not come about, or ended.
    """

    def __init__(  # noqa: PLR0913 - each is a choice of its own
        self,
        addresses: Sequence[str],
        path: str,
        *,
        named: bool,
        options: SinkOptions,
        token: LatestToken,
        trust: LatestTrust,
    ) -> None:
        self._addresses = addresses
        self._token = token
        self._trust = trust
        self._path = path
        self._named = named
        self._options = options
        self.bell = Bell()
        self.tally = Tally()
        self.window: Window | None = None
        self.refusal: Refusal | None = None

    @property
    def patience(self) -> float:
        """Seconds in which each server had the time to answer."""
        return self._options.connect_timeout * len(self._addresses)

    async def run(self) -> Refusal:
        """Keeps a connection until that makes no sense any more; gives the reason."""
        from polarway.live_link import Link  # noqa: PLC0415 - the library below it is needed for this alone

        delays = Delays(Backoff(self._options.backoff_min, cap=self._options.backoff_max, jitter="half"))
        turns = itertools.cycle(self._addresses)
        address = next(turns)
        clock = asyncio.get_running_loop().time
        lost = clock()
        hops = 0
        while True:
            acknowledged = self.tally.acknowledged
            read = await self._token.read()
            if isinstance(read, Err):
                return _unreadable("no_token", read.unwrap_err())
            token = read.unwrap()
            trusted = await self._trust.read()
            if isinstance(trusted, Err):
                return _unreadable(UNTRUSTED, trusted.unwrap_err())
            opened = await Link.open(address + self._path, self._options.connect_timeout, token, trusted.unwrap())
            refusal: Refusal
            if isinstance(opened, Err):
                refusal, was_open = opened.unwrap_err(), False
            else:
                refusal, was_open = await self._talk(opened.unwrap()), True
                lost = clock()
            self.refusal = refusal
            self.tally.failures += refusal.location is None
            is_replaced = refusal.kind == UNAUTHENTICATED and await self._token.is_other_than(token)
            if not (refusal.gets_better or is_replaced) or clock() - lost > self._options.retry_for:
                return refusal
            if self.tally.acknowledged > acknowledged:
                delays.reset()
                hops = 0
            if is_replaced:
                continue
            if refusal.location is not None:
                address = moved_to(address, refusal.location)
                hops += 1
                if hops <= _HOPS:
                    continue
            elif not was_open:
                address = next(turns)
            # After a connection that broke, the same server is asked first: it is there, or knows who has the stream.
            await asyncio.sleep(max(delays.next(), refusal.retry_after or 0))

    async def _talk(self, link: Link) -> Refusal:
        """Sends and reads until the connection ends; gives the reason."""
        tasks: list[asyncio.Task[object]] = []
        try:
            if self.window is None:
                first = first_number(named=self._named, last=link.last, now=time.time())
                options = self._options
                self.window = Window(first, options.max_unacknowledged_frames, options.max_unacknowledged_bytes)
                before = None
            else:
                resumed = self.window.resume(link.last)
                if isinstance(resumed, Err):
                    return _foreign(resumed.unwrap_err())
                before = resumed.unwrap()
            self.tally.connections += 1
            self.bell.ring()
            reader: asyncio.Task[Refusal] = asyncio.create_task(self._read(link, self.window))
            tasks.append(cast("asyncio.Task[object]", reader))
            if before is None or await link.send(before.data):
                writer = asyncio.create_task(self._write(link, self.window))
                tasks.append(cast("asyncio.Task[object]", writer))
                await asyncio.wait({reader, writer}, return_when=asyncio.FIRST_COMPLETED)
                if writer.done():
                    writer.result()
            return await reader
        finally:
            await cancel_and_join(tasks)
            await link.close()

    async def _write(self, link: Link, window: Window) -> None:
        while True:
            frame = window.take()
            if frame is None:
                await self.bell.wait()
                continue
            self.tally.frames += 1
            if not await link.send(frame.data):
                return

    async def _read(self, link: Link, window: Window) -> Refusal:
        async for heard in link.acks():
            if isinstance(heard, Refusal):
                return heard
            released = window.acknowledge(heard.upto)
            self.tally.acknowledged += released.rows
            self.tally.bad += heard.bad
            self.tally.token = heard.token or self.tally.token
            self.bell.ring()
        return Refusal("lost", "the connection to the server was lost")


def _unreadable(kind: str, error: Error) -> Refusal:
    return Refusal(kind, error.message, error.hint)


def _foreign(last: int) -> Refusal:
    message = (
        f"the stream has number {last} of this producer, which was not sent from here: somebody else uses its name"
    )
    return Refusal("foreign_numbers", message)
