"""What handles, queries and jobs show of themselves in a notebook, and how to get their rows."""

from __future__ import annotations

import html
import itertools
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

T = TypeVar("T")

# A notebook keeps all of it in its file.
_SHOWN = 50


def handle(name: str, schema: Mapping[str, str], collected: str) -> str:
    """A handle: its columns with their types. `collected` is the call that gives its rows."""
    rows = [f"<tr><td>{_text(column)}</td><td>{_text(type_)}</td></tr>" for column, type_ in _first(schema.items())]
    heads = "<thead><tr><th>column</th><th>type</th></tr></thead>"
    return f"<p>{_text(name)}</p><table>{heads}<tbody>{''.join(rows)}</tbody></table>{_foot(len(schema), collected)}"


def query(name: str, columns: Sequence[str] | None, sql: str, collected: str) -> str:
    """Steps that have not run: their statement, and the names of the columns where the client knows them."""
    if columns is None:
        return f"<p>{_text(name)}</p>{_code(sql)}{_foot(None, collected)}"
    names = "".join(f"<th>{_text(column)}</th>" for column in _first(columns))
    heads = f"<table><thead><tr>{names}</tr></thead></table>"
    return f"<p>{_text(name)}</p>{heads}{_code(sql)}{_foot(len(columns), collected)}"


def job(name: str, sql: str | None, state: str | None, asked: str, result: str) -> str:
    """A job: its statement and how it was, where that is known. `asked` and `result` are the calls that tell more."""
    told = "" if state is None else f"<p>{_text(state)}</p>"
    calls = f"<p><code>{_text(asked)}</code> asks how it is, <code>{_text(result)}</code> waits for the rows</p>"
    return f"<p>{_text(name)}</p>{'' if sql is None else _code(sql)}{told}{calls}"


def _first(items: Iterable[T]) -> Iterable[T]:
    return itertools.islice(items, _SHOWN)


def _code(sql: str) -> str:
    return f'<pre style="white-space: pre-wrap">{_text(sql)}</pre>'


def _foot(columns: int | None, collected: str) -> str:
    return f"<p>{_counted(columns)}nothing has been read: <code>{_text(collected)}</code> gives the rows</p>"


def _counted(columns: int | None) -> str:
    if columns is None:
        return ""
    more = f", the first {_SHOWN} shown" if columns > _SHOWN else ""
    return f"{columns:,} column{'' if columns == 1 else 's'}{more}; "


def _text(value: str) -> str:
    return html.escape(value)
