"""Steps and the SQL that they become, run by Polars' SQL where it has what the server has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polarway import col, lit, plans
from polarway.joins import Keys, join
from strategies import patient

if TYPE_CHECKING:
    from polarway.joins import How, Names
    from polarway.plans import Plan

T = plans.table("t", ["a", "b"])
U = plans.table("u", ["a", "b", "c"])
UNKNOWN = plans.table("v")


@pytest.mark.parametrize(
    ("plan", "sql"),
    [
        (T, "SELECT * FROM t"),
        (plans.select(T, ["a", col("b") + 1, "a * 2 AS x"]), 'SELECT a, "b" + 1 AS "b", a * 2 AS x FROM t'),
        (plans.where(T, "a > 1"), "SELECT * FROM t WHERE a > 1"),
        (plans.with_columns(T, {"b": "a", "c": 1, "d": col("a")}), 'SELECT "a", a AS "b", 1 AS "c", "a" AS "d" FROM t'),
        (plans.with_columns(UNKNOWN, {"b": "a"}), 'SELECT *, a AS "b" FROM v'),
        (plans.aggregate(T, [], {"n": "count(*)"}), 'SELECT count(*) AS "n" FROM t'),
        (
            plans.aggregate(T, ["a", col("b") % 2], {"n": lit(1).count()}),
            'SELECT a, "b" % 2 AS "b", count(1) AS "n" FROM t GROUP BY 1, 2',
        ),
        (
            plans.sort(T, ["a", col("b")], [True, False], "last"),
            'SELECT * FROM t ORDER BY a DESC NULLS LAST, "b" NULLS LAST',
        ),
        (plans.sort(T, [lit(1)], descending=False, nulls=None), "SELECT * FROM t ORDER BY (1)"),
        (plans.limit(T, 5, 0), "SELECT * FROM t LIMIT 5"),
        (
            plans.limit(plans.sort(T, ["a"], descending=True, nulls=None), 5, 2),
            "SELECT * FROM t ORDER BY a DESC LIMIT 5 OFFSET 2",
        ),
        (plans.distinct(T), "SELECT DISTINCT * FROM t"),
        (plans.count(plans.distinct(T)), "WITH _1 AS (SELECT DISTINCT * FROM t) SELECT count(*) AS rows FROM _1"),
        (
            join(T, U, "inner", Keys.of("inner", "a", None, None), "_right"),
            'SELECT l."a" AS "a", l."b" AS "b", r."b" AS "b_right", r."c" AS "c" '
            'FROM t AS l INNER JOIN u AS r ON l."a" = r."a"',
        ),
        (
            join(T, UNKNOWN, "full", Keys.of("full", ["a"], None, None), "_right"),
            'SELECT coalesce(l."a", r."a") AS "a", l."b" AS "b", r.* EXCLUDE ("a") '
            'FROM t AS l FULL JOIN v AS r ON l."a" = r."a"',
        ),
        (
            join(T, U, "right", Keys.of("right", None, "a", "c"), "2"),
            'SELECT l."a" AS "a", l."b" AS "b", r."a" AS "a2", r."b" AS "b2", r."c" AS "c" '
            'FROM t AS l RIGHT JOIN u AS r ON l."a" = r."c"',
        ),
        (
            join(T, U, "anti", Keys.of("anti", ["a", "b"], None, None), ""),
            'SELECT l.* FROM t AS l LEFT ANTI JOIN u AS r ON l."a" = r."a" AND l."b" = r."b"',
        ),
        (
            join(T, plans.table("w", ["x"]), "cross", Keys.of("cross", None, None, None), ""),
            'SELECT l."a" AS "a", l."b" AS "b", r."x" AS "x" FROM t AS l CROSS JOIN w AS r',
        ),
    ],
)
def test_each_step_is_one_select(plan: Plan, sql: str) -> None:
    assert plans.to_sql(plan) == sql


def test_a_step_that_is_used_twice_stands_once() -> None:
    few = plans.where(T, "a > 1")
    both = join(few, few, "inner", Keys.of("inner", "a", None, None), "_right")
    assert plans.to_sql(both) == (
        "WITH _1 AS (SELECT * FROM t WHERE a > 1) "
        'SELECT l."a" AS "a", l."b" AS "b", r."b" AS "b_right" FROM _1 AS l INNER JOIN _1 AS r ON l."a" = r."a"'
    )


def test_many_steps_are_flat() -> None:
    plan = T
    for n in range(3000):
        plan = plans.where(plan, f"a <> {n}")
    sql = plans.to_sql(plan)
    assert sql.count("(") == 2999
    assert "((" not in sql


@pytest.mark.parametrize(
    ("item", "columns"),
    [
        ("a", ("a",)),
        ("A", ("a",)),
        ('"A ""x"""', ('A "x"',)),
        ("a + 1 AS X", ("x",)),
        ('a as "X"', ("X",)),
        ("*", ("a", "b")),
        ("a + 1", None),
        ("a, b AS c", None),
        ("CAST(a AS INT)", None),
        (col("A b"), ("A b",)),
    ],
)
def test_names_are_known_where_they_are_plain_to_see(item: str, columns: tuple[str, ...] | None) -> None:
    assert plans.select(T, [item]).columns == columns
    assert plans.aggregate(T, [item], {"n": "count(*)"}).columns == (None if columns is None else (*columns, "n"))


def test_what_makes_no_sense_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="needs a column"):
        plans.select(T, [])
    with pytest.raises(ValueError, match="needs a column"):
        plans.with_columns(T, {})
    with pytest.raises(ValueError, match="a key or a column"):
        plans.aggregate(T, [], {})
    with pytest.raises(ValueError, match="needs a key"):
        plans.sort(T, [], descending=False, nulls=None)
    with pytest.raises(ValueError, match="2 values"):
        plans.sort(T, ["a"], [True, False], None)
    with pytest.raises(ValueError, match="nulls"):
        plans.sort(T, ["a"], descending=False, nulls="low; DROP TABLE t")
    with pytest.raises(ValueError, match="count rows"):
        plans.limit(T, -1, 0)
    bad: list[tuple[How, Names | None, Names | None, Names | None]] = [
        ("inner", None, None, None),
        ("inner", "a", "a", None),
        ("inner", None, "a", None),
        ("left", None, ["a", "b"], "a"),
        ("cross", "a", None, None),
    ]
    for how, on, left, right in bad:
        with pytest.raises(ValueError, match="join"):
            Keys.of(how, on, left, right)
    with pytest.raises(ValueError, match="how is one of"):
        Keys.of("nearest", "a", None, None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


rows = st.lists(st.tuples(st.integers(-3, 3) | st.none(), st.integers(-3, 3) | st.none()), max_size=8)


def _frame(found: list[tuple[int | None, int | None]]) -> polars.DataFrame:
    return polars.DataFrame(found, schema={"a": polars.Int64, "b": polars.Int64}, orient="row")


@patient
@given(rows, st.integers(-3, 3), st.integers(0, 5))
def test_steps_compute_what_they_say(found: list[tuple[int | None, int | None]], least: int, most: int) -> None:
    frame = _frame(found)
    plan = plans.with_columns(plans.where(T, col("a") >= least), {"b": col("b") * 2, "c": col("a") + col("b")})
    plan = plans.limit(plans.sort(plan, ["a", "b", "c"], descending=True, nulls="last"), most, 0)
    expected = (
        frame.filter(polars.col("a") >= least)
        .with_columns(b=polars.col("b") * 2, c=polars.col("a") + polars.col("b"))
        .sort("a", "b", "c", descending=True, nulls_last=True)
        .limit(most)
    )
    assert polars.SQLContext(t=frame).execute(plans.to_sql(plan), eager=True).equals(expected)
