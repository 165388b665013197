"""What verbs and expressions compute on a server, against Polars and against what was written."""

from __future__ import annotations

import datetime
import decimal
import math
import tempfile
from typing import TYPE_CHECKING, Any, Literal

import polars
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from polarway import PolarwayClient, col, lit, sql_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from polarway import Expr, Handle, Query
    from polarway.joins import How
    from polarway.parameters import Value

# A fixture is made once for all examples of a test, which is as it should be with a connection and a directory.
few = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
tricky = st.text(
    st.sampled_from(["'", '"', "\\", "`", ";", "-", "/", "*", "?", "$", "%", "\n", " ", "é", "a", "A", "."])
)
numbers = st.integers(-3, 3) | st.none()
tables = st.lists(st.tuples(numbers, numbers, st.sampled_from(["x", "it's", "", None])), max_size=12)
Rows = list[tuple[int | None, int | None, str | None]]


def _frame(rows: Rows, names: Sequence[str] = ("a", "B c", "text")) -> polars.DataFrame:
    types = (polars.Int64, polars.Int64, polars.String)
    return polars.DataFrame(rows, schema=dict(zip(names, types, strict=True)), orient="row")


def _handle(client: PolarwayClient, data: Path, frame: polars.DataFrame) -> Handle:
    with tempfile.NamedTemporaryFile(dir=data, suffix=".parquet", delete=False) as file:
        frame.write_parquet(file.name)
    return client.raising.read_parquet(file.name)


def _same(query: Query, expected: polars.DataFrame, *, ordered: bool = False) -> None:
    found = query.collect().unwrap().to_polars()
    assert_frame_equal(found, expected, check_row_order=ordered, check_dtypes=False)
    assert query.count().unwrap() == len(expected)


@few
@given(rows=tables, least=st.integers(-3, 3), among=st.lists(st.integers(-3, 3), max_size=3))
def test_rows_and_columns_are_those_of_polars(
    blocking: PolarwayClient, data: Path, rows: Rows, least: int, among: list[int]
) -> None:
    """Filters, projections, expressions."""
    frame = _frame(rows)
    with _handle(blocking, data, frame) as handle:
        condition = (col("a") >= least) & ~col("B c").is_in(among) | col("text").is_null()
        theirs = (polars.col("a") >= least) & ~polars.col("B c").is_in(among) | polars.col("text").is_null()
        if among:
            _same(handle.filter(condition), frame.filter(theirs))
        columns: dict[str, Expr | Value] = {"B c": col("B c") * 2 - col("a"), "text": 'upper("text")', "one": 1}
        made = handle.with_columns(**columns)
        expected = frame.with_columns(
            (polars.col("B c") * 2 - polars.col("a")).alias("B c"),
            polars.col("text").str.to_uppercase(),
            one=polars.lit(1),
        )
        _same(made, expected)
        _same(
            made.select("a", col("B c").alias("x"), (col("one") + 1)), expected.select("a", x="B c", one=polars.lit(2))
        )
        _same(made.filter(f"a < {least}"), expected.filter(polars.col("a") < least))
        _same(handle.distinct(), frame.unique())


@few
@given(rows=tables, keys=st.sampled_from([("a",), ("text",), ("a", "text"), ()]))
def test_groups_are_those_of_polars(blocking: PolarwayClient, data: Path, rows: Rows, keys: tuple[str, ...]) -> None:
    """All aggregates; sums of nothing are NULL in SQL and 0 in Polars."""
    frame = _frame(rows)
    value = polars.col("B c")
    aggregates = {
        "sum": polars.when(value.count() > 0).then(value.sum()),
        "mean": value.mean(),
        "least": value.min(),
        "most": value.max(),
        "count": value.count(),
        "unique": value.drop_nulls().n_unique(),
        "rows": polars.len(),
    }
    expected = frame.group_by(*keys).agg(**aggregates) if keys else frame.select(**aggregates)
    ours = col("B c")
    with _handle(blocking, data, frame) as handle:
        grouped = handle.group_by(*(col(key) for key in keys)).agg(
            sum=ours.sum(),
            mean=ours.mean(),
            least=ours.min(),
            most='max("B c")',
            count=ours.count(),
            unique=ours.n_unique(),
            rows=lit(1).count(),
        )
        _same(grouped, expected)


@few
@given(left=tables, right=tables, how=st.sampled_from(["inner", "left", "right", "full", "semi", "anti", "cross"]))
def test_joins_are_those_of_polars(blocking: PolarwayClient, data: Path, left: Rows, right: Rows, how: How) -> None:
    """Of each sort, with names that both sides have, and where the client does not know them."""
    one, other = _frame(left), _frame(right)
    with _handle(blocking, data, one) as mine, _handle(blocking, data, other) as theirs:
        if how == "cross":
            _same(mine.join(theirs, how=how), one.join(other, how=how))
            return
        expected = one.join(other, on="a", how=how, coalesce=True)
        if how == "right":
            # Polars puts the key where the other side has it.
            expected = expected.select("a", "B c", "text", "B c_right", "text_right")
        _same(mine.join(theirs, "a", how=how), expected)
        named = theirs.select('a AS k, "B c" AS v')
        if how in {"semi", "anti"}:
            _same(mine.join(named, left_on="a", right_on="k", how=how), expected)
        else:
            known = mine.join(theirs.select("a AS k", '"B c" AS v'), left_on="a", right_on="k", how=how)
            unknown = mine.join(named, left_on="a", right_on="k", how=how)
            assert known.plan.columns == ("a", "B c", "text", "k", "v")
            assert unknown.plan.columns is None
            _same(unknown, known.collect().unwrap().to_polars())


@few
@given(
    rows=tables,
    down=st.booleans(),
    nulls=st.sampled_from(["first", "last"]),
    part=st.tuples(st.integers(0, 6), st.integers(0, 4)),
)
def test_orders_are_those_of_polars(  # noqa: PLR0913 - what Hypothesis gives
    blocking: PolarwayClient,
    data: Path,
    *,
    rows: Rows,
    down: bool,
    nulls: Literal["first", "last"],
    part: tuple[int, int],
) -> None:
    """Also of their first rows only."""
    most, offset = part
    frame = _frame(rows)
    keys = ("a", "B c", "text")
    expected = frame.sort(keys, descending=[down, not down, False], nulls_last=nulls == "last")
    with _handle(blocking, data, frame) as handle:
        ordered = handle.sort("a", col("B c"), "text", descending=[down, not down, False], nulls=nulls)
        _same(ordered, expected, ordered=True)
        _same(ordered.limit(most, offset), expected.slice(offset, most), ordered=True)


@few
@given(names=st.lists(texts | tricky, min_size=1, max_size=5, unique=True))
def test_any_column_name_round_trips(blocking: PolarwayClient, names: list[str]) -> None:
    """Through a handle, and through every verb."""
    listed = ", ".join(f"{place} AS {sql_text.identifier(name)}" for place, name in enumerate(names))
    with blocking.raising.handle(f"SELECT {listed}") as handle:
        assert handle.columns == names
        query = (
            (
                handle.filter(col(names[0]) >= 0)
                .with_columns(**{names[-1]: col(names[-1]) + 1})
                .sort(col(names[0]))
                .limit(1)
                .group_by(*(col(name) for name in names))
                .agg()
                .join(handle.select(*(col(name) for name in names)).distinct(), names[:-1], how="left")
            )
            if len(names) > 1
            else handle.select(col(names[0]))
        )
        assert query.collect().unwrap().columns[: len(names)] == names


@few
@given(
    value=st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats()
    | texts
    | tricky
    | st.binary()
    | st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-(10**30), max_value=10**30)
    | st.dates()
    | st.datetimes()
    | st.datetimes(timezones=st.just(datetime.timezone.utc))
    | st.times()
    | st.timedeltas(min_value=datetime.timedelta(days=-10_000), max_value=datetime.timedelta(days=10_000))
)
def test_any_literal_round_trips(blocking: PolarwayClient, value: Any) -> None:  # noqa: ANN401 - of every type
    """With its type."""
    with blocking.raising.handle("SELECT 1 AS one") as handle:
        [row] = handle.select(lit(value).alias("value"), lit(2).alias("after")).collect().unwrap()
    if isinstance(value, int) and abs(value) >= 2**63:
        value = decimal.Decimal(value) if not 0 <= value < 2**64 else value
    if isinstance(value, float) and math.isnan(value):
        assert math.isnan(row["value"])
    else:
        assert row["value"] == value
        assert type(row["value"]) is type(value)
    assert row["after"] == 2


def test_a_column_that_cannot_be_seen_is_not_there_twice(blocking: PolarwayClient) -> None:
    """The server says so."""
    with blocking.raising.handle("SELECT 1 AS one") as handle:
        seen = handle.select("one + 1 AS one").with_columns(one="one * 2")
        assert seen.collect().unwrap().texts() == [["4"]]
        unseen = handle.select("one, 2 AS two").with_columns(one="one * 2")
        assert unseen.collect().unwrap_err().kind == "PLAN"
        assert handle.select("nope").collect().unwrap_err().kind == "COLUMN_NOT_FOUND"


def test_long_chains_run(blocking: PolarwayClient) -> None:
    """As one flat statement."""
    with blocking.raising.handle("SELECT 1 AS one") as handle:
        query = handle.select("one")
        for _ in range(60):
            query = query.with_columns(one=col("one") + 1).filter(col("one") > 0)
        assert query.collect().unwrap().texts() == [["61"]]
        total = lit(0)
        for n in range(500):
            total = total + n
        assert handle.select(total.alias("n")).collect().unwrap().texts() == [[str(sum(range(500)))]]


@pytest.mark.parametrize("cast", ["BIGINT", "DECIMAL(10, 2)"])
def test_casts(blocking: PolarwayClient, cast: str) -> None:
    """To a type that SQL names."""
    with blocking.raising.handle("SELECT '12' AS text") as handle:
        assert handle.select(col("text").cast(cast)).collect().unwrap().texts()[0][0].startswith("12")
