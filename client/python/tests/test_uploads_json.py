"""JSON in all shapes, whole and broken."""

from __future__ import annotations

import datetime
import json
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

import uploaded
from polarway import Error
from polarway.uploads import _json_text
from strategies import patient

if TYPE_CHECKING:
    from collections.abc import Iterator

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
rows = st.lists(
    st.fixed_dictionaries(
        {
            "n": st.integers(-(2**63), 2**63 - 1),
            "t": st.none() | texts,
            "x": st.lists(st.fixed_dictionaries({"y": st.booleans(), "[{": texts}), max_size=2),
        }
    ),
    min_size=1,
    max_size=8,
)
spaces = st.sampled_from(["", " ", "\n", "\t\r\n  "])


@patient
@given(rows, st.sampled_from(["array", "lines", "indented", "one by one"]), st.booleans(), spaces, st.integers(1, 40))
def test_row_36_json_of_any_shape_round_trips(
    wanted: list[dict[str, object]], shape: str, as_bytes: bool, space: str, piece: int
) -> None:
    wanted[0]["t"] = "a"
    wanted[0]["x"] = [{"y": True, "[{": "}\\"}]
    before = _json_text._PIECE  # pyright: ignore[reportPrivateUsage]
    _json_text._PIECE = piece  # pyright: ignore[reportPrivateUsage]
    try:
        written = {
            "array": space + json.dumps(wanted, ensure_ascii=False, indent=2 if space else None) + space,
            "lines": "\n".join(json.dumps(row) for row in wanted) + space,
            "indented": space + space.join(json.dumps(row, indent=1) + "\n" for row in wanted),
        }
        source: object = [json.dumps(row) for row in wanted]
        if shape in written:
            source = written[shape].encode() if as_bytes else written[shape]
        sent = uploaded.json(source)
    finally:
        _json_text._PIECE = before  # pyright: ignore[reportPrivateUsage]
    assert sent.rows == wanted
    assert sent.count == 0


@patient
@given(st.lists(st.booleans(), min_size=1, max_size=40), st.booleans())
def test_row_36_bad_rows_of_json_are_quarantined_and_counted(good: list[bool], as_bytes: bool) -> None:
    bad = ['{"n": ', "nonsense", "[1, 2", '"text"', "5", '{"n": NaN}', '{"n": "x"}', '{"n": 1, "m": 2}']
    lines = [f'{{"n": {place}}}' if fine else bad[place % len(bad)] for place, fine in enumerate([True, *good])]
    text = "\n".join(lines)
    sent = uploaded.json(text.encode() if as_bytes else text, {"n": "BIGINT"}, keep=1000)
    assert [row["n"] for row in sent.rows] == [place for place, fine in enumerate([True, *good]) if fine]
    assert [rejected.number for rejected in sent.rejected] == [
        place + 1 for place, fine in enumerate([True, *good]) if not fine
    ]
    assert sent.count == good.count(False)


@pytest.mark.parametrize(
    ("source", "numbers", "bad"),
    [
        ('{"n": 1}', [1], 0),
        ('{\n "n": 1\n}', [1], 0),
        ('\ufeff[{"n": 1}, {"n": 2}]', [1, 2], 0),
        (b'\xef\xbb\xbf{"n": 1}\r\n{"n": 2}\r\n\r\n', [1, 2], 0),
        ({"n": 1}, [1], 0),
        ([{"n": 1}, '{"n": 2}\n{"n": 3}', b'[{"n": 4}]', '{"n":', 5, None, [{"n": 6}]], [1, 2, 3, 4], 4),
        ('[{"n": 1}, 2, [3], {"n": NaN}, {"n": 5},, {"n": 7}]', [1, 5, 7], 4),
        ('{"n": 1} more\n{"n": 2}', [2], 1),
        (b'{"n": 1}\n{"n": "\xff"}\n{"n": 3}', [1, 3], 1),
        ("broken\n" + '{"n": 1}\n' * 3, [1, 1, 1], 1),
        ('[{"n": 1}, {"n": ' + "[" * 5 + "]" * 5 + "}]", [1], 1),
    ],
)
def test_shapes(source: object, numbers: list[int], bad: int) -> None:
    sent = uploaded.json(source, {"n": "INT"})
    assert [row["n"] for row in sent.rows] == numbers
    assert sent.count == bad


@pytest.mark.parametrize(
    "text", ['[{"n": 1}', '[{"n": 1} {"n": 2}]', '[{"n": 1}, {"n":]', '[{"n": 1}] x', "[", '{\n"n": 1}\n?']
)
def test_an_array_that_breaks_off_is_an_error(text: str) -> None:
    for source in (text, text.encode(), iter([text])):
        with pytest.raises(Error, match="of JSON cannot be read") as caught:
            uploaded.json(source, {"n": "INT"})
        assert caught.value.kind == "CORRUPT_FILE"
        with pytest.raises(Error):
            uploaded.json(text)


def test_if_no_row_fits_it_is_an_error() -> None:
    with pytest.raises(Error, match="none of the 2 rows fits; the first, row 1: it is no JSON"):
        uploaded.json("a\nb")
    with pytest.raises(Error, match="there are no rows"):
        uploaded.json("")
    with pytest.raises(Error, match="JSON is text"):
        uploaded.json(5)
    with pytest.raises(Error, match="row 2 does not fit"):
        uploaded.json('{"a": 1}\nb', on_error="fail")


def test_types_that_json_does_not_have_are_read_from_texts() -> None:
    sent = uploaded.json(
        '{"at": "2026-11-30T11:00:00+01:00", "day": "2026-11-30", "price": 0.1000000000000000055, "time": "10:00"}',
        {"at": "TIMESTAMPTZ", "day": "DATE", "price": "DECIMAL(30, 19)", "time": "TIME"},
    )
    assert sent.rows[0]["at"].to_pydatetime() == datetime.datetime(2026, 11, 30, 10, tzinfo=datetime.timezone.utc)
    assert sent.rows[0]["price"] == Decimal("0.1000000000000000055")
    assert sent.rows[0]["day"] == datetime.date(2026, 11, 30)


def test_lines_are_read_as_they_are_sent() -> None:
    taken = 0

    def lines() -> Iterator[str]:
        nonlocal taken
        for taken in range(1, 100_001):
            yield f'{{"n": {taken}}}'

    assert len(uploaded.json(lines()).rows) == 100_000
    long = "[" + ",".join(f'{{"n": {number}}}' for number in range(100_000)) + "]"
    assert len(uploaded.json(long).rows) == 100_000
