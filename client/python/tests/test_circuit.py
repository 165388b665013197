"""The breaker's decisions against a model that keeps every call in flight."""

from __future__ import annotations

import math

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from polarway.circuit import Admitted, Circuit, CircuitState, Refused

TIMEOUT = 30.0


class CircuitMachine(RuleBasedStateMachine):
    """What a user is promised, told without periods: by what happened to whom, when."""

    calls: Bundle[int] = Bundle("calls")

    @initialize(threshold=st.integers(1, 3))
    def begin(self, threshold: int) -> None:
        self.circuit = Circuit(threshold, TIMEOUT)
        self.threshold = threshold
        self.now = 1000.0
        self.failures = 0
        self.open_until: float | None = None
        self.probe: int | None = None
        # Calls of a time before the last change of state. They may end as they like.
        self.stale: set[int] = set()
        self.live: set[int] = set()

    @rule(seconds=st.sampled_from([1.0, 29.0, 30.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(target=calls)
    def ask(self) -> int | MultipleResults[int]:
        answer = self.circuit.ask(self.now)
        no_call: MultipleResults[int] = multiple()
        if self.open_until is None:
            assert isinstance(answer, Admitted)
            self.live.add(answer.period)
            return answer.period
        if self.now < self.open_until:
            assert answer == Refused(self.open_until - self.now)
            return no_call
        if self.probe is not None:
            assert answer == Refused(TIMEOUT)
            return no_call
        assert isinstance(answer, Admitted)
        assert answer.period not in self.live | self.stale
        self.probe = answer.period
        return answer.period

    def counts(self, call: int) -> bool:
        if self.open_until is not None:
            return call == self.probe
        return call in self.live

    def changes(self) -> None:
        self.stale |= self.live
        if self.probe is not None:
            self.stale.add(self.probe)
        self.live = set()
        self.probe = None

    @rule(call=consumes(calls))
    def succeed(self, call: int) -> None:
        self.circuit.succeeded(call)
        if self.counts(call):
            self.failures = 0
            if self.open_until is not None:
                self.open_until = None
                self.changes()

    @rule(call=consumes(calls))
    def fail(self, call: int) -> None:
        self.circuit.failed(call, self.now)
        if self.counts(call):
            self.failures += 1
            if self.probe is not None or self.failures >= self.threshold:
                self.open_until = self.now + TIMEOUT
                self.changes()

    @rule(call=consumes(calls))
    def abandon(self, call: int) -> None:
        self.circuit.abandoned(call)
        if self.counts(call) and self.probe is not None:
            self.changes()

    @invariant()
    def agrees(self) -> None:
        assert self.circuit.failures == self.failures
        if self.open_until is None:
            expected = CircuitState.CLOSED
        else:
            expected = CircuitState.OPEN if self.now < self.open_until else CircuitState.HALF_OPEN
        assert self.circuit.state(self.now) is expected


def test_row_41_decisions_agree_with_the_model() -> None:
    run_state_machine_as_test(CircuitMachine, settings=settings(max_examples=150, stateful_step_count=40))


def test_row_41_a_call_of_before_that_is_abandoned_keeps_the_probe() -> None:
    circuit = Circuit(1, TIMEOUT)
    before, failing = circuit.ask(0), circuit.ask(0)
    assert isinstance(before, Admitted)
    assert isinstance(failing, Admitted)
    circuit.failed(failing.period, 0)
    probe = circuit.ask(TIMEOUT)
    assert isinstance(probe, Admitted)
    circuit.abandoned(before.period)
    assert circuit.ask(TIMEOUT) == Refused(TIMEOUT)
    circuit.succeeded(probe.period)
    assert circuit.state(TIMEOUT) == "CLOSED"


def test_row_41_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="threshold must be 1 or more, not 0"):
        Circuit(0, 30)
    for timeout in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="timeout must be more than 0 seconds"):
            Circuit(5, timeout)
