from __future__ import annotations

import datetime
import decimal
import json
import types
import uuid
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polarway.live_encoding import Payload, Pending, RowError, fitting, lines

names = st.text(max_size=4) | st.sampled_from(["},{", "}\n{", '"},{"'])
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | names,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)
rows: st.SearchStrategy[list[dict[str, Any]]] = st.lists(st.dictionaries(names, values, max_size=3), max_size=6)


@given(rows)
def test_lines_hold_the_rows_one_each(rows: list[dict[str, Any]]) -> None:
    text = lines(rows)
    assert text.isascii()
    read = [json.loads(line) for line in text.split("\n")] if text else []
    assert read == rows


@given(st.lists(rows.filter(bool), min_size=1, max_size=5), st.integers(1, 80), st.integers(1, 8))
def test_frames_hold_all_rows_in_order_within_their_bounds(
    pushes: list[list[dict[str, Any]]], limit: int, most: int
) -> None:
    pending = Pending(most, limit)
    frames: list[Payload] = []

    def close() -> None:
        if pending.rows:
            frames.append(pending.take())

    for pushed in pushes:
        for payload in fitting(lines(pushed), len(pushed), limit):
            if not pending.has_room_for(payload):
                close()
            pending.add(payload)
            if pending.is_full:
                close()
    close()
    read = [[json.loads(line) for line in frame.text.split("\n")] for frame in frames]
    assert [len(part) for part in read] == [frame.rows for frame in frames]
    assert [row for part in read for row in part] == [row for pushed in pushes for row in pushed]
    for frame in frames:
        assert len(frame.text) <= limit or frame.rows == 1


def test_values_are_written_as_the_server_takes_them() -> None:
    zone = datetime.timezone(datetime.timedelta(hours=2))
    row = {
        "none": None,
        "date": datetime.date(2026, 11, 25),
        "naive": datetime.datetime(2026, 11, 25, 10, 0, 0, 5),
        "aware": datetime.datetime(2026, 11, 25, 10, tzinfo=zone),
        "decimal": decimal.Decimal("97123.250000000000000001"),
        "uuid": uuid.UUID(int=1),
        "int": np.int64(7),
        "float": np.float32(0.5),
        "text": "µ",
    }
    assert json.loads(lines([row])) == {
        "none": None,
        "date": "2026-11-25",
        "naive": "2026-11-25T10:00:00.000005",
        "aware": "2026-11-25T10:00:00+02:00",
        "decimal": "97123.250000000000000001",
        "uuid": "00000000-0000-0000-0000-000000000001",
        "int": 7,
        "float": 0.5,
        "text": "µ",
    }
    assert (
        lines([types.MappingProxyType({"a": 1}), {"b": types.MappingProxyType({"c": 2})}]) == '{"a":1}\n{"b":{"c":2}}'
    )


def test_what_is_no_json_is_alone_in_its_line() -> None:
    assert lines([{"v": 1.0}, {"v": float("nan")}, {"v": 2.0}]) == '{"v":1.0}\n{"v":NaN}\n{"v":2.0}'


def test_a_row_that_cannot_be_written_is_named() -> None:
    circle: dict[str, object] = {}
    circle["self"] = circle
    for bad, reason in [({"v": {1}}, "type set"), ({("a",): 1}, "keys must be"), (circle, "ircular")]:
        with pytest.raises(RowError, match=reason) as caught:
            lines([{"v": 1}, {"v": 2}, bad])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
        assert caught.value.index == 2
    for bad_row in ("text", 7, [{"a": 1}, {"a": 2}]):
        with pytest.raises(RowError, match="has to be a mapping"):
            lines([bad_row])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]


def test_a_row_that_no_server_takes_is_refused() -> None:
    text = lines([{"v": 1}, {"v": "x" * (16 << 20)}])
    with pytest.raises(RowError, match="at most 16777216") as caught:
        list(fitting(text, 2, 1024))
    assert caught.value.index == 1
