"""How names and values are written, read back by Polars' SQL, whose parser is the one that the server has too."""

from __future__ import annotations

import datetime
from decimal import Decimal

import polars
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polarway import sql_text
from strategies import patient

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
tricky = st.text(
    st.sampled_from(["'", '"', "\\", "`", ";", "-", "/", "*", "?", "$", "%", "\n", " ", "é", "a", "A", "."])
)


@patient
@given(st.lists(texts | tricky, min_size=1, max_size=5, unique=True))
def test_any_column_name_round_trips(names: list[str]) -> None:
    listed = ", ".join(f"{place} AS {sql_text.identifier(name)}" for place, name in enumerate(names))
    found = polars.SQLContext().execute(f"SELECT {listed}", eager=True)
    assert found.row(0, named=True) == {name: place for place, name in enumerate(names)}


# Polars takes these for patterns of names, also in quotes; tests/server has them.
plain = (texts | tricky).filter(lambda name: bool(name) and name != "*" and not name.startswith("^"))


@patient
@given(st.lists(plain, min_size=1, max_size=5, unique=True))
def test_any_column_of_a_table_can_be_read(names: list[str]) -> None:
    frame = polars.DataFrame({name: [place] for place, name in enumerate(names)})
    listed = ", ".join(sql_text.identifier(name) for name in reversed(names))
    found = polars.SQLContext(t=frame).execute(f"SELECT {listed} FROM t", eager=True)
    assert found.columns == names[::-1]
    assert found.row(0) == tuple(range(len(names)))[::-1]


@patient
@given(texts | tricky)
def test_any_text_round_trips_and_ends_where_it_ends(value: str) -> None:
    found = polars.SQLContext().execute(f"SELECT {sql_text.literal(value)} AS a, 2 AS b", eager=True)
    assert found.row(0) == (value, 2)


@patient
@given(st.integers(-(2**63) + 1, 2**63 - 1) | st.booleans() | st.none())
def test_whole_numbers_round_trip_whatever_stands_before_them(value: int | None) -> None:
    found = polars.SQLContext().execute(f"SELECT {sql_text.literal(value)} AS a", eager=True)
    assert found.row(0) == (value,)
    assert "--" not in f"1 -{sql_text.literal(value)}"


@patient
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_are_written_with_all_their_digits(value: float) -> None:
    written = sql_text.literal(value)
    assert float(written.strip("()")) == value
    assert "--" not in f"1 -{written}"


@pytest.mark.parametrize("value", ["a\0b", "\0", "\ud800", "a\udfff"])
def test_what_sql_cannot_write_is_refused(value: str) -> None:
    for write in (sql_text.identifier, sql_text.text, sql_text.literal, sql_text.table):
        with pytest.raises(ValueError, match="cannot be written"):
            write(value)


@pytest.mark.parametrize("value", [Decimal("NaN"), Decimal("Infinity"), Decimal("1e100"), 10**100])
def test_numbers_that_no_type_has_are_refused(value: Decimal | int) -> None:
    with pytest.raises(ValueError, match="cannot be written"):
        sql_text.literal(value)


@pytest.mark.parametrize("value", [object(), [1], {"a": 1}, datetime.time(1, tzinfo=datetime.timezone.utc)])
def test_values_without_a_type_are_refused(value: object) -> None:
    with pytest.raises(TypeError, match="cannot be written"):
        sql_text.literal(value)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def test_values_have_the_types_of_parameters() -> None:
    berlin = datetime.timezone(datetime.timedelta(hours=2))
    written = {
        sql_text.literal(value)
        for value in (
            2**64 - 1,
            10**20,
            Decimal("-12.340"),
            float("inf"),
            b"\x00\xff",
            datetime.date(1, 2, 3),
            datetime.datetime(2026, 1, 2, 3, 4, 5, 6),
            datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=berlin),
            datetime.time(1, 2, 3),
            datetime.timedelta(days=-1),
        )
    }
    assert written == {
        "18446744073709551615",
        "CAST('100000000000000000000' AS DECIMAL(21, 0))",
        "CAST('-12.340' AS DECIMAL(5, 3))",
        "CAST('inf' AS DOUBLE)",
        "X'00ff'",
        "DATE '0001-02-03'",
        "arrow_cast('2026-01-02T03:04:05.000006', 'Timestamp(Microsecond, None)')",
        "arrow_cast('2026-01-02T01:04:05+00:00', 'Timestamp(Microsecond, Some(\"UTC\"))')",
        "arrow_cast('01:02:03', 'Time64(Microsecond)')",
        "arrow_cast((-86400000000), 'Duration(Microsecond)')",
    }
