"""Signatures and types of the package's names, as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import griffe

from api_surface import bind, unquoted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from api_surface import Member, Surface

# Of a line of code on the page.
WIDTH = 100

_STARS = {griffe.ParameterKind.var_positional: "*", griffe.ParameterKind.var_keyword: "**"}


class Signatures:
    """Writes signatures; a default that is a name of the package's own is written as its value.

    Attributes:
        named: What the signatures so far have named of the package without being public: aliases of types and classes.
    """

    def __init__(self, surface: Surface) -> None:
        self.named: dict[str, griffe.Object] = {}
        self._surface = surface

    def of_class(self, name: str, class_: griffe.Class) -> list[str]:
        """Its statement, and the call that makes one, unless only the package makes it."""
        bases = [str(base) for base in class_.bases if self._is_told(base)]
        statement = f"class {name}({', '.join(bases)})" if bases else f"class {name}"
        parameters = list(class_.parameters)[1:]
        if not parameters or any(self._is_inner(each) for each in parameters):
            return [statement]
        return [statement, self._call(name, parameters, None, {})]

    def of_function(self, name: str, function: griffe.Function, types: dict[str, str]) -> list[str]:
        """One signature, or those of its overloads."""
        kind = "async def" if "async" in function.labels else "def"
        decorated = "".join(f"@{label}\n" for label in ("staticmethod", "classmethod") if label in function.labels)
        return [
            decorated
            + self._call(
                f"{kind} {name}",
                [parameter for parameter in each.parameters if parameter.name not in {"self", "cls"}],
                each.returns,
                types,
            )
            for each in function.overloads or [function]
        ]

    def of_attribute(self, member: Member) -> str:
        """Its type; nothing where the sources do not tell it."""
        found = member.object
        if not isinstance(found, griffe.Attribute):
            raise TypeError(f"{member.name} is no attribute")
        type_ = found.annotation
        if type_ is None and isinstance(found.value, griffe.ExprName) and isinstance(found.parent, griffe.Class):
            # What the constructor keeps as it was given.
            given = [each for each in found.parent.parameters if each.name == found.value.name]
            type_ = given[0].annotation if given else None
        return "" if type_ is None else self._type(type_, member.types)

    def of_alias(self, found: griffe.Object) -> str:
        """What the name of a type stands for, with an equals sign before it; nothing for a class."""
        value = found.value if isinstance(found, griffe.Attribute) else None
        return "" if value is None else f" = {self._type(value, {})}"

    def _call(
        self,
        head: str,
        parameters: Sequence[griffe.Parameter],
        returns: str | griffe.Expr | None,
        types: dict[str, str],
    ) -> str:
        parts: list[str] = []
        last: griffe.ParameterKind | None = None
        for parameter in parameters:
            if last is griffe.ParameterKind.positional_only and parameter.kind is not last:
                parts.append("/")
            begins = last not in {griffe.ParameterKind.keyword_only, griffe.ParameterKind.var_positional}
            if parameter.kind is griffe.ParameterKind.keyword_only and begins:
                parts.append("*")
            parts.append(self._parameter(parameter, types))
            last = parameter.kind
        if last is griffe.ParameterKind.positional_only:
            parts.append("/")
        after = f" -> {self._type(returns, types)}" if returns is not None else ""
        line = f"{head}({', '.join(parts)}){after}"
        if len(line) <= WIDTH or not parts:
            return line
        listed = "".join(f"    {part},\n" for part in parts)
        return f"{head}(\n{listed}){after}"

    def _parameter(self, parameter: griffe.Parameter, types: dict[str, str]) -> str:
        stars = _STARS.get(parameter.kind, "") if parameter.kind else ""
        text = stars + parameter.name
        if parameter.annotation is not None:
            text += f": {self._type(parameter.annotation, types)}"
        # Griffe gives starred parameters an empty default.
        if parameter.default is None or stars:
            return text
        return f"{text} = {self._default(parameter.default)}" if ":" in text else f"{text}={parameter.default}"

    def _default(self, default: str | griffe.Expr) -> str:
        if isinstance(default, griffe.ExprName | griffe.ExprAttribute):
            found = self._surface.find(default.canonical_path)
            if isinstance(found, griffe.Attribute) and found.value is not None:
                return str(found.value)
            if found is not None and found.name.startswith("_"):
                return "..."
        text = str(default)
        return f'"{text[1:-1]}"' if text[:1] == text[-1:] == "'" and '"' not in text else text

    def _type(self, type_: str | griffe.Expr, types: dict[str, str]) -> str:
        for found in self._names(type_):
            is_variable = isinstance(found, griffe.Attribute) and isinstance(found.value, griffe.ExprCall)
            if not is_variable and not self._surface.is_public(found):
                self.named[found.path] = found
        return bind(unquoted(str(type_)), types)

    def _names(self, type_: str | griffe.Expr | None) -> list[griffe.Object]:
        """What a type names of the package."""
        parts = [] if type_ is None or isinstance(type_, str) else type_.iterate(flat=True)
        found = [self._surface.find(part.canonical_path) for part in parts if isinstance(part, griffe.ExprName)]
        return [each for each in found if each is not None]

    def _is_told(self, base: str | griffe.Expr) -> bool:
        """Whether a base says something to a user: it is public, or of another package."""
        if isinstance(base, str):
            return True
        found = self._surface.find(base.canonical_path)
        outer = base.canonical_name != "ABC"
        return outer if found is None else self._surface.is_public(found)

    def _is_inner(self, parameter: griffe.Parameter) -> bool:
        """Whether it takes an object that only the package makes."""
        return any(
            isinstance(found, griffe.Class) and not self._surface.is_public(found)
            for found in self._names(parameter.annotation)
        )
