"""Docstrings as Markdown."""

from __future__ import annotations

import re
import textwrap
from itertools import groupby
from typing import TYPE_CHECKING

import griffe

if TYPE_CHECKING:
    from collections.abc import Sequence

Kind = griffe.DocstringSectionKind

_TITLES = {Kind.parameters: "Arguments", Kind.other_parameters: "Arguments", Kind.attributes: "Attributes"}


def docstring(found: griffe.Object, *, without: Sequence[Kind] = ()) -> str:
    """All sections of a docstring, but for those of some kinds."""
    if not found.docstring:
        return ""
    return "\n\n".join(_section(section) for section in found.docstring.parsed if section.kind not in without)


def summary(found: griffe.Object) -> str:
    """The first paragraph of a docstring, on one line."""
    text = found.docstring.value if found.docstring else ""
    return " ".join(text.split("\n\n")[0].split())


def fenced(code: str) -> str:
    """A block of Python."""
    return f"```python\n{code}\n```"


def prose(text: str) -> str:
    r"""Paragraphs as they are, examples and what is set in by four spaces as blocks of Python.

    >>> prose("One.\n\n    a = 1\n\n    b = 2\n\n>>> 1 + 1\n2").split("\n\n")
    ['One.', '```python\na = 1', 'b = 2\n```', '```python\n>>> 1 + 1\n2\n```']
    """
    paragraphs = re.split(r"\n\n+", text.strip("\n"))
    parts: list[str] = []
    for kind, each in groupby(paragraphs, _kind):
        joined = "\n\n".join(each)
        parts.append(joined if kind == "text" else fenced(textwrap.dedent(joined)))
    return "\n\n".join(parts)


def _kind(paragraph: str) -> str:
    if paragraph.startswith(">>> "):
        return "example"
    return "code" if paragraph.startswith("    ") else "text"


def _section(section: griffe.DocstringSection) -> str:
    if section.kind is Kind.text:
        return prose(section.value)
    if section.kind is Kind.raises:
        return "\n\n".join(f"Raises `{each.annotation}`: {_line(each.description)}" for each in section.value)
    if section.kind in {Kind.returns, Kind.yields}:
        return "\n\n".join(f"Returns: {_line(each.description)}" for each in section.value)
    if section.kind in _TITLES:
        listed = "\n".join(f"- `{each.name}`: {_line(each.description)}" for each in section.value)
        return f"{_TITLES[section.kind]}:\n\n{listed}"
    raise ValueError(f"a docstring has a section of kind {section.kind.value}, which the page does not show")


def _line(text: str) -> str:
    return " ".join(text.split())
