"""Expressions over columns, built in Python and written as SQL: `(col("price") * 2).alias("twice")`.

Their rules are SQL's: a comparison with NULL is NULL, dividing integers gives an integer, aggregates skip NULL. Other
values become literals, also texts: `col("symbol") == "BTC"`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn, TypeAlias

from polarway.sql_text import identifier, literal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from polarway.parameters import Value

Operand: TypeAlias = "Expr | Value"

# Chains of these need no parentheses on their left, and the server's parser limits how deep those may go.
_CHAINED = frozenset({"+", "*", "AND", "OR"})


class Expr:
    """An expression. It never changes; `&`, `|` and `~` are SQL's AND, OR and NOT.

    In Python they bind closer than comparisons: `(col("a") > 1) & (col("b") < 2)`.

    Attributes:
        name: What its column is called in a result: what `alias` said, or else the name of its first column.
        sql: It as SQL, without the name.
    """

    __slots__ = ("_operator", "name", "sql")

    def __init__(self, sql: str, name: str, operator: str = "") -> None:
        self.sql = sql
        self.name = name
        # The one that a whole of several parts is joined by; none for a whole that needs no parentheses.
        self._operator = operator

    def alias(self, name: str) -> Expr:
        """The same under another name."""
        return Expr(self.sql, name, self._operator)

    def cast(self, type_: str) -> Expr:
        """The value as another SQL type, such as `BIGINT` or `DECIMAL(10, 2)`; the type is taken as it is."""
        return self._whole(f"CAST({self.sql} AS {type_})")

    def is_null(self) -> Expr:
        """Whether there is no value."""
        return self._whole(f"({self._part()} IS NULL)")

    def is_not_null(self) -> Expr:
        """Whether there is a value."""
        return self._whole(f"({self._part()} IS NOT NULL)")

    def is_in(self, values: Iterable[Operand]) -> Expr:
        """Whether it is one of these; of none, it never is."""
        listed = ", ".join(_expr(value).sql for value in values)
        return self._whole(f"({self._part()} IN ({listed}))" if listed else "FALSE")

    def sum(self) -> Expr:
        """The sum of all values."""
        return self._whole(f"sum({self.sql})")

    def mean(self) -> Expr:
        """Their average."""
        return self._whole(f"avg({self.sql})")

    def min(self) -> Expr:
        """The least of them."""
        return self._whole(f"min({self.sql})")

    def max(self) -> Expr:
        """The greatest of them."""
        return self._whole(f"max({self.sql})")

    def count(self) -> Expr:
        """How many there are, NULL not counted. All rows: `lit(1).count()`."""
        return self._whole(f"count({self.sql})")

    def n_unique(self) -> Expr:
        """How many different ones there are, NULL not counted."""
        return self._whole(f"count(DISTINCT {self.sql})")

    def __add__(self, other: Operand) -> Expr:
        return self._with("+", other)

    def __radd__(self, other: Operand) -> Expr:
        return self._after("+", other)

    def __sub__(self, other: Operand) -> Expr:
        return self._with("-", other)

    def __rsub__(self, other: Operand) -> Expr:
        return self._after("-", other)

    def __mul__(self, other: Operand) -> Expr:
        return self._with("*", other)

    def __rmul__(self, other: Operand) -> Expr:
        return self._after("*", other)

    def __truediv__(self, other: Operand) -> Expr:
        return self._with("/", other)

    def __rtruediv__(self, other: Operand) -> Expr:
        return self._after("/", other)

    def __mod__(self, other: Operand) -> Expr:
        return self._with("%", other)

    def __rmod__(self, other: Operand) -> Expr:
        return self._after("%", other)

    def __neg__(self) -> Expr:
        return self._whole(f"(- {self._part()})")

    # What these give is an expression and no truth, other than Python has it.
    def __eq__(self, other: Operand) -> Expr:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        return self.is_null() if other is None else self._with("=", other)

    def __ne__(self, other: Operand) -> Expr:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        return self.is_not_null() if other is None else self._with("<>", other)

    __hash__ = None  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]

    def __lt__(self, other: Operand) -> Expr:
        return self._with("<", other)

    def __le__(self, other: Operand) -> Expr:
        return self._with("<=", other)

    def __gt__(self, other: Operand) -> Expr:
        return self._with(">", other)

    def __ge__(self, other: Operand) -> Expr:
        return self._with(">=", other)

    def __and__(self, other: Operand) -> Expr:
        return self._with("AND", other)

    def __rand__(self, other: Operand) -> Expr:
        return self._after("AND", other)

    def __or__(self, other: Operand) -> Expr:
        return self._with("OR", other)

    def __ror__(self, other: Operand) -> Expr:
        return self._after("OR", other)

    def __invert__(self) -> Expr:
        return self._whole(f"(NOT {self._part()})")

    def __bool__(self) -> NoReturn:
        raise TypeError("an expression is neither true nor false: write & for and, | for or, ~ for not")

    def __repr__(self) -> str:
        return f"Expr({self.sql} AS {self.name})"

    def _whole(self, sql: str) -> Expr:
        return Expr(sql, self.name)

    def _part(self) -> str:
        return f"({self.sql})" if self._operator else self.sql

    def _with(self, operator: str, other: Operand) -> Expr:
        left = self.sql if self._operator == operator and operator in _CHAINED else self._part()
        return Expr(f"{left} {operator} {_expr(other)._part()}", self.name, operator)

    def _after(self, operator: str, other: Operand) -> Expr:
        return Expr(f"{_expr(other)._part()} {operator} {self._part()}", self.name, operator)


def col(name: str) -> Expr:
    """A column by its name as it is: quoted, so that case and all signs count.

    >>> col("Price") * 2 > 10
    Expr(("Price" * 2) > 10 AS Price)
    """
    return Expr(identifier(name), name)


def lit(value: Value) -> Expr:
    """A value.

    >>> lit("it's").alias("text")
    Expr('it''s' AS text)
    """
    return Expr(literal(value), "literal")


def _expr(value: Operand) -> Expr:
    return value if isinstance(value, Expr) else lit(value)
