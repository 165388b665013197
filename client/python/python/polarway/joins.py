"""Joins of two plans: which of their rows belong together, and what the columns are called then."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from polarway.plans import Plan
from polarway.sql_text import identifier

if TYPE_CHECKING:
    from collections.abc import Sequence

How: TypeAlias = Literal["inner", "left", "right", "full", "semi", "anti", "cross"]
Names: TypeAlias = "str | Sequence[str]"

_JOINS = {
    "inner": "INNER JOIN",
    "left": "LEFT JOIN",
    "right": "RIGHT JOIN",
    "full": "FULL JOIN",
    "semi": "LEFT SEMI JOIN",
    "anti": "LEFT ANTI JOIN",
    "cross": "CROSS JOIN",
}


@dataclass(frozen=True)
class Keys:
    """The columns whose values have to be equal, by their names as they are.

    Attributes:
        left: Those of the left side.
        right: Those of the right side, in the same order.
        shared: Whether both are called the same and become one column.
    """

    left: tuple[str, ...]
    right: tuple[str, ...]
    shared: bool

    @classmethod
    def of(cls, how: How, on: Names | None, left_on: Names | None, right_on: Names | None) -> Keys:
        """Takes `on`, or `left_on` with `right_on`, or nothing for a cross join."""
        if how not in _JOINS:
            raise ValueError(f"how is one of {', '.join(_JOINS)}, not {how!r}")
        both, left, right = _listed(on), _listed(left_on), _listed(right_on)
        if how == "cross":
            if both or left or right:
                raise ValueError("a cross join has no keys")
            return cls((), (), shared=False)
        if both and not left and not right:
            return cls(both, both, shared=True)
        if both or not left or len(left) != len(right):
            raise ValueError("a join needs `on`, or as many names in `left_on` as in `right_on`")
        return cls(left, right, shared=False)

    def condition(self) -> str:
        """What holds for two rows that belong together."""
        pairs = zip(self.left, self.right, strict=True)
        return " AND ".join(f"l.{identifier(left)} = r.{identifier(right)}" for left, right in pairs)


def join(left: Plan, right: Plan, how: How, keys: Keys, suffix: str) -> Plan:
    """The rows of two plans side by side; `semi` and `anti` give rows of the left one only."""
    if how in {"semi", "anti"}:
        listed, columns = "l.*", left.columns
    else:
        listed, columns = _columns(left, right, how, keys, suffix)
    condition = f" ON {keys.condition()}" if keys.left else ""
    joined = _JOINS[how]
    return Plan(
        lambda names: f"SELECT {listed} FROM {names[0]} AS l {joined} {names[1]} AS r{condition}",
        (left, right),
        columns,
    )


def _columns(left: Plan, right: Plan, how: How, keys: Keys, suffix: str) -> tuple[str, tuple[str, ...] | None]:
    """The list of the SELECT and its names: shared keys, then the other columns of the left, then of the right."""
    shared = keys.left if keys.shared else ()
    items = [_key(name, how) for name in shared]
    names: list[str] = list(shared)
    for side, plan in (("l", left), ("r", right)):
        if plan.columns is None:
            excluded = f" EXCLUDE ({', '.join(identifier(name) for name in shared)})" if shared else ""
            items.append(f"{side}.*{excluded}")
            continue
        for name in plan.columns:
            if name in shared:
                continue
            called = name + suffix if side == "r" and name in names else name
            items.append(f"{side}.{identifier(name)} AS {identifier(called)}")
            names.append(called)
    known = left.columns is not None and right.columns is not None
    return ", ".join(items), tuple(names) if known else None


def _key(name: str, how: How) -> str:
    quoted = identifier(name)
    if how == "full":
        return f"coalesce(l.{quoted}, r.{quoted}) AS {quoted}"
    return f"{'r' if how == 'right' else 'l'}.{quoted} AS {quoted}"


def _listed(names: Names | None) -> tuple[str, ...]:
    return () if names is None else (names,) if isinstance(names, str) else tuple(names)
