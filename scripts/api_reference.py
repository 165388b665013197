#!/usr/bin/env python3
"""Writes docs/api-python.md: every public name of the Python package, with its signature, types and docstring.

usage: api_reference.py [--check] [--source DIRECTORY] [--page FILE]

Needs griffe (tests/python/client-requirements.txt), which reads the sources: nothing is imported, so that neither the
native module nor the extras have to be there. The same sources give the same page. It fails if a public name has no
docstring, and with --check, which writes nothing, also if the page is not that of the sources.
"""

from __future__ import annotations

import argparse
import re
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import griffe

from api_markdown import Kind, docstring, fenced, summary
from api_signatures import Signatures
from api_surface import PACKAGE, Member, Surface, attributes

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]

# The modules that everybody needs, first; the others follow in order of their names.
FIRST = (
    *("async_client", "client", "async_handles", "handles", "verbs", "expressions", "table", "streams"),
    *("error", "result", "option", "do_notation"),
)

HEAD = """\
# Python: all names

Made by `make docs` from the sources of `client/python`; [python.md](python.md) explains how they are used together, and
the [tutorial](tutorial.md) walks through it. All names are imported from `polarway`; those of feeds also from
`polarway.feeds`, and the clients with `Ok`, `Err`, `Result` and `Option` also from `polarway.async_client` and
`polarway.client`.

| name | |
|---|---|
"""


class Page:
    """The text of the page, in parts."""

    def __init__(self, surface: Surface) -> None:
        self._surface = surface
        self._signatures = Signatures(surface)

    def text(self) -> str:
        """All of it."""
        parts = [part for module in self._modules() for part in self._module(module)]
        anchors = _anchors(parts)
        index = "".join(
            f"| [`{name}`](#{anchors[name]}) | {_cell(summary(found))} |\n"
            for name, found in sorted(self._surface.names.items())
        )
        return HEAD + index + "\n" + "\n\n".join([*parts, *self._named()]) + "\n"

    def _modules(self) -> list[griffe.Module]:
        modules = {found.module.path: found.module for found in self._surface.names.values()}
        first = [f"{PACKAGE}.{name}" for name in FIRST]
        return [modules[path] for path in sorted(modules, key=lambda path: (_place(first, path), path))]

    def _module(self, module: griffe.Module) -> Iterator[str]:
        yield f"## {module.path}"
        yield summary(module)
        for name, found in sorted(self._surface.names.items(), key=lambda each: each[1].lineno or 0):
            if found.module is module:
                yield from self._name(name, found)

    def _name(self, name: str, found: griffe.Object) -> Iterator[str]:
        yield f"### {name}"
        if isinstance(found, griffe.Class):
            yield from self._class(name, found)
        elif isinstance(found, griffe.Function):
            yield fenced("\n".join(self._signatures.of_function(name, found, {})))
            yield docstring(found)
        else:
            yield fenced(name + self._signatures.of_alias(found))
            yield docstring(found)

    def _class(self, name: str, class_: griffe.Class) -> Iterator[str]:
        yield fenced("\n".join(self._signatures.of_class(name, class_)))
        yield docstring(class_, without=[Kind.attributes])
        made = class_.members.get("__init__")
        if isinstance(made, griffe.Function) and made.docstring:
            yield docstring(made)
        members = self._surface.members(class_)
        listed = [self._attribute(class_, member) for member in members if isinstance(member.object, griffe.Attribute)]
        # Those that griffe does not see, such as one of several names in one assignment.
        seen = {member.name for member in members}
        listed += [f"- `{name}`: {told}" for name, told in attributes(class_).items() if name not in seen]
        if listed:
            yield "Attributes and properties:"
            yield "\n".join(listed)
        for member in members:
            if isinstance(member.object, griffe.Function):
                yield f"#### {name}.{member.name}"
                yield fenced("\n".join(self._signatures.of_function(member.name, member.object, member.types)))
                yield docstring(member.object)

    def _attribute(self, class_: griffe.Class, member: Member) -> str:
        type_ = self._signatures.of_attribute(member)
        told = attributes(class_).get(member.name) or textwrap.indent(docstring(member.object), "  ").lstrip()
        return f"- `{member.name}{f': {type_}' if type_ else ''}`: {told}"

    def _named(self) -> Iterator[str]:
        """What the signatures name and is not public; describing it may name more."""
        told: dict[str, str] = {}
        while waiting := [found for path, found in self._signatures.named.items() if path not in told]:
            for found in waiting:
                value = self._signatures.of_alias(found)
                told[found.path] = f"- `{found.name}{value}`{f': {summary(found)}' if found.docstring else ''}"
        if told:
            yield "## Types in signatures"
            yield "They have no name to import from `polarway`; type checkers know them."
            yield "\n".join(told[path] for path in sorted(told, key=lambda path: (path.rpartition(".")[2], path)))


def _place(first: list[str], path: str) -> int:
    return first.index(path) if path in first else len(first)


def _anchors(parts: list[str]) -> dict[str, str]:
    """The anchor of each heading, as Markdown's renderers make it: in small letters, numbered if it was there before.

    >>> _anchors(["# Do", "### do", "### polarway.do", "text"])
    {'Do': 'do', 'do': 'do-1', 'polarway.do': 'polarwaydo'}
    """
    anchors: dict[str, str] = {}
    seen: dict[str, int] = {}
    for part in parts:
        heading = re.fullmatch(r"#+ (.*)", part)
        if heading:
            slug = re.sub(r"[^\w-]", "", heading[1].lower())
            seen[slug] = seen.get(slug, -1) + 1
            anchors[heading[1]] = f"{slug}-{seen[slug]}" if seen[slug] else slug
    return anchors


def _cell(text: str) -> str:
    return text.replace("|", r"\|")


def main() -> int:
    """Writes or checks the page; gives the exit code."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--check", action="store_true", help="write nothing, and fail if the page is out of date")
    options.add_argument("--source", type=Path, default=ROOT / "client/python/python", help="where the package is")
    options.add_argument("--page", type=Path, default=ROOT / "docs/api-python.md", help="what to write")
    arguments = options.parse_args()

    surface = Surface(arguments.source)
    text = "\n".join(line.rstrip() for line in Page(surface).text().split("\n"))
    complaints = [f"{name} has no docstring" for name in surface.undocumented()]
    if not arguments.check:
        arguments.page.write_text(text, encoding="utf-8")
    elif not arguments.page.exists() or arguments.page.read_text(encoding="utf-8") != text:
        complaints.append(f"{arguments.page} is out of date: run make docs")
    for complaint in complaints:
        print(complaint, file=sys.stderr)
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
