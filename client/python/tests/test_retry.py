"""When calls are made again: against a clock that the test moves."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from native_calls import BUSY, WRONG, Calls, Time, Told
from polarway import Error, Retry
from polarway._budget import WINDOW, Budget
from polarway._operation import Operation, Way
from polarway._repeatable import always, changes_nothing
from polarway._retrying import Retrying
from strategies import patient

draws = st.floats(0, 1)


def _policy(attempts: int, budget: float, reserve: int, delay: float, more: float) -> Retry:
    return Retry(attempts, budget, reserve, delay, delay + more)


policies = st.builds(
    _policy,
    st.integers(1, 8),
    st.floats(0, 1),
    st.integers(1, 20),
    st.floats(0.001, 10),
    st.floats(0, 100),
)
# Seconds that pass, then a call (True) or a wish for a retry.
events = st.lists(st.tuples(st.floats(0, 30), st.booleans()), max_size=200)


@patient
@given(st.floats(0, 1), st.integers(1, 20), events)
def test_the_budget_is_never_exceeded_in_any_span(ratio: float, reserve: int, events: list[tuple[float, bool]]) -> None:
    budget, now = Budget(ratio, reserve, 0.0), 0.0
    happened: list[tuple[float, bool]] = []
    for passed, is_call in events:
        now += passed
        if is_call:
            budget.called(now)
        if is_call or budget.spend(now):
            happened.append((now, is_call))
    # Of every span that begins with an event, to its end: the worst ones.
    for first, (began, _) in enumerate(happened):
        calls = retries = 0
        for at, is_call in happened[first:]:
            calls += is_call
            retries += not is_call
            allowed = reserve + reserve * (at - began) / WINDOW + ratio * calls
            assert retries <= allowed + 1e-6


def test_a_cluster_that_fails_altogether_gets_a_fifth_more() -> None:
    time, calls, told = Time(), Calls(), Told()
    way = Way(time, retrying=Retrying(Retry(), time.clock, lambda: 0.5))
    for _ in range(1000):
        Operation(way, calls, told, always, lambda _: None).begin()
        while len(calls.made) > len(told.outcomes) or time.waiting():
            before = len(told.outcomes)
            calls.made[-1].fail()
            if len(told.outcomes) > before:
                break
            time.go_on(time.waiting()[0])
    assert told.outcomes == ["OVERLOADED"] * 1000
    assert 1200 <= len(calls.made) <= 1210 + time.now / 6


@patient
@given(policies, st.lists(draws, min_size=10, max_size=10), st.floats(0, 200))
def test_attempts_and_delays_are_bounded(policy: Retry, luck: list[float], asked: float) -> None:
    time, calls, told = Time(), Calls(), Told()
    lucky = iter(luck)
    way = Way(time, retrying=Retrying(policy, time.clock, lambda: next(lucky)))
    Operation(way, calls, told, always, lambda _: None).begin()
    error = Error("OVERLOADED", "busy", retry_after=asked, is_retryable=True)
    ceiling = policy.delay
    while not told.outcomes:
        calls.made[-1].fail(error)
        for pause in time.waiting():
            assert asked - 1e-9 <= pause <= max(asked, ceiling) + 1e-9
            assert pause <= policy.cap + 1e-9
        ceiling = min(policy.cap, ceiling * 2)
        time.go_on(policy.cap)
    assert told.outcomes == ["OVERLOADED"]
    assert len(calls.made) <= policy.attempts
    if asked > policy.cap:
        assert len(calls.made) == 1
    else:
        assert len(calls.made) >= min(policy.attempts, 1 + policy.reserve)


def _made(error: Error, *, repeatable: bool = True, policy: Retry | None = None) -> int:
    """How often a call is made that always fails."""
    time, calls, told = Time(), Calls(), Told()
    way = Way(time, retrying=Retrying(policy or Retry(), time.clock, lambda: 1.0))
    Operation(way, calls, told, lambda: repeatable, lambda _: None).begin()
    while not told.outcomes:
        calls.made[-1].fail(error)
        time.go_on(100)
    assert told.outcomes == [error.kind]
    return len(calls.made)


def test_only_what_may_succeed_and_may_be_repeated_is_made_again() -> None:
    assert _made(BUSY) == 4
    assert _made(BUSY, policy=Retry(attempts=1)) == 1
    assert _made(WRONG) == 1
    assert _made(BUSY, repeatable=False) == 1
    assert _made(Error("OVERLOADED", "busy", retry_after=5.5, is_retryable=True)) == 1
    assert _made(Error("OVERLOADED", "busy", retry_after=4.5, is_retryable=True)) == 4


def test_a_call_that_succeeds_later_has_succeeded() -> None:
    time, calls, told = Time(), Calls(), Told()
    way = Way(time, retrying=Retrying(Retry(), time.clock, lambda: 1.0))
    Operation(way, calls, told, always, lambda _: None).begin()
    calls.made[0].fail()
    assert time.waiting() == [pytest.approx(0.1)]
    time.go_on(0.05)
    assert len(calls.made) == 1
    time.go_on(0.06)
    calls.made[1].succeed("late")
    # What comes of an attempt that is over is nobody's business.
    calls.made[0].succeed("never")
    assert told.outcomes == ["late"]


def test_a_call_that_is_cancelled_between_attempts_is_made_no_more() -> None:
    time, calls, told = Time(), Calls(), Told()
    way = Way(time, retrying=Retrying(Retry(), time.clock))
    operation = Operation(way, calls, told, always, lambda _: None)
    operation.begin()
    calls.made[0].fail()
    operation.cancel()
    assert time.waiting() == []
    time.go_on(100)
    assert (len(calls.made), told.outcomes) == (1, [])


@pytest.mark.parametrize(
    "wrong",
    [
        {"attempts": 0},
        {"budget": -0.1},
        {"budget": 1.5},
        {"budget": math.nan},
        {"reserve": 0},
        {"delay": 0.0},
        {"delay": math.nan},
        {"delay": 2.0, "cap": 1.0},
        {"cap": math.inf},
    ],
)
def test_policies_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Retry(**wrong)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1",
        "  (select 1) UNION (select 2)",
        "-- a note\n/* and\nanother */ SELECT 1",
        "WITH a AS (SELECT 1) SELECT * FROM a",
        "SELECT 'it''s an INSERT', \"DELETE\" FROM t -- DROP",
        "SHOW TABLES",
        "DESCRIBE t",
        "EXPLAIN ANALYZE SELECT 1",
        "VALUES (1)",
        "TABLE t",
        "SELECT updated, inserted_at FROM t WHERE a = $1 AND b = $2",
    ],
)
def test_queries_change_nothing(sql: str) -> None:
    assert changes_nothing(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "",
        "SET polarway.timeout = '1s'",
        "CREATE VIEW v AS SELECT 1",
        "DROP TABLE t",
        "INSERT INTO t SELECT 1",
        "WITH a AS (SELECT 1) INSERT INTO t SELECT * FROM a",
        "EXPLAIN ANALYZE INSERT INTO t VALUES (1)",
        "SELECT * INTO u FROM t",
        "SELECTION",
        "/* /* */ SELECT */ DROP TABLE t",
        # Text and code as other dialects tell them apart.
        "SELECT E'\\'', x INTO t FROM u WHERE y = ''",
        "SELECT `it's` INTO t FROM u WHERE y = ''",
        "SELECT $a$'$a$ INTO t FROM u WHERE y = ''",
    ],
)
def test_whatever_else_counts_as_a_change(sql: str) -> None:
    assert not changes_nothing(sql)


@patient
@given(st.text(st.sampled_from("'\"-/*\n ($`\\Sx"), max_size=30), st.sampled_from(["INTO", "INSERT", "drop"]))
def test_a_change_in_plain_sight_is_seen(text: str, word: str) -> None:
    """Before anything that could quote it."""
    assert not changes_nothing(f"SELECT 1 {word} {text}")
