from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from polarway.kafka_positions import Partition, Positions, Span, Tenure

LOGS = Partition("logs", 0)


def assigned() -> tuple[Positions, Tenure]:
    positions = Positions()
    positions.assign([LOGS])
    tenure = positions.tenure(LOGS)
    assert tenure is not None
    return positions, tenure


def due(positions: Positions) -> dict[Partition, int]:
    return {tenure.partition: offset for tenure, offset in positions.due()}


def test_nothing_is_due_before_it_is_confirmed() -> None:
    positions, tenure = assigned()
    span = tenure.give(10, 19)
    assert due(positions) == {}
    assert positions.confirm([span]) == []
    assert due(positions) == {LOGS: 20}
    positions.committed(positions.due())
    assert due(positions) == {}


def test_a_batch_is_not_committed_before_the_one_that_came_before_it() -> None:
    positions, tenure = assigned()
    first, second, third = (tenure.give(start, start + 4) for start in (0, 5, 10))
    positions.confirm([third])
    positions.confirm([second])
    assert due(positions) == {}
    positions.confirm([first])
    assert due(positions) == {LOGS: 15}


def test_offsets_without_a_record_leave_no_gap() -> None:
    positions, tenure = assigned()
    positions.confirm([tenure.give(3, 5), tenure.give(9, 9)])
    assert due(positions) == {LOGS: 10}


def test_a_confirmation_that_comes_again_or_after_the_tenure_changes_nothing() -> None:
    positions, tenure = assigned()
    span = tenure.give(0, 9)
    positions.confirm([span])
    positions.confirm([span])
    positions.committed(positions.due())
    late = tenure.give(10, 19)
    positions.assign([LOGS])
    assert positions.confirm([late]) == [LOGS]
    assert due(positions) == {}
    # The next one begins at what was committed, and with nothing of what came before.
    again = positions.tenure(LOGS)
    assert again is not None
    positions.confirm([again.give(10, 12)])
    assert due(positions) == {LOGS: 13}
    positions.revoke()
    assert (due(positions), positions.partitions) == ({}, ())


@given(st.data())
def test_an_offset_is_due_when_all_records_before_it_are_confirmed(data: st.DataObject) -> None:
    positions, tenure = assigned()
    spans: list[Span] = []
    records: set[int] = set()
    offset = data.draw(st.integers(0, 5))
    confirmed: set[int] = set()
    for _ in range(data.draw(st.integers(1, 12))):
        size = data.draw(st.integers(1, 4))
        spans.append(tenure.give(offset, offset + size - 1))
        records |= set(range(offset, offset + size))
        offset += size + data.draw(st.integers(0, 2))
    left = data.draw(st.permutations(spans))
    for span in left:
        positions.confirm([span])
        confirmed |= records & set(range(span.start, span.end))
        missing = records - confirmed
        told = due(positions).get(LOGS, min(records))
        assert all(record in confirmed for record in records if record < told)
        # And no later than it can be: only a gap holds it up.
        assert not missing or told <= min(missing)
        assert told > max((record for record in records if record < min(missing, default=offset)), default=-1)
        if data.draw(st.booleans()):
            positions.committed(positions.due())
            tenure.committed = min(records)
