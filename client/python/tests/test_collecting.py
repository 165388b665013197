"""Queries that are watched, and uploads, on their way through the calls of a client: one call each."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from native_calls import BUSY, WRONG, Call, Calls, Told
from polarway import Error, Ok, Retry
from polarway._calls import waited
from polarway._collecting import Collecting
from polarway._keeper import Keeper
from polarway._keeper_async import AsyncKeeper
from polarway._limit import Limit
from polarway._repeatable import always, never
from polarway._retrying import Retrying
from polarway._traffic import Traffic

if TYPE_CHECKING:
    from polarway._leases import Opened
    from polarway._polarway import Done
    from polarway.error import Fault

QUICK = Retry(attempts=3, delay=0.001, cap=0.001)


class _Stream:
    """One whose rows come when the test says so."""

    def __init__(self) -> None:
        self.collect = Calls()
        self.closed = 0

    def progress(self, done: Done[str | None]) -> Call:
        done("half", None)
        return Call(Told())

    def close(self, _: object) -> Call:
        self.closed += 1
        return Call(Told())


class _Streams:
    """Opens them; the first ones fail."""

    def __init__(self, *failing: Error) -> None:
        self._failing = list(failing)
        self.opened: list[_Stream] = []
        self.is_open = threading.Event()

    def __call__(self, done: Any) -> Call:  # noqa: ANN401
        if self._failing:
            done(None, self._failing.pop(0).fault())
        else:
            self.opened.append(_Stream())
            done(self.opened[-1], None)
            self.is_open.set()
        return Call(Told())


def _asked(collecting: Collecting) -> list[str | None]:
    answers: list[str | None] = []
    collecting.progress(lambda text, _: answers.append(text))
    return answers


def test_a_query_that_is_watched_is_one_call_over_all_its_attempts() -> None:
    """Which fails while it is opened, then while rows are read, and then has them."""
    traffic, streams, told = Traffic(limit=Limit(1, 0), retrying=Retrying(QUICK)), _Streams(BUSY), Told()
    collecting: Any = Collecting(streams)
    assert _asked(collecting) == [None]
    traffic.call(collecting, always)(told)
    assert streams.is_open.wait(60)
    streams.is_open.clear()
    assert _asked(collecting) == ["half"]
    assert waited(traffic.call(Calls())).unwrap_err().kind == "OVERLOADED"
    streams.opened[0].collect.made[0].fail()
    assert _asked(collecting) in ([None], ["half"])
    assert streams.is_open.wait(60)
    streams.opened[1].collect.made[0].succeed()
    assert told.outcomes == ["rows"]
    assert _asked(collecting) == [None]
    assert [stream.closed for stream in streams.opened] == [0, 0]
    traffic.stop()


@pytest.mark.parametrize(("error", "repeatable"), [(WRONG, always), (BUSY, never)])
def test_a_query_that_is_watched_is_made_once_where_that_is_right(error: Error, repeatable: Any) -> None:  # noqa: ANN401
    traffic, streams, told = Traffic(retrying=Retrying(QUICK)), _Streams(), Told()
    collecting: Any = Collecting(streams)
    traffic.call(collecting, repeatable)(told)
    streams.opened[0].collect.made[0].fail(error)
    assert told.outcomes == [error.kind]
    assert len(streams.opened) == 1


@pytest.mark.parametrize("by", ["caller", "client"])
def test_a_query_that_is_watched_ends_with_its_call(by: str) -> None:
    """What it read is closed, since a call that is cancelled in the middle leaves that open."""
    traffic, streams, told = Traffic(), _Streams(), Told()
    collecting: Any = Collecting(streams)
    call = traffic.call(collecting, always)(told)
    call.cancel() if by == "caller" else traffic.stop()
    assert streams.opened[0].collect.made[0].is_cancelled
    assert streams.opened[0].closed == 1
    assert told.outcomes == ([] if by == "caller" else ["CANCELLED"])
    assert _asked(collecting) == [None]


class _Native:
    """Refuses rows once, and would take them then."""

    def __init__(self) -> None:
        self.uploads = 0

    def upload(self, _: object, __: float, done: Any) -> Call:  # noqa: ANN401
        self.uploads += 1
        if self.uploads == 1:
            done(None, BUSY.fault())
        else:
            done(("h_1", 60.0, []), None)
        return Call(Told())


async def test_rows_are_never_sent_again() -> None:
    native: Any = _Native()
    keeper = Keeper(native, Traffic(retrying=Retrying(QUICK)))
    assert waited(partial(keeper.uploading, iter([]), 60.0)).unwrap_err() == BUSY
    assert native.uploads == 1
    other: Any = _Native()
    found = await AsyncKeeper(other, Traffic(retrying=Retrying(QUICK))).upload(iter([]), 60.0)
    assert found.unwrap_err() == BUSY
    assert other.uploads == 1


def test_an_upload_waits_for_its_place() -> None:
    traffic, calls, told = Traffic(limit=Limit(1, 1)), Calls(), Told()
    native: Any = _Native()
    traffic.call(calls)(told)

    def refused(_: Opened | None, fault: Fault | None) -> None:
        told(None, fault)

    Keeper(native, traffic).uploading(iter([]), 60.0, refused)
    assert native.uploads == 0
    calls.made[0].succeed()
    assert native.uploads == 1
    assert told.outcomes == ["rows", "OVERLOADED"]
    assert waited(traffic.call(_now)) == Ok("rows")


def _now(done: Done[str]) -> Call:
    done("rows", None)
    return Call(done)
