"""The verbs that handles and queries have: each gives a query, and runs nothing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Generic, Literal, TypeVar

from polarway import joins, plans

if TYPE_CHECKING:
    from collections.abc import Sequence

    from polarway.expressions import Expr
    from polarway.joins import How, Names
    from polarway.parameters import Value
    from polarway.plans import Column, Plan

Q_co = TypeVar("Q_co", covariant=True)


class Verbs(ABC, Generic[Q_co]):
    """What rows can be made of, in steps that the server runs as one statement.

    A text that stands for a column or a condition is SQL, and taken as it is: `"price * 2 AS twice"`. Never put a value
    into it that somebody else gave: `col` and `lit` quote names and values.
    """

    __slots__ = ()

    @property
    @abstractmethod
    def plan(self) -> Plan:
        """The steps so far."""

    @abstractmethod
    def _query(self, plan: Plan) -> Q_co: ...

    def to_sql(self) -> str:
        """The statement that gives the rows."""
        return plans.to_sql(self.plan)

    def select(self, *columns: Column) -> Q_co:
        """These columns and expressions only."""
        return self._query(plans.select(self.plan, columns))

    def filter(self, condition: Column) -> Q_co:
        """The rows for which the condition is true; not those for which it is NULL."""
        return self._query(plans.where(self.plan, condition))

    def with_columns(self, **columns: Expr | Value) -> Q_co:
        """All columns, with these in place of those of their names or after them.

        A text is SQL, any other value a literal. After a `select` of texts whose names cannot be seen, a column that is
        there already is an error of kind `PLAN`.
        """
        return self._query(plans.with_columns(self.plan, columns))

    def group_by(self, *keys: Column) -> Grouped[Q_co]:
        """Groups of rows that have equal keys, for `agg`; without keys, one group of all rows."""
        return Grouped(self, keys)

    def join(  # noqa: PLR0913 - what a join is made of
        self,
        other: Verbs[object],
        on: Names | None = None,
        *,
        left_on: Names | None = None,
        right_on: Names | None = None,
        how: How = "inner",
        suffix: str = "_right",
    ) -> Q_co:
        """The rows of both that have equal keys, side by side.

        Keys are names of columns as they are. Those of `on` come first, once; then the other columns of this side,
        then those of the other, with the suffix where their names are taken. With `left_on` and `right_on` all
        columns of both sides are there. `semi` and `anti` give the rows of this side that have, or do not have, one
        in the other.
        """
        keys = joins.Keys.of(how, on, left_on, right_on)
        return self._query(joins.join(self.plan, other.plan, how, keys, suffix))

    def sort(
        self,
        *keys: Column,
        descending: bool | Sequence[bool] = False,
        nulls: Literal["first", "last"] | None = None,
    ) -> Q_co:
        """The rows in order. It holds for the result, and for a `limit` right after it; other verbs may lose it.

        Without `nulls`, NULL counts as greater than all values.
        """
        return self._query(plans.sort(self.plan, keys, descending, nulls))

    def limit(self, rows: int, offset: int = 0) -> Q_co:
        """So many rows, after the first `offset`."""
        return self._query(plans.limit(self.plan, rows, offset))

    def distinct(self) -> Q_co:
        """Equal rows once."""
        return self._query(plans.distinct(self.plan))


class Grouped(Generic[Q_co]):
    """Groups of rows, of which `agg` makes one row each."""

    __slots__ = ("_keys", "_of")

    def __init__(self, of: Verbs[Q_co], keys: Sequence[Column]) -> None:
        self._of = of
        self._keys = keys

    def agg(self, **columns: Expr | Value) -> Q_co:
        """The keys, and these aggregates of the rows of each group; a text is SQL."""
        plan = plans.aggregate(self._of.plan, self._keys, columns)
        return self._of._query(plan)  # pyright: ignore[reportPrivateUsage]
