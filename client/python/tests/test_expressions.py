"""Expressions: what their SQL computes, by Polars' SQL against Polars' own expressions."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import polars
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polarway import Expr, col, lit
from strategies import patient

if TYPE_CHECKING:
    from collections.abc import Callable

FRAME = polars.DataFrame({"a": [1, -2, 3, None], "B c": [4, 5, None, -7]})
ARITHMETIC: list[Callable[[Any, Any], Any]] = [operator.add, operator.sub, operator.mul]
COMPARISONS: list[Callable[[Any, Any], Any]] = [
    operator.eq,
    operator.ne,
    operator.lt,
    operator.le,
    operator.gt,
    operator.ge,
]
LOGIC: list[Callable[[Any, Any], Any]] = [lambda x, y: x & y, lambda x, y: x | y]

# An expression of ours beside the one of Polars that means the same.
Both = tuple[Expr, polars.Expr]


def _joined(operators: list[Callable[[Any, Any], Any]], parts: st.SearchStrategy[Both]) -> st.SearchStrategy[Both]:
    def both(f: Callable[[Any, Any], Any], x: Both, y: Both) -> Both:
        return f(x[0], y[0]), f(x[1], y[1])

    return st.builds(both, st.sampled_from(operators), parts, parts)


columns: st.SearchStrategy[Both] = st.sampled_from([(col(name), polars.col(name)) for name in FRAME.columns])
literals: st.SearchStrategy[Both] = st.integers(-9, 9).map(lambda n: (lit(n), polars.lit(n, polars.Int64)))
numbers = st.recursive(columns | literals, lambda parts: _joined(ARITHMETIC, parts), max_leaves=8)
truths = st.recursive(
    _joined(COMPARISONS, numbers),
    lambda parts: _joined(LOGIC, parts) | parts.map(lambda both: (~both[0], ~both[1])),
    max_leaves=8,
)


def _computed(expression: Expr) -> list[Any]:
    found = polars.SQLContext(t=FRAME).execute(f"SELECT {expression.sql} AS x, a FROM t", eager=True)
    return found["x"].to_list()


@patient
@given(numbers | truths)
def test_sql_computes_what_the_operators_say(both: Both) -> None:
    ours, theirs = both
    assert _computed(ours) == FRAME.select(x=theirs, a="a")["x"].to_list()


def test_chains_stay_flat() -> None:
    total, either = col("a"), col("a") == 0
    for n in range(1, 500):
        total = total + n
        either |= col("a") == n
    assert "((" not in total.sql
    assert _computed(total)[0] == 1 + sum(range(500))
    assert either.sql.count("((") == 0


@pytest.mark.parametrize(
    ("expression", "sql"),
    [
        (col("a") - (col("a") - 1), '"a" - ("a" - 1)'),
        (col("a") - 1 - 2, '("a" - 1) - 2'),
        (1 - col("a"), '1 - "a"'),
        (2 * col("a") / 3 % 4, '((2 * "a") / 3) % 4'),
        (8 / col("a"), '8 / "a"'),
        (8 % col("a"), '8 % "a"'),
        (8 + -col("a"), '8 + (- "a")'),
        (-lit(-1), "(- (-1))"),
        (True & (col("a") > 1), 'TRUE AND ("a" > 1)'),
        (True | (col("a") > 1), 'TRUE OR ("a" > 1)'),
        (col("a") == None, '("a" IS NULL)'),  # noqa: E711
        (col("a") != None, '("a" IS NOT NULL)'),  # noqa: E711
        ((col("a") + 1).is_null(), '(("a" + 1) IS NULL)'),
        (col("a").is_in([1, "it's", None]), "(\"a\" IN (1, 'it''s', NULL))"),
        (col("a").is_in([]), "FALSE"),
        ((col("a") * 2).sum(), 'sum("a" * 2)'),
        (col("a").mean(), 'avg("a")'),
        (col("a").min(), 'min("a")'),
        (col("a").max(), 'max("a")'),
        (col("a").count(), 'count("a")'),
        (col("a").n_unique(), 'count(DISTINCT "a")'),
        (col("a").cast("BIGINT"), 'CAST("a" AS BIGINT)'),
    ],
)
def test_each_writes_its_sql(expression: Expr, sql: str) -> None:
    assert expression.sql == sql
    assert expression.name in {"a", "literal"}


def test_an_alias_is_the_name() -> None:
    assert (col("a") + 1).name == "a"
    assert (col("a") + 1).alias("b").name == "b"
    # Its parts are the same.
    assert ((col("a") + 1).alias("b") * 2).sql == '("a" + 1) * 2'


def test_an_expression_is_no_truth() -> None:
    with pytest.raises(TypeError, match="neither true nor false"):
        bool(col("a") == 1)
    with pytest.raises(TypeError, match="cannot be written"):
        lit(object())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="NUL"):
        col("\0")
