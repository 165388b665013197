"""Leases of handles, and when each is renewed: what the heartbeats of both clients have in common.

A lease is due at a third of its time, again soon after an attempt that failed, and given up when the server says that
it has ended, or by this clock when it must have. Only handles, and queries over them, hold their lease: one that
nothing holds any more is forgotten here, and runs out on the server.
"""

from __future__ import annotations

import threading
import time
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from polarway._calls import outcome_of
from polarway.error import Error
from polarway.result import Err, Ok, Result

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from polarway._polarway import Call, NativeClient
    from polarway.plans import Plan

Created: TypeAlias = "tuple[str, float, list[tuple[str, str]]]"
Outcome: TypeAlias = "tuple[str, Result[float, Error]]"

# Seconds that closing handles may take in all.
CLOSING = 2.0
# Renewals that are under way at once.
_LIMIT = 64
# Seconds, at most, between attempts; and between looks while _LIMIT of them are under way.
_PAUSE = 1.0
_LOOK = 0.1


class Lease:
    """A handle on the server.

    A handle that was made of others reads them, so that they are closed on the server after it.

    Attributes:
        id: The name of its table in the schema `handle`.
        ttl: Seconds that each renewal gives.
        ends: When it ends unless it is renewed, by the monotonic clock; at the latest, since the server counts from
            earlier on.
        due: When it is to be renewed.
        closed: Whether its user has closed it.
    """

    def __init__(self, id_: str, ttl: float, now: float, parents: Iterable[Lease] = ()) -> None:
        self.id = id_
        self.closed = False
        self._parents = tuple(parents)
        self._children: weakref.WeakSet[Lease] = weakref.WeakSet()
        for parent in self._parents:
            parent._children.add(self)
        self.renewed(ttl, now)

    def renewed(self, ttl: float, now: float) -> None:
        """It was renewed."""
        self.ttl = ttl
        self.ends = now + ttl
        self.due = now + ttl / 3

    def failed(self, error: Error, now: float) -> bool:
        """A renewal failed. Gives whether it can still succeed."""
        self.due = now + min(self.ttl / 10, _PAUSE)
        return error.kind != "NOT_FOUND" and now < self.ends

    def close(self) -> list[Lease]:
        """Marks it as closed, and gives what can be closed on the server now: what no other handle reads."""
        self.closed = True
        if self._children:
            return []
        found: list[Lease] = [self]
        for parent in self._parents:
            parent._children.discard(self)
            if parent.closed:
                found += parent.close()
        return found


@dataclass(frozen=True)
class Opened:
    """A handle as the server gave it: its lease, and its columns with their types."""

    lease: Lease
    columns: list[tuple[str, str]]


def opened(parents: Iterable[Lease], created: Created) -> Opened:
    """The handle that was made just now."""
    id_, ttl, columns = created
    return Opened(Lease(id_, ttl, time.monotonic(), parents), columns)


def leases(plan: Plan) -> list[Lease]:
    """The leases of the handles that a plan reads."""
    return [kept for kept in plan.leases() if isinstance(kept, Lease)]


def readable(plan: Plan) -> Result[None, Error]:
    """Whether none of the handles that a plan reads has been closed."""
    for lease in leases(plan):
        if lease.closed:
            return Err(Error("NOT_FOUND", f"the handle `{lease.id}` has been closed", hint="make a new one"))
    return Ok(None)


class Leases:
    """The leases that one client renews. Safe for several threads."""

    def __init__(self, native: NativeClient, post: Callable[[Outcome], None]) -> None:
        """`post` is called from other threads, and has to bring what it gets to `step`."""
        self._native = native
        self._post = post
        self._held: dict[str, weakref.ref[Lease]] = {}
        self._calls: dict[str, Call] = {}
        self._lock = threading.Lock()

    def add(self, lease: Lease) -> None:
        """Renews it from now on."""
        with self._lock:
            self._held[lease.id] = weakref.ref(lease)

    def discard(self, lease: Lease) -> None:
        """Renews it no more."""
        with self._lock:
            self._forget(lease.id)

    def clear(self) -> list[Lease]:
        """Renews nothing any more; gives what was held."""
        with self._lock:
            held = self._live()
            for id_ in [*self._held]:
                self._forget(id_)
            return held

    def step(self, outcomes: Iterable[Outcome]) -> float | None:
        """Takes what came of renewals and starts those that are due.

        Gives the seconds until there is more to do, unless an outcome comes before; `None` if nothing is left to renew.
        """
        with self._lock:
            now = time.monotonic()
            for id_, outcome in outcomes:
                self._settle(id_, outcome, now)
            live = self._live()
            for lease in live:
                if lease.due > now:
                    continue
                if lease.id in self._calls:
                    # No answer in all its time.
                    self._forget(lease.id)
                elif len(self._calls) < _LIMIT:
                    self._renew(lease)
            waits = [lease.due - now for lease in live if lease.id in self._held]
            return max(min(waits), _LOOK if len(self._calls) >= _LIMIT else 0.0) if waits else None

    def _renew(self, lease: Lease) -> None:
        lease.due = lease.ends
        id_, post = lease.id, self._post
        self._calls[id_] = self._native.renew_handle(id_, lambda ttl, fault: post((id_, outcome_of(ttl, fault))))

    def _settle(self, id_: str, outcome: Result[float, Error], now: float) -> None:
        self._calls.pop(id_, None)
        held = self._held.get(id_)
        lease = held() if held else None
        if lease is None:
            return
        if outcome.is_ok():
            lease.renewed(outcome.unwrap(), now)
        elif not lease.failed(outcome.unwrap_err(), now):
            self._forget(id_)

    def _live(self) -> list[Lease]:
        found: list[Lease] = []
        for id_, held in [*self._held.items()]:
            lease = held()
            if lease is None:
                self._forget(id_)
            else:
                found.append(lease)
        return found

    def _forget(self, id_: str) -> None:
        self._held.pop(id_, None)
        call = self._calls.pop(id_, None)
        if call is not None:
            call.cancel()
