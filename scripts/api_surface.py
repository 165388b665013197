"""What is public of the Python package, as griffe reads it from the sources: names, members, their docstrings.

Public are the names in `__all__` of the package and of its public modules. A class has its own members and those that
it inherits from classes that are not public themselves; there the base's type variables are replaced by what the class
gives for them. What it inherits from a public class is described at that class.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import griffe

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PACKAGE = "polarway"


@dataclass(frozen=True)
class Member:
    """A method, property or attribute of a class, as this class has it."""

    name: str
    object: griffe.Object
    types: dict[str, str] = field(default_factory=dict)
    """What stands for the type variables of the class that it is inherited from."""


class Surface:
    """The public names of the package below `source`."""

    def __init__(self, source: Path) -> None:
        self.package = _loaded(source)
        self.names: dict[str, griffe.Object] = {}
        for module in self._modules(self.package):
            for export in module.exports or ():
                name = str(export)
                self.names[name] = self._named(module, name)
        self._paths = {found.path for found in self.names.values()}

    def is_public(self, found: griffe.Object) -> bool:
        """Whether it is one of the names."""
        return found.path in self._paths

    def find(self, path: str) -> griffe.Object | None:
        """What has this path in the package, wherever it was imported from."""
        if not path.startswith(f"{PACKAGE}."):
            return None
        try:
            return _target(self.package[path.removeprefix(f"{PACKAGE}.")])
        except (KeyError, griffe.AliasResolutionError):
            return None

    def bases(self, class_: griffe.Class) -> Iterator[tuple[griffe.Class, list[str]]]:
        """Its bases in the package, each with what it gives for the base's type variables."""
        for base in class_.bases:
            found = self.find(base if isinstance(base, str) else base.canonical_path)
            if isinstance(found, griffe.Class):
                given = base.slice if isinstance(base, griffe.ExprSubscript) else None
                parts = given.elements if isinstance(given, griffe.ExprTuple) else [] if given is None else [given]
                yield found, [self._expanded(part) for part in parts]

    def members(self, class_: griffe.Class) -> list[Member]:
        """Its public members, those of bases that are not public after its own."""
        found: dict[str, Member] = {}
        self._collect(class_, {}, found)
        shown = [member for member in found.values() if _is_shown(member)]
        return [member for member in shown if not self._is_told_by_a_base(class_, member)]

    def undocumented(self) -> list[str]:
        """Public names and members without a docstring."""
        missing = [name for name, found in self.names.items() if not found.docstring]
        for name, found in self.names.items():
            if isinstance(found, griffe.Class):
                told = attributes(found)
                missing += [
                    f"{name}.{member.name}"
                    for member in self.members(found)
                    if not member.object.docstring and member.name not in told
                ]
        return sorted(missing)

    def _modules(self, module: griffe.Module) -> Iterator[griffe.Module]:
        yield module
        for name, below in module.modules.items():
            if not name.startswith("_"):
                yield from self._modules(below)

    def _named(self, module: griffe.Module, name: str) -> griffe.Object:
        found = _target(module[name])
        # A function that has the name of its module, which griffe takes for the module.
        return _target(found[name]) if isinstance(found, griffe.Module) else found

    def _collect(self, class_: griffe.Class, types: dict[str, str], found: dict[str, Member]) -> None:
        for name, member in class_.members.items():
            if isinstance(member, griffe.Object):
                found.setdefault(name, Member(name, member, types))
        for base, given in self.bases(class_):
            if not self.is_public(base):
                bound = [bind(part, types) for part in given]
                self._collect(base, dict(zip(_variables(base), bound, strict=False)), found)

    def _is_told_by_a_base(self, class_: griffe.Class, member: Member) -> bool:
        """Whether it only carries out what a public base describes."""
        if member.object.docstring:
            return False
        return any(
            (self.is_public(base) and member.name in base.members) or self._is_told_by_a_base(base, member)
            for base, _ in self.bases(class_)
        )

    def _expanded(self, type_: str | griffe.Expr) -> str:
        """The type; what a name of a type alias stands for, if it is one."""
        if isinstance(type_, griffe.ExprName):
            found = self.find(type_.canonical_path)
            if isinstance(found, griffe.Attribute) and found.value is not None:
                type_ = found.value
        return unquoted(str(type_))


def _loaded(source: Path) -> griffe.Module:
    # Without inspection nothing is imported.
    package = griffe.load(
        PACKAGE, search_paths=[source], docstring_parser="google", allow_inspection=False, resolve_aliases=True
    )
    if not isinstance(package, griffe.Module):
        raise TypeError(f"{PACKAGE} is no package")
    return package


def attributes(class_: griffe.Class) -> dict[str, str]:
    """What the docstring of a class says of its attributes."""
    if not class_.docstring:
        return {}
    return {
        attribute.name: " ".join(attribute.description.split())
        for section in class_.docstring.parsed
        if section.kind is griffe.DocstringSectionKind.attributes
        for attribute in section.value
    }


def bind(type_: str, types: dict[str, str]) -> str:
    """A type in which type variables are replaced.

    >>> bind("Result[H_co, H]", {"H_co": "Table"})
    'Result[Table, H]'
    """
    return re.sub(r"\b\w+\b", lambda name: types.get(name[0], name[0]), type_)


def unquoted(type_: str) -> str:
    """A type that stood in quotes, since it is not known yet where it is written."""
    return type_[1:-1] if len(type_) > 1 and type_[0] == type_[-1] and type_[0] in "'\"" else type_


def _variables(class_: griffe.Class) -> list[str]:
    """The type variables of a generic class, in the order in which they are given."""
    for base in class_.bases:
        if isinstance(base, griffe.ExprSubscript) and base.canonical_name in {"Generic", "Protocol"}:
            given = base.slice
            return [str(part) for part in (given.elements if isinstance(given, griffe.ExprTuple) else [given])]
    return []


def _is_shown(member: Member) -> bool:
    # Of the methods that Python calls by itself, those about which there is something to say.
    if re.fullmatch(r"__\w+__", member.name):
        return member.name != "__init__" and member.object.docstring is not None
    return not member.name.startswith("_")


def _target(found: griffe.Object | griffe.Alias) -> griffe.Object:
    return found.final_target if isinstance(found, griffe.Alias) else found
