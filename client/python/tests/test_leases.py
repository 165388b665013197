"""When leases are renewed and given up, and in which order they are closed."""

from __future__ import annotations

import gc

from hypothesis import given
from hypothesis import strategies as st

from polarway import Error
from polarway._leases import Lease
from strategies import patient

GONE = Error("NOT_FOUND", "there is no such handle")
AWAY = Error("DRAINING", "nobody is there", is_unavailable=True)


@patient
@given(st.floats(1, 86_400), st.floats(0, 1e6))
def test_a_lease_is_renewed_at_a_third_of_its_time(ttl: float, now: float) -> None:
    lease = Lease("h_1", ttl, now)
    assert abs(lease.due - now - ttl / 3) < 1e-3
    lease.renewed(ttl * 2, now + 1)
    assert lease.ends > lease.due > now + 1


@patient
@given(st.floats(1, 86_400))
def test_errors_are_borne_until_it_has_ended(ttl: float) -> None:
    lease = Lease("h_1", ttl, 0)
    now, attempts = lease.due, 0
    while lease.failed(AWAY, now):
        assert now < lease.due <= now + 1
        now, attempts = max(lease.due, now + ttl / 100), attempts + 1
    assert now >= ttl
    assert attempts >= 6


def test_what_the_server_does_not_have_is_given_up_at_once() -> None:
    assert not Lease("h_1", 60, 0).failed(GONE, 20)


def _ids(leases: list[Lease]) -> list[str]:
    return [lease.id for lease in leases]


def test_a_handle_is_closed_after_those_that_read_it() -> None:
    base = Lease("base", 60, 0)
    middle = Lease("middle", 60, 0, [base])
    top, other = Lease("top", 60, 0, [middle, base]), Lease("other", 60, 0, [base])
    assert _ids(base.close()) == []
    assert base.closed
    assert _ids(middle.close()) == []
    assert _ids(top.close()) == ["top", "middle"]
    assert _ids(other.close()) == ["other", "base"]


def test_a_handle_that_nothing_holds_keeps_no_other_open() -> None:
    base = Lease("base", 60, 0)
    child = Lease("child", 60, 0, [base])
    del child
    gc.collect()
    assert _ids(base.close()) == ["base"]


def test_open_handles_stay_open() -> None:
    base = Lease("base", 60, 0)
    assert _ids(Lease("child", 60, 0, [base]).close()) == ["child"]
    assert not base.closed
