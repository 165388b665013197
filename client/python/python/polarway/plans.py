"""Queries that are composed step by step on the client, and the SQL that they become.

A plan is a graph that never changes: tables at its ends, and steps that each are one SELECT over others. `to_sql` names
every step once, in a chain of WITH, so that the statement stays flat however many steps there are (the server's parser
limits how deep a statement may nest), and a step that is used twice stands there once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from polarway.expressions import Expr
from polarway.sql_text import identifier, literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from polarway.parameters import Value

Column: TypeAlias = "Expr | str"

_BARE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_QUOTED = re.compile(r'"((?:[^"]|"")*)"')
_NAMED = re.compile(r"[^,]*\sAS\s+(\S+|\"(?:[^\"]|\"\")*\")\s*", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class Plan:
    """A table, or one SELECT over other plans.

    Attributes:
        write: The SELECT, of the names that the inputs have.
        inputs: What it reads; none for a table, whose name `write` then gives.
        columns: The names of its columns, where the client knows them.
        keeps: What has to live as long as the plan, as the lease of a handle.
        key: The ORDER BY of a step that does nothing else.
    """

    write: Callable[[Sequence[str]], str]
    inputs: tuple[Plan, ...] = ()
    columns: tuple[str, ...] | None = None
    keeps: tuple[object, ...] = field(default=(), repr=False)
    key: str = ""

    def leases(self) -> list[object]:
        """What all tables of the plan need alive."""
        return [kept for plan in _ordered(self) for kept in plan.keeps]


def table(sql: str, columns: Sequence[str] | None = None, keeps: tuple[object, ...] = ()) -> Plan:
    """A table by its name as SQL has it."""
    return Plan(lambda _: sql, (), None if columns is None else tuple(columns), keeps)


def to_sql(plan: Plan) -> str:
    """The statement that gives the rows of a plan."""
    if not plan.inputs:
        return f"SELECT * FROM {plan.write(())}"
    names: dict[int, str] = {}
    steps: list[str] = []
    for step in _ordered(plan):
        read = [names[id(below)] for below in step.inputs]
        if not step.inputs:
            names[id(step)] = step.write(())
        elif step is plan:
            chain = f"WITH {', '.join(steps)} " if steps else ""
            return chain + step.write(read)
        else:
            names[id(step)] = f"_{len(steps) + 1}"
            steps.append(f"{names[id(step)]} AS ({step.write(read)})")
    raise AssertionError("a plan comes after what it reads")


def select(plan: Plan, items: Sequence[Column]) -> Plan:
    """These columns and expressions only."""
    if not items:
        raise ValueError("select needs a column")
    listed = ", ".join(_item(item) for item in items)
    return Plan(lambda names: f"SELECT {listed} FROM {names[0]}", (plan,), _names(plan, items))


def where(plan: Plan, condition: Column) -> Plan:
    """The rows for which it is true."""
    sql = _sql(condition)
    return Plan(lambda names: f"SELECT * FROM {names[0]} WHERE {sql}", (plan,), plan.columns)


def with_columns(plan: Plan, named: Mapping[str, Expr | Value]) -> Plan:
    """All columns, with these in place of those of their names or after them."""
    if not named:
        raise ValueError("with_columns needs a column")
    written = {name: f"{_value(value)} AS {identifier(name)}" for name, value in named.items()}
    if plan.columns is None:
        items, columns = ["*", *written.values()], None
    else:
        new = [name for name in written if name not in plan.columns]
        columns = (*plan.columns, *new)
        items = [written.get(name) or identifier(name) for name in columns]
    listed = ", ".join(items)
    return Plan(lambda names: f"SELECT {listed} FROM {names[0]}", (plan,), columns)


def aggregate(plan: Plan, keys: Sequence[Column], named: Mapping[str, Expr | Value]) -> Plan:
    """One row for each value of the keys, or one in all without keys."""
    if not keys and not named:
        raise ValueError("agg needs a key or a column")
    aggregates = [f"{_value(value)} AS {identifier(name)}" for name, value in named.items()]
    listed = ", ".join([*(_item(key) for key in keys), *aggregates])
    # By their places in the list, since a key may be any expression.
    grouped = f" GROUP BY {', '.join(str(place + 1) for place in range(len(keys)))}" if keys else ""
    known = _names(plan, keys)
    columns = None if known is None else (*known, *named)
    return Plan(lambda names: f"SELECT {listed} FROM {names[0]}{grouped}", (plan,), columns)


def sort(plan: Plan, keys: Sequence[Column], descending: bool | Sequence[bool], nulls: str | None) -> Plan:
    """The rows in order."""
    if not keys:
        raise ValueError("sort needs a key")
    if nulls not in {None, "first", "last"}:
        raise ValueError(f"nulls are 'first' or 'last', not {nulls!r}")
    downwards = [descending] * len(keys) if isinstance(descending, bool) else list(descending)
    if len(downwards) != len(keys):
        raise ValueError(f"{len(keys)} keys, and {len(downwards)} values of descending")
    after = f" NULLS {nulls.upper()}" if nulls else ""
    order = ", ".join(
        f"{_sort_key(key)}{' DESC' if down else ''}{after}" for key, down in zip(keys, downwards, strict=True)
    )
    return Plan(lambda names: f"SELECT * FROM {names[0]} ORDER BY {order}", (plan,), plan.columns, key=order)


def limit(plan: Plan, rows: int, offset: int) -> Plan:
    """So many rows after the first `offset`; right after a sort, the first of its order."""
    if rows < 0 or offset < 0:
        raise ValueError(f"limit and offset count rows, and cannot be {rows} and {offset}")
    part = f" LIMIT {rows:d}{f' OFFSET {offset:d}' if offset else ''}"
    below, order = (plan.inputs[0], f" ORDER BY {plan.key}") if plan.key else (plan, "")
    return Plan(lambda names: f"SELECT * FROM {names[0]}{order}{part}", (below,), plan.columns)


def distinct(plan: Plan) -> Plan:
    """Equal rows once."""
    return Plan(lambda names: f"SELECT DISTINCT * FROM {names[0]}", (plan,), plan.columns)


def count(plan: Plan) -> Plan:
    """How many rows there are."""
    return Plan(lambda names: f"SELECT count(*) AS rows FROM {names[0]}", (plan,), ("rows",))


def _ordered(plan: Plan) -> list[Plan]:
    """All plans that it is made of, each once and after what it reads."""
    found: dict[int, Plan] = {}
    waiting: list[tuple[Plan, bool]] = [(plan, False)]
    while waiting:
        step, read = waiting.pop()
        if id(step) in found:
            continue
        if read:
            found[id(step)] = step
        else:
            waiting.append((step, True))
            waiting.extend((below, False) for below in reversed(step.inputs))
    return list(found.values())


def _sql(value: Column) -> str:
    return value.sql if isinstance(value, Expr) else value


def _value(value: Expr | Value) -> str:
    return _sql(value) if isinstance(value, (Expr, str)) else literal(value)


def _item(item: Column) -> str:
    return f"{item.sql} AS {identifier(item.name)}" if isinstance(item, Expr) else item


def _sort_key(key: Column) -> str:
    # A bare number would count columns.
    return f"({key.sql})" if isinstance(key, Expr) and key.sql.isdigit() else _sql(key)


def _names(plan: Plan, items: Sequence[Column]) -> tuple[str, ...] | None:
    names: list[str] = []
    for item in items:
        if item == "*" if isinstance(item, str) else False:
            if plan.columns is None:
                return None
            names.extend(plan.columns)
            continue
        name = item.name if isinstance(item, Expr) else _name(item)
        if name is None:
            return None
        names.append(name)
    return tuple(names)


def _name(sql: str) -> str | None:
    """What SQL calls an item of a SELECT, where that is plain to see."""
    sql = sql.strip()
    named = _NAMED.fullmatch(sql)
    sql = named[1] if named else sql
    if _BARE.fullmatch(sql):
        return sql.lower()
    quoted = _QUOTED.fullmatch(sql)
    return quoted[1].replace('""', '"') if quoted else None
