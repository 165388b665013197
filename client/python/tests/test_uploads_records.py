"""Rows of Python as Arrow: the same values come back, and those that do not fit are told of, never changed."""

from __future__ import annotations

import datetime
import uuid
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
import pandas
import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st

import uploaded
from polarway import Error
from polarway.uploads import _rows
from polarway.uploads._records import Taking, records_source
from polarway.uploads._upload import Stop
from strategies import patient

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# They tell their types in part only.
pa: Any = pyarrow
pd: Any = pandas

UTC = datetime.timezone.utc
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
moments = st.datetimes(datetime.datetime(1, 1, 1), datetime.datetime(9999, 12, 31))
instants = st.datetimes(datetime.datetime(2, 1, 1), datetime.datetime(9998, 12, 31)).map(
    lambda at: at.replace(tzinfo=ZoneInfo("Europe/Berlin"))
)
decimals = st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**15), max_value=10**15, places=6)
scalars: dict[str, st.SearchStrategy[Any]] = {
    "bool": st.booleans(),
    "int64": st.integers(-(2**63), 2**63 - 1),
    "double": st.floats(allow_nan=False),
    "string": texts,
    "binary": st.binary(max_size=8),
    "decimal128(38, 6)": decimals,
    "timestamp[us]": moments,
    "timestamp[us, tz=Europe/Berlin]": instants,
    "date32[day]": st.dates(),
    "time64[us]": st.times(),
    "duration[us]": st.timedeltas(datetime.timedelta(-(10**8)), datetime.timedelta(10**8)),
}
columns = st.sampled_from(sorted(scalars)).flatmap(
    lambda name: st.tuples(st.just(name), st.lists(st.none() | scalars[name], max_size=20))
)


@patient
@given(columns)
def test_row_36_values_of_each_type_round_trip_with_null(column: tuple[str, list[object]]) -> None:
    type_, values = column
    rows = [{"key": place, "value": value} for place, value in enumerate(values)]
    if not rows:
        return
    sent = uploaded.records(rows)
    assert sent.rows == rows
    assert sent.count == 0
    known = [value for value in values if value is not None]
    assert sent.types["value"] == (type_ if known else "null")


nested: st.SearchStrategy[dict[str, object]] = st.fixed_dictionaries(
    {
        "list": st.none() | st.lists(st.none() | st.integers(-9, 9), max_size=3),
        "struct": st.none() | st.fixed_dictionaries({"a": st.none() | texts, "b": st.lists(st.dates(), max_size=2)}),
        "deep": st.none() | st.lists(st.fixed_dictionaries({"x": st.none() | decimals}), max_size=2),
    }
)


@patient
@given(st.lists(nested, max_size=8))
def test_row_36_nested_values_round_trip(rows: list[dict[str, object]]) -> None:
    full = {"list": [1], "struct": {"a": "", "b": [datetime.date(2026, 1, 1)]}, "deep": [{"x": Decimal("1.000001")}]}
    sent = uploaded.records([full, *rows])
    assert sent.rows == [full, *rows]
    assert sent.types == {
        "list": "list<item: int64>",
        "struct": "struct<a: string, b: list<item: date32[day]>>",
        "deep": "list<item: struct<x: decimal128(38, 6)>>",
    }


any_values = st.none() | st.one_of(*scalars.values()) | st.lists(st.integers(0, 3) | texts, max_size=2)


EMPTY: dict[str, object] = {}


@patient
@given(st.lists(any_values, max_size=30), st.booleans())
def test_rows_that_do_not_fit_are_counted_and_all_others_are_exact(values: list[object], lazily: bool) -> None:
    rows = [{"key": place, "value": value} for place, value in enumerate(values)]
    try:
        sent = uploaded.records(iter(rows) if lazily else rows)
    except Error as error:
        # Lists whose items do not go together.
        assert not values or "none of the" in error.message  # noqa: PT017
        assert not values or any(isinstance(value, list) for value in values)
        return
    bad = {rejected.number - 1 for rejected in sent.rejected}
    assert sent.count == len(bad)
    assert sent.rows == [row | {"value": _widened(row["value"], sent)} for row in rows if row["key"] not in bad]
    assert len(sent.rows) + sent.count == len(rows)


def _widened(value: Any, sent: uploaded.Sent) -> object:  # noqa: ANN401
    """A date among datetimes is its midnight, what has no zone is UTC, and a decimal may be written as a float."""
    type_ = sent.types["value"]
    if type_ == "double" and isinstance(value, Decimal):
        return float(value)
    if type_.startswith("decimal") and isinstance(value, float):
        return Decimal(repr(value))
    if not type_.startswith("timestamp") or not isinstance(value, datetime.date):
        return value
    if not isinstance(value, datetime.datetime):
        value = datetime.datetime(value.year, value.month, value.day)
    if "tz=" in type_:
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    return value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value


@pytest.mark.parametrize(
    ("values", "type_", "fits"),
    [
        ([1, 2, "three"], "int64", 2),
        ([1, 2.5, True], "double", 2),
        ([1, Decimal("2.5")], "decimal128(38, 1)", 2),
        ([1.5, 2**53 + 1], "double", 1),
        ([1.5, 2.5, Decimal("0.1"), Decimal("0.1000000000000000055")], "double", 3),
        ([2**63], "uint64", 1),
        ([-1, 2**64], "decimal128(38, 0)", 2),
        ([10**40], "decimal256(76, 0)", 1),
        ([10**90, None], "decimal256(76, 0)", 1),
        (["a", 1, b"x"], "string", 1),
        ([1, "a", b"x"], "int64", 1),
        ([datetime.date(2026, 1, 1), datetime.datetime(2026, 1, 1)], "date32[day]", 1),
        ([datetime.datetime(2026, 1, 1), datetime.datetime(2026, 1, 1, tzinfo=UTC)], "timestamp[us]", 2),
        ([[1], ["a"], [2]], "list<item: int64>", 2),
        ([{"a": 1}, {"b": "x"}, {"a": "no"}], "struct<a: int64, b: string>", 2),
        ([EMPTY, None], "null", 2),
        ([object(), "a"], "string", 1),
        ([uuid.UUID(int=1)], "string", 1),
        ([np.int8(1), np.uint64(2)], "int64", 2),
        ([np.float32(0.5), np.datetime64("2026-01-01")], "double", 1),
        ([np.array([1, 2]), [3]], "list<item: int64>", 2),
        ([np.datetime64("2026-01-01T00:00:00.000000001"), np.datetime64("NaT")], "timestamp[ns]", 2),
        ([np.timedelta64(5, "s"), np.timedelta64(1, "ns")], "duration[us]", 1),
        ([pd.Timestamp("2026-01-01 00:00:00.000000001"), pd.NaT, pd.NA], "timestamp[ns]", 3),
        (["\ud800", "a"], "string", 1),
        ([Decimal("NaN"), Decimal(1)], "decimal128(38, 0)", 1),
    ],
)
def test_the_most_frequent_type_decides(values: list[object], type_: str, fits: int) -> None:
    sent = uploaded.records([{"value": value, "key": 1} for value in values])
    assert sent.types["value"] == type_
    assert (len(sent.rows), sent.count) == (fits, len(values) - fits)


@dataclass(frozen=True)
class Point:
    x: int
    tags: tuple[str, ...]


class Pair(NamedTuple):
    x: int
    tags: list[str]


def test_dataclasses_named_tuples_and_mappings_are_rows() -> None:
    rows: list[object] = [Point(1, ("a",)), Pair(2, []), MappingProxyType({"x": 3}), {"tags": ["b"]}]
    sent = uploaded.records([*rows, (1, 2), None, Point, {1: 2}, {"x": 1, "z": 2}])
    assert sent.types == {"x": "int64", "tags": "list<item: string>", "z": "int64"}
    assert [row["x"] for row in sent.rows] == [1, 2, 3, None, 1]
    assert [rejected.number for rejected in sent.rejected] == [5, 6, 7, 8]


def test_a_given_schema_decides_and_unknown_columns_do_not_fit() -> None:
    sent = uploaded.records(
        [{"id": 1, "at": "2026-11-30T10:00:00Z", "price": "97123.25"}, {"id": 2, "more": 1}, {"price": 1.5}],
        {"id": "INT UNSIGNED", "at": "TIMESTAMP(6)", "price": "DECIMAL(18, 4)"},
    )
    assert sent.types == {"id": "uint32", "at": "timestamp[us]", "price": "decimal128(18, 4)"}
    assert sent.rows[0] == {"id": 1, "at": datetime.datetime(2026, 11, 30, 10), "price": Decimal("97123.25")}
    assert sent.rows[1]["price"] == Decimal("1.5")
    assert sent.rejected[0].reason == "there is no column `more`"
    strict = pa.schema(
        [pa.field("id", pa.int64(), nullable=False), pa.field("word", pa.dictionary(pa.int8(), pa.string()))]
    )
    sent = uploaded.records([{"id": 1, "word": "a"}, {"word": "b"}, {"id": 3, "word": 4}], strict)
    assert sent.rows == [{"id": 1, "word": "a"}]
    assert [rejected.reason.split(":")[0] for rejected in sent.rejected] == ["column `id`", "column `word`"]
    assert sent.table.schema == strict


@pytest.mark.parametrize(
    ("type_", "good", "bad"),
    [
        (pa.int8(), [127, -128, 1.0], [128, 1.5, "1", True]),
        (pa.float32(), [0.1, 1, float("inf")], [1e39, 2**24 + 1, "1"]),
        (pa.float16(), [0.5], [1e6]),
        (pa.decimal128(5, 2), ["1.50", 999, 0.1, Decimal("1E+2")], ["1.555", 1000, "x", Decimal("NaN")]),
        (pa.string(), ["a"], [1, b"a"]),
        (pa.large_string(), ["a"], [1]),
        (pa.binary(2), [b"ab"], [b"abc", "ab"]),
        (pa.timestamp("ms"), ["2026-01-01 00:00:00.123", datetime.date(2026, 1, 1)], ["2026-01-01T00:00:00.1234", 5]),
        (
            pa.timestamp("ns", "UTC"),
            ["2026-01-01T00:00:00.123456789+02:00"],
            ["2026-13-01", datetime.datetime(1, 1, 1)],
        ),
        (pa.date32(), ["2026-01-31", datetime.date(1, 1, 1)], ["2026-02-30", datetime.datetime(2026, 1, 1), 5]),
        (pa.date64(), ["2026-01-31"], ["20260131"]),
        (pa.time32("s"), ["10:11:12"], ["10:11:12.5", "25:00:00", datetime.time(1, tzinfo=UTC)]),
        (pa.time64("us"), ["10:11", datetime.time(1, 2, 3, 4)], [5]),
        (pa.duration("s"), [datetime.timedelta(days=-1)], [datetime.timedelta(microseconds=1), 5]),
        (pa.list_(pa.int64(), 2), [[1, None]], [[1], "ab", {"a": 1}]),
        (pa.list_(pa.field("item", pa.int64(), nullable=False)), [[1], []], [[None]]),
        (pa.struct([pa.field("a", pa.int64(), nullable=False)]), [{"a": 1}], [{}, {"a": 1, "b": 2}, [1]]),
        (pa.map_(pa.string(), pa.int64()), [{"a": 1}, [("b", None)]], [{1: 1}, [("a", "x")], "ab"]),
        (pa.dictionary(pa.int32(), pa.int64()), [5], ["5"]),
        (pa.bool_(), [True], [1, "true"]),
        (pa.null(), [None], [1]),
    ],
)
def test_nothing_is_stored_as_something_else(type_: object, good: list[object], bad: list[object]) -> None:
    schema = pa.schema([("value", type_)])
    sent = uploaded.records([{"value": value} for value in good], schema)
    assert (len(sent.rows), sent.count) == (len(good), 0)
    mixed = [{"value": value} for value in [*bad, good[0]]]
    sent = uploaded.records(mixed, schema)
    assert (len(sent.rows), sent.count) == (1, len(bad))


def test_what_rejected_rows_are_kept_and_how_errors_end_it() -> None:
    rows = [{"a": 1}] * 3 + [{"a": "x" * 2000}] * 7
    sent = uploaded.records(rows[:3] + rows[:3] + rows[:3] + rows[3:], keep=2)
    assert (sent.count, [rejected.number for rejected in sent.rejected]) == (7, [10, 11])
    assert len(sent.rejected[0].text) == 500
    assert uploaded.records(rows[:3] + rows[3:5], keep=0).rejected == ()
    with pytest.raises(Error, match="row 4 does not fit: column `a`: expected int64, found 'xxx") as caught:
        uploaded.records(rows[:3] + rows[3:5], on_error="fail")
    assert caught.value.kind == "TYPE_MISMATCH"
    with pytest.raises(Error, match="none of the 7 rows fits; the first, row 1: column `a`"):
        uploaded.records(rows[3:], {"a": "BIGINT"})
    with pytest.raises(Error, match="none of the 2 rows fits"):
        uploaded.records([1, 2])
    with pytest.raises(Error, match="there are no rows"):
        uploaded.records([])
    assert uploaded.records([], {"a": "BIGINT"}).types == {"a": "int64"}
    for wrong in ("text", 5, None):
        with pytest.raises(Error, match="is no list of rows"):
            uploaded.records(wrong)
    with pytest.raises(Error, match="on_error"):
        uploaded.records(rows, on_error="ignore")
    with pytest.raises(Error, match="keep_rejected"):
        uploaded.records(rows, keep=-1)


def test_an_iterable_is_read_as_its_rows_are_sent() -> None:
    taken = 0

    def rows() -> Iterator[Mapping[str, object]]:
        nonlocal taken
        for taken in range(1, 1_000_001):
            yield {"a": taken}

    source = records_source(rows(), Taking(None, "quarantine", 1), None, Stop()).unwrap()
    assert taken == _rows.SAMPLE
    stream: Any = source.stream
    reader = pa.RecordBatchReader.from_stream(stream)
    assert reader.read_next_batch().num_rows == _rows.ROWS
    assert taken == _rows.ROWS
    reader.read_next_batch()
    assert taken == 2 * _rows.ROWS


def test_batches_are_bounded_by_bytes() -> None:
    sent = uploaded.records(({"a": "x" * (1 << 20)} for _ in range(30)), {"a": "TEXT"})
    assert {chunk.nbytes >> 20 for chunk in sent.table.column("a").chunks} <= {6, 8}


def test_an_iterable_that_raises_ends_the_upload_with_its_exception_as_cause() -> None:
    def rows(good: int) -> Iterator[object]:
        yield from [{"a": 1}] * good
        raise OSError("the disk is gone")

    with pytest.raises(Error, match="reading the rows raised OSError: the disk is gone") as caught:
        uploaded.records(rows(20_000), {"a": "INT"})
    assert caught.value.kind == "EXECUTION"
    assert isinstance(caught.value.__cause__, OSError)


def test_what_is_nested_too_deep_is_rejected() -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    sent = uploaded.records([{"a": 1}, {"a": 2}, {"a": deep}])
    assert (len(sent.rows), sent.count) == (2, 1)


def test_a_table_that_is_appended_to_tells_the_types() -> None:
    table = pa.schema([("a", pa.int16()), ("b", pa.timestamp("ns", "UTC"))])
    sent = uploaded.records([{"a": 1}, {"a": 70_000}, {"b": "2026-01-01T00:00:00Z"}], of_table=table)
    assert sent.table.schema == table
    assert sent.count == 1
