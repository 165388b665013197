"""The statements behind the clients' methods, and how their results are read."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from polarway.table import Table

PING = "SELECT 1"
TABLES = (
    "SELECT table_schema || '.' || table_name FROM information_schema.tables "
    "WHERE table_schema NOT IN ('information_schema', 'system') ORDER BY 1"
)


def explain(sql: str, *, analyze: bool) -> str:
    """The statement that explains `sql`."""
    return f"EXPLAIN {'ANALYZE ' if analyze else ''}{sql}"


def explained(table: Table) -> str:
    """The text of a plan: each of its parts under its name."""
    return "\n".join(f"{name}:\n{plan}" for name, plan in table.texts())


def describe(table: str) -> str:
    """The statement that gives a table's columns."""
    return f"DESCRIBE {table}"


def described(table: Table) -> dict[str, str]:
    """Column to type, of what DESCRIBE gives."""
    return {row[0]: row[1] for row in table.texts()}


def names(table: Table) -> list[str]:
    """The first column."""
    return [row[0] for row in table.texts()]


def number(table: Table) -> int:
    """The only value, of a query that counts."""
    return int(table.texts()[0][0])
