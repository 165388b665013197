from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polarway import Backoff, Error
from polarway.feeds._retrying import Again, GiveUp, Retrying
from polarway.feeds._silence import Dead, Ping, Silence, Wait

GONE = Error("DRAINING", "gone", is_retryable=True, is_unavailable=True)
REFUSED = Error("PERMISSION_DENIED", "no")

draws = st.floats(0, 1)
counts = st.integers(1, 10_000_000)


def _backoff(first: float, factor: float, more: float) -> Backoff:
    return Backoff(first, factor, first + more)


backoffs = st.builds(
    _backoff,
    st.floats(1e-3, 100),
    st.floats(1, 1e6),
    st.floats(0, 1e6),
)


@given(backoffs, counts, draws)
def test_row_21_a_delay_is_never_above_its_ceiling_and_the_ceiling_never_above_the_cap(
    backoff: Backoff, failures: int, draw: float
) -> None:
    assert 0 <= backoff.delay(failures, draw) <= backoff.ceiling(failures) <= backoff.cap
    assert backoff.delay(failures, 1.0) == backoff.ceiling(failures)


@given(backoffs, counts)
def test_row_21_ceilings_begin_at_the_first_and_never_shrink(backoff: Backoff, failures: int) -> None:
    assert backoff.ceiling(1) == backoff.first
    assert backoff.ceiling(failures) <= backoff.ceiling(failures + 1)
    assert backoff.ceiling(failures + 1) == pytest.approx(min(backoff.cap, backoff.ceiling(failures) * backoff.factor))


@given(backoffs, draws, draws, counts)
def test_row_21_full_jitter_spreads_delays_evenly(backoff: Backoff, one: float, other: float, failures: int) -> None:
    difference = backoff.delay(failures, one) - backoff.delay(failures, other)
    assert difference == pytest.approx((one - other) * backoff.ceiling(failures), abs=1e-6 * backoff.cap)


@pytest.mark.parametrize(
    ("first", "factor", "cap"),
    [(0, 2, 30), (-1, 2, 30), (math.nan, 2, 30), (math.inf, 2, math.inf), (1, 0.5, 30), (1, math.nan, 30), (1, 2, 0.5)],
)
def test_backoffs_out_of_range_are_refused(first: float, factor: float, cap: float) -> None:
    with pytest.raises(ValueError, match="must be"):
        Backoff(first, factor, cap)


@given(st.none() | st.integers(0, 20), st.lists(st.booleans(), max_size=60))
def test_row_21_gives_up_after_more_failures_in_a_row_than_max_retries(
    max_retries: int | None, losses: list[bool]
) -> None:
    retrying = Retrying(Backoff(jitter="none"), max_retries)
    failures = 0
    for lost in losses:
        if not lost:
            retrying.heard()
            failures = 0
            continue
        failures += 1
        step = retrying.lost(GONE, 1.0)
        if max_retries is not None and failures > max_retries:
            assert isinstance(step, GiveUp)
            assert f"after {failures} failures in a row" in step.error.message
            assert step.error.is_unavailable
            return
        assert step == Again(Backoff().ceiling(failures))


def test_what_will_not_get_better_is_not_tried_again() -> None:
    assert Retrying(Backoff(), None).lost(REFUSED, 0.5) == GiveUp(REFUSED)
    with pytest.raises(ValueError, match="max_retries"):
        Retrying(Backoff(), -1)


@given(st.floats(0, 1e9), draws)
def test_a_delay_that_the_server_names_is_kept_within_the_cap(asked: float, draw: float) -> None:
    error = Error("DRAINING", "busy", retry_after=asked, is_retryable=True)
    step = Retrying(Backoff(cap=7), None).lost(error, draw)
    assert isinstance(step, Again)
    assert min(asked, 7) <= step.delay <= 7


def test_silence_is_probed_and_then_judged() -> None:
    silence = Silence(20, 5, None)
    silence.waits(100)
    assert silence.decide(100) == Wait(20)
    assert silence.decide(119) == Wait(1)
    assert silence.decide(120) == Ping()
    silence.pinged(120)
    assert silence.decide(121) == Wait(4)
    silence.answered(122)
    assert silence.decide(125) == Wait(17)
    assert silence.decide(142) == Ping()
    silence.pinged(142)
    assert silence.decide(147) == Dead("no answer to a ping for 5 s")


def test_silence_counts_over_cancelled_waits_and_ends_with_a_message() -> None:
    silence = Silence(None, 5, 30)
    silence.waits(0)
    silence.leaves(29)
    silence.waits(1000)
    assert silence.decide(1000) == Wait(1)
    assert silence.decide(1001) == Dead("no message for 30 s")
    silence.heard()
    silence.waits(1001)
    assert silence.decide(1001) == Wait(30)


def test_without_limits_there_is_nothing_to_do() -> None:
    silence = Silence(None, 5, None)
    assert silence.decide(0) == Wait(None)
    silence.waits(0)
    assert silence.decide(1e9) == Wait(None)


limits = st.none() | st.floats(0.1, 100)
steps = st.lists(st.tuples(st.floats(0, 200), st.sampled_from(["wait", "leave", "hear", "answer"])), max_size=40)


@given(limits, st.floats(0.1, 100), limits, steps)
def test_a_reader_that_does_not_wait_never_makes_a_connection_dead(
    ping_interval: float | None, ping_timeout: float, idle_timeout: float | None, path: list[tuple[float, str]]
) -> None:
    silence = Silence(ping_interval, ping_timeout, idle_timeout)
    now, waiting = 0.0, False
    for passed, event in path:
        now += passed
        step = silence.decide(now)
        assert waiting or isinstance(step, Wait)
        if isinstance(step, Ping):
            silence.pinged(now)
        if isinstance(step, Wait) and step.seconds is not None:
            assert step.seconds > 0
        if event == "answer":
            silence.answered(now)
        elif event == "wait" and not waiting:
            silence.waits(now)
            waiting = True
        elif event == "leave" and waiting:
            silence.leaves(now)
            waiting = False
        elif event == "hear" and waiting:
            silence.heard()
            waiting = False


@pytest.mark.parametrize("numbers", [(0, 1, 1), (1, 0, 1), (1, 1, 0), (math.nan, 1, 1), (None, math.nan, 1)])
def test_silences_out_of_range_are_refused(numbers: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="must be more than 0 seconds"):
        Silence(*numbers)
