"""Frames and Arrow data as they are sent: pandas, Polars, pyarrow, batches."""

from __future__ import annotations

import datetime
import subprocess
import sys
import textwrap
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas
import polars as pl
import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

import uploaded
from polarway import Error
from polarway.uploads import _pandas
from polarway.uploads._frames import arrow_source, polars_source
from polarway.uploads._upload import Stop
from strategies import patient

if TYPE_CHECKING:
    from collections.abc import Iterator

# They tell their types in part only.
pa: Any = pyarrow
pd: Any = pandas

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
moments = st.datetimes(datetime.datetime(1700, 1, 1), datetime.datetime(2200, 12, 31))


def pandas_sent(frame: object, index: bool | None = None) -> uploaded.Sent:
    return uploaded.read(lambda _, stop: _pandas.pandas_source(frame, index, stop))


def arrow_sent(data: object) -> uploaded.Sent:
    return uploaded.read(lambda _, stop: arrow_source(data, stop))


def polars_sent(frame: object) -> uploaded.Sent:
    return uploaded.read(lambda _, stop: polars_source(frame, stop))


def _series(values: list[Any], dtype: object) -> Any:  # noqa: ANN401
    return pd.Series(values, dtype=dtype)


kinds: dict[str, tuple[object, st.SearchStrategy[Any], str]] = {
    "Int64": ("Int64", st.integers(-(2**63), 2**63 - 1), "int64"),
    "UInt8": ("UInt8", st.integers(0, 255), "uint8"),
    "boolean": ("boolean", st.booleans(), "bool"),
    "Float64": ("Float64", st.floats(allow_nan=False), "double"),
    "string": ("string", texts, "large_string"),
    "naive": ("datetime64[us]", moments, "timestamp[us]"),
    "zone": (
        "datetime64[us, Europe/Berlin]",
        moments.map(lambda at: at.replace(tzinfo=datetime.timezone.utc)),
        "timestamp[us, tz=Europe/Berlin]",
    ),
    "duration": ("timedelta64[us]", st.timedeltas(datetime.timedelta(-9999), datetime.timedelta(9999)), "duration[us]"),
    "category": ("category", st.sampled_from(["a", "b", "ü"]), ""),
    "object decimals": (
        object,
        st.decimals(-(10**9), 10**9, places=3),
        "decimal128(38, 3)",
    ),
    "object dates": (object, st.dates(), "date32[day]"),
    "object lists": (
        object,
        st.lists(st.none() | st.integers(0, 9), max_size=3).map(lambda x: [1, *x]),
        "list<item: int64>",
    ),
    "object dicts": (object, st.fixed_dictionaries({"a": st.none() | texts, "b": st.just(1)}), ""),
    "arrow": (pd.ArrowDtype(pa.decimal128(20, 2)), st.decimals(-(10**9), 10**9, places=2), "decimal128(20, 2)"),
}
drawn = st.sampled_from(sorted(kinds)).flatmap(
    lambda kind: st.tuples(st.just(kind), st.lists(st.none() | kinds[kind][1], min_size=1, max_size=12))
)


@patient
@given(drawn, st.integers(1, 5))
def test_row_36_columns_of_pandas_round_trip(column: tuple[str, list[Any]], step: int) -> None:
    kind, values = column
    dtype, _, type_ = kinds[kind]
    before, _pandas._ROWS = _pandas._ROWS, step  # pyright: ignore[reportPrivateUsage]
    try:
        sent = pandas_sent(pd.DataFrame({"value": _series(values, dtype)}))
    finally:
        _pandas._ROWS = before  # pyright: ignore[reportPrivateUsage]
    assert [row["value"] for row in sent.rows] == values
    if type_ and any(value is not None for value in values):
        assert sent.types["value"] == type_
    assert sent.table.schema.metadata is None


def test_row_36_nulls_of_pandas() -> None:
    frame = pd.DataFrame(
        {
            "float": [1.5, float("nan")],
            "object": ["a", float("nan")],
            "na": _series([pd.NA, "b"], object),
            "nat": _series([pd.NaT, datetime.date(2026, 1, 1)], object),
            "all": _series([None, None], object),
            "sparse": _series([1, 0], pd.SparseDtype("int64", 0)),
        }
    )
    assert pandas_sent(frame).rows == [
        {"float": 1.5, "object": "a", "na": None, "nat": None, "all": None, "sparse": 1},
        {"float": None, "object": None, "na": "b", "nat": datetime.date(2026, 1, 1), "all": None, "sparse": 0},
    ]


def test_row_36_categories_stay_a_dictionary() -> None:
    words = pd.Categorical(["b", None, "a"], categories=["b", "a", "unused"], ordered=True)
    sent = pandas_sent(
        pd.DataFrame({"words": words, "numbers": pd.Categorical([3, 1, 3]), "none": pd.Categorical([None] * 3)})
    )
    assert sent.types["words"] == "dictionary<values=large_string, indices=int32, ordered=1>"
    assert sent.table.column("words").chunk(0).dictionary.to_pylist() == ["b", "a", "unused"]
    assert [row["words"] for row in sent.rows] == ["b", None, "a"]
    assert [row["numbers"] for row in sent.rows] == [3, 1, 3]
    assert [row["none"] for row in sent.rows] == [None] * 3


def _names(sent: uploaded.Sent) -> list[str]:
    names: list[str] = sent.table.column_names
    return names


def test_the_index_is_kept_if_it_is_named_or_asked_for() -> None:
    frame = pd.DataFrame({"a": [1, 2], 5: [3, 4]}, index=[7, 8])
    assert _names(pandas_sent(frame)) == ["a", "5"]
    assert pandas_sent(frame, index=True).rows[0] == {"index": 7, "a": 1, "5": 3}
    named = frame.rename_axis("key")
    assert pandas_sent(named).rows[1] == {"key": 8, "a": 2, "5": 4}
    assert _names(pandas_sent(named, index=False)) == ["a", "5"]
    assert pandas_sent(frame.rename(columns={"a": "index"}), index=True).rows[0] == {"level_0": 7, "index": 1, "5": 3}
    several = pd.DataFrame(
        {"v": [1, 2]},
        index=pd.MultiIndex.from_arrays([["x", "y"], pd.to_datetime(["2026-01-01"] * 2)], names=["k", None]),
    )
    assert pandas_sent(several).rows[0] == {"k": "x", "level_1": pd.Timestamp("2026-01-01"), "v": 1}
    grouped = frame.assign(c=pd.Categorical(["p", "q"])).set_index("c")
    assert [row["c"] for row in pandas_sent(grouped).rows] == ["p", "q"]
    with pytest.raises(Error, match="`a` is there twice"):
        pandas_sent(frame.rename_axis("a"))


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "`a` is there twice"),
        (pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_tuples([("a", "b"), ("a", "c")])), "has several names"),
        (
            pd.DataFrame({"mixed": [1, "a", 2]}),
            "the column `mixed` of dtype object cannot be sent: expected int64, found 'a'",
        ),
        (pd.DataFrame({"period": pd.period_range("2026-01", periods=2, freq="M")}), "has no meaning without pandas"),
        (pd.DataFrame({"complex": [1j]}), "the column `complex` of dtype complex128 cannot be sent"),
        (pd.DataFrame(), "has no columns"),
        (pd.Series([1]), "is no DataFrame of pandas"),
        ([1], "is no DataFrame of pandas"),
    ],
)
def test_what_pandas_has_and_tables_have_not(frame: object, message: str) -> None:
    with pytest.raises(Error, match=message):
        pandas_sent(frame)


def test_intervals_are_structs_and_a_frame_without_rows_has_its_types() -> None:
    frame = pd.DataFrame({"i": pd.interval_range(0, 2), "t": pd.to_datetime(["2026-01-01"] * 2, utc=True)})
    assert pandas_sent(frame).rows[0]["i"] == {"left": 0, "right": 1}
    empty = pandas_sent(frame[:0])
    assert (empty.rows, len(empty.types)) == ([], 2)


FRAME = pl.DataFrame(
    {
        "int": [1, None, 3],
        "text": ["a", "ü", None],
        "zone": pl.Series([datetime.datetime(2026, 1, 1), None, None]).dt.replace_time_zone("Europe/Berlin"),
        "decimal": pl.Series([Decimal("1.50"), None, Decimal("-2.25")], dtype=pl.Decimal(20, 2)),
        "list": [[1, None], [], None],
        "struct": [{"a": 1, "b": "x"}, {"a": None, "b": None}, {"a": 2, "b": "y"}],
        "category": pl.Series(["p", None, "q"], dtype=pl.Categorical),
        "enum": pl.Series(["p", None, "q"], dtype=pl.Enum(["q", "p"])),
        "binary": [b"\x00", None, b"b"],
        "duration": [datetime.timedelta(1), None, None],
        "time": [datetime.time(1, 2, 3), None, None],
    }
)


def _back(sent: uploaded.Sent) -> pl.DataFrame:
    return pl.DataFrame(sent.table)


def test_row_36_frames_of_polars_round_trip() -> None:
    for data in (FRAME, FRAME.lazy().filter(pl.lit(value=True)), iter([FRAME[:2], FRAME[2:]])):
        sent = polars_sent(data) if isinstance(data, pl.DataFrame | pl.LazyFrame) else arrow_sent(data)
        assert_frame_equal(_back(sent), FRAME, check_row_order=False)
    assert_frame_equal(_back(polars_sent(FRAME.lazy().filter(pl.col("int") > 5))), FRAME[:0])
    with pytest.raises(Error, match=r"EXECUTION.*division_by_nothing"):
        polars_sent(FRAME.lazy().select("division_by_nothing"))
    for column in (pl.Series([object()], dtype=pl.Object), pl.Series([[2**100]], dtype=pl.List(pl.Int128))):
        for data in (column.to_frame("o"), column.to_frame("o").lazy()):
            with pytest.raises(Error, match=r"the column `o` of dtype .* cannot be sent"):
                polars_sent(data)
    with pytest.raises(Error, match="takes a DataFrame or a LazyFrame"):
        polars_sent([1])


class _Table:
    """Such as our own tables are."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return TABLE.__arrow_c_stream__()


class _Batch:
    """Such as our own batches are."""

    def __arrow_c_array__(self, requested_schema: object | None = None) -> object:
        return TABLE.to_batches()[0].__arrow_c_array__()


TABLE = pa.table(
    {
        "n": [1, None],
        "zone": pa.array([0, None], pa.timestamp("ns", "America/New_York")),
        "decimal": pa.array([Decimal("1.5"), None], pa.decimal128(10, 4)),
        "nested": [[{"a": 1}], None],
        "word": pa.array(["x", None]).dictionary_encode(),
    }
)


def test_row_36_arrow_data_of_all_sorts_is_sent_as_it_is() -> None:
    for data in (
        TABLE,
        TABLE.to_batches()[0],
        TABLE.to_reader(),
        _Table(),
        _Batch(),
        iter(TABLE.to_batches()),
        [_Batch()],
    ):
        assert arrow_sent(data).table.equals(TABLE)
    assert arrow_sent(pd.DataFrame({"a": [1]}).rename_axis("k")).rows == [{"k": 0, "a": 1}]
    assert arrow_sent([TABLE, _Batch(), TABLE[:0]]).table.equals(pa.concat_tables([TABLE, TABLE]))


def test_batches_have_the_columns_of_the_first() -> None:
    first = pa.table({"a": pa.array([1], pa.int32()), "t": ["x"]})
    other = pa.table({"a": pa.array([2], pa.int64()), "t": pa.array(["y"], pa.large_string())})
    assert arrow_sent([first, other]).rows == [{"a": 1, "t": "x"}, {"a": 2, "t": "y"}]
    with pytest.raises(Error, match="not in range"):
        arrow_sent([first, pa.table({"a": [2**40], "t": ["z"]})])
    with pytest.raises(Error, match=r"batch 2 has the columns \['a'\], not \['a', 't'\]"):
        arrow_sent([first, pa.table({"a": [2]})])
    for wrong in (5, "text", {"a": 1}, [{"a": 1}], [1]):
        with pytest.raises(Error, match="is no Arrow data"):
            arrow_sent(wrong)
    with pytest.raises(Error, match="there is no batch"):
        arrow_sent([])
    for column in (pa.array([1]), [pa.array([1])]):
        with pytest.raises(Error, match="this Arrow data is no table"):
            arrow_sent(column)


def test_batches_are_made_as_they_are_sent() -> None:
    made = 0

    def batches() -> Iterator[object]:
        nonlocal made
        for made in range(1, 101):
            yield pa.record_batch({"a": [made]})

    stop = Stop()
    source = arrow_source(batches(), stop).unwrap()
    assert made == 1
    stream: Any = source.stream
    reader = pa.RecordBatchReader.from_stream(stream)
    for _ in range(3):
        reader.read_next_batch()
    assert made == 3
    stop.stop()
    with pytest.raises(pa.ArrowException, match="was cancelled"):
        reader.read_next_batch()
    assert source.error is not None
    assert source.error.kind == "CANCELLED"


def test_a_large_frame_of_pandas_is_never_copied_as_a_whole() -> None:
    frame = pd.DataFrame({f"c{place}": np.arange(400_000, dtype="int64") for place in range(10)})
    frame["text"] = _series(["x" * 100] * 400_000, object)
    stream: Any = _pandas.pandas_source(frame, None, Stop()).unwrap().stream
    reader = pa.RecordBatchReader.from_stream(stream)
    base = pa.total_allocated_bytes()
    most = rows = 0
    for batch in reader:
        rows += batch.num_rows
        most = max(most, pa.total_allocated_bytes() - base)
    assert rows == 400_000
    assert most < 25_000_000


def test_without_pyarrow_it_says_what_is_missing() -> None:
    program = """
        import sys
        sys.modules["pyarrow"] = None
        from polarway.uploading import Uploads
        from polarway.uploads._upload import Stop

        class Prepared(Uploads):
            def _upload(self, upload):
                return upload.and_then(lambda rows: rows.prepared(None, Stop()))

            _ingest = _upload

        class Batch:
            __arrow_c_array__ = None

        class Table:
            def __arrow_c_stream__(self, requested_schema=None):
                return "the capsule"

        rows = Prepared()
        for result in (
            rows.from_records([{"a": 1}]),
            rows.from_json("{}"),
            rows.append("t", [{"a": 1}]),
            rows.from_arrow([Batch()]),
        ):
            print(result.unwrap_err().kind, result.unwrap_err().hint)
        print(rows.from_arrow(Table()).unwrap().stream.__arrow_c_stream__())
    """
    program = textwrap.dedent(program)
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    missing = "CONFIGURATION pip install 'polarway[arrow]'\n"
    assert ended.stdout == missing * 4 + "the capsule\n", ended.stderr
