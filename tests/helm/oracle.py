"""The right answers: one DataFusion process over the same files, and not one of ours."""

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datafusion import SessionContext

TABLES = ["customer", "lineitem", "nation", "orders", "part", "partsupp", "region", "supplier"]

Rows = list[tuple[str, ...]]


def text(value: Any) -> str:
    """A value as the shell's CSV has it."""
    return "" if value is None else str(value)


def answer(data: Path, query: str) -> Rows:
    """The rows of a query over TPC-H tables."""
    context = SessionContext()
    for table in TABLES:
        context.register_parquet(table, str(data / table))
    return [tuple(map(text, row.values())) for batch in context.sql(query).collect() for row in batch.to_pylist()]


def told(output: str) -> Rows:
    """The rows of the shell's CSV, without its header."""
    return [tuple(row) for row in csv.reader(io.StringIO(output))][1:]


def same(ours: Rows, theirs: Rows) -> bool:
    """Whether two results hold the same rows; numbers may differ in what their types do not promise."""
    return len(ours) == len(theirs) and all(map(same_row, sorted(ours), sorted(theirs)))


def same_row(ours: Sequence[str], theirs: Sequence[str]) -> bool:
    """The same of one row."""
    return len(ours) == len(theirs) and all(map(same_value, ours, theirs))


def same_value(ours: str, theirs: str) -> bool:
    """The same of one value."""
    if ours == theirs:
        return True
    try:
        return math.isclose(float(ours), float(theirs), rel_tol=1e-9)
    except ValueError:
        return False
