"""Types by the names that SQL and Arrow have for them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from polarway.uploads._pyarrow import DataType

_TOKEN = re.compile(r"\s*(?:(\"(?:[^\"\\]|\\.)*\"|'[^']*')|([A-Za-zµ_][A-Za-z0-9µ_-]*)|(\d+)|([(),:\[\]]))")

_SIMPLE = {
    "null": "null",
    **dict.fromkeys(("boolean", "bool"), "bool_"),
    **dict.fromkeys(("int8", "tinyint"), "int8"),
    **dict.fromkeys(("int16", "smallint"), "int16"),
    **dict.fromkeys(("int32", "int", "integer"), "int32"),
    **dict.fromkeys(("int64", "bigint"), "int64"),
    **dict.fromkeys(("uint8", "tinyint unsigned"), "uint8"),
    **dict.fromkeys(("uint16", "smallint unsigned"), "uint16"),
    **dict.fromkeys(("uint32", "int unsigned", "integer unsigned"), "uint32"),
    **dict.fromkeys(("uint64", "bigint unsigned"), "uint64"),
    "float16": "float16",
    **dict.fromkeys(("float32", "real", "float"), "float32"),
    **dict.fromkeys(("float64", "double", "double precision"), "float64"),
    **dict.fromkeys(("utf8", "string", "varchar", "text", "char"), "string"),
    "largeutf8": "large_string",
    "utf8view": "string_view",
    **dict.fromkeys(("binary", "bytea"), "binary"),
    "largebinary": "large_binary",
    "binaryview": "binary_view",
    **dict.fromkeys(("date32", "date"), "date32"),
    "date64": "date64",
}
_UNITS = {
    **dict.fromkeys(("s", "second", "0"), "s"),
    **dict.fromkeys(("ms", "millisecond", "3"), "ms"),
    **dict.fromkeys(("us", "µs", "microsecond", "6"), "us"),
    **dict.fromkeys(("ns", "nanosecond", "9"), "ns"),
}
_WORDS = {"unsigned", "precision", "with", "without", "time", "zone"}
_LONG = 38


def named_type(pa: Any, text: str) -> DataType:  # noqa: ANN401
    """The type of a name: as SQL has it (`BIGINT`, `TIMESTAMP(6)`), or as tables and handles show it (`List(Int64)`).

    Raises:
        ValueError: it is the name of none.
    """
    reader = _Reader(pa, text)
    found = reader.type()
    if reader.peek():
        raise ValueError(f"`{text}` is no type: {reader.peek()!r} stands behind its end")
    return found


class _Reader:
    """Reads a type from left to right."""

    def __init__(self, pa: Any, text: str) -> None:  # noqa: ANN401
        self._pa = pa
        self._text = text
        self._tokens = self._split(text)
        self._at = 0

    def _split(self, text: str) -> list[str]:
        tokens: list[str] = []
        at, end = 0, len(text.rstrip())
        while at < end:
            found = _TOKEN.match(text, at)
            if found is None:
                raise ValueError(f"`{text}` is no type: {text[at:]!r} cannot be read")
            tokens.append(found[0].strip())
            at = found.end()
        return tokens

    def peek(self) -> str:
        """The next token, empty at the end."""
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def type(self) -> DataType:
        """The type that begins here."""
        found = self._one()
        while self._take("["):
            self._expect("]")
            found = self._pa.list_(found)
        return found

    def _one(self) -> DataType:
        name = self._name()
        reader = self._parts().get(name)
        if reader is not None:
            return reader()
        maker = _SIMPLE.get(name)
        if maker is None:
            raise ValueError(f"`{self._text}` is no type: there is none called `{name}`")
        if name in {"varchar", "char"} and self._take("("):
            self._next()
            self._expect(")")
        return getattr(self._pa, maker)()

    def _parts(self) -> dict[str, Callable[[], DataType]]:
        pa = self._pa
        return {
            "timestamp": lambda: self._timestamp(zone=False),
            "timestamp with time zone": lambda: self._timestamp(zone=True),
            "timestamp without time zone": lambda: self._timestamp(zone=False),
            "timestamptz": lambda: self._timestamp(zone=True),
            "time": lambda: pa.time64("ns"),
            "time without time zone": lambda: pa.time64("ns"),
            "time32": lambda: pa.time32(self._unit()),
            "time64": lambda: pa.time64(self._unit()),
            "duration": lambda: pa.duration(self._unit()),
            **dict.fromkeys(("decimal", "numeric", "decimal128", "decimal256"), self._decimal),
            "fixedsizebinary": lambda: pa.binary(self._numbers()[0]),
            "list": lambda: self._list(pa.list_),
            "largelist": lambda: self._list(pa.large_list),
            "struct": self._struct,
            "dictionary": self._dictionary,
        }

    def _name(self) -> str:
        words = [self._next().lower()]
        while self.peek().lower() in _WORDS:
            words.append(self._next().lower())
        return " ".join(words)

    def _timestamp(self, *, zone: bool) -> DataType:
        unit, name = "ns", "UTC" if zone else None
        if self._take("("):
            unit = self._unit_name()
            if self._take(","):
                # `None` and `Some("UTC")` of older names.
                some = self._take("Some")
                if some:
                    self._expect("(")
                found = self._next()
                name = None if found == "None" else _unquoted(found)
                if some:
                    self._expect(")")
            self._expect(")")
        words: list[str] = []
        while self.peek().lower() in _WORDS:
            words.append(self._next().lower())
        name = "UTC" if words == ["with", "time", "zone"] else name
        return self._pa.timestamp(unit, name)

    def _unit(self) -> str:
        self._expect("(")
        unit = self._unit_name()
        self._expect(")")
        return unit

    def _unit_name(self) -> str:
        found = self._next()
        unit = _UNITS.get(found.lower())
        if unit is None:
            raise ValueError(f"`{self._text}` is no type: there is no unit of time `{found}`")
        return unit

    def _numbers(self) -> list[int]:
        self._expect("(")
        found = [int(self._next())]
        while self._take(","):
            found.append(int(self._next()))
        self._expect(")")
        return found

    def _decimal(self) -> DataType:
        # What SQL has for a decimal without digits.
        precision, *scale = self._numbers() if self.peek() == "(" else (_LONG, 10)
        make = self._pa.decimal128 if precision <= _LONG else self._pa.decimal256
        return make(precision, scale[0] if scale else 0)

    def _list(self, make: Callable[[Any], DataType]) -> DataType:
        self._expect("(")
        found = make(self._field("item"))
        self._expect(")")
        return found

    def _struct(self) -> DataType:
        self._expect("(")
        fields: list[object] = []
        while not self._take(")"):
            name = _unquoted(self._next())
            self._take(":")
            fields.append(self._field(name))
            if self.peek() != ")":
                self._expect(",")
        return self._pa.struct(fields)

    def _dictionary(self) -> DataType:
        self._expect("(")
        keys = self.type()
        self._expect(",")
        values = self.type()
        self._expect(")")
        return self._pa.dictionary(keys, values)

    def _field(self, name: str) -> object:
        # `non-null` is one word.
        nullable = not self._take("non-null")
        return self._pa.field(name, self.type(), nullable=nullable)

    def _next(self) -> str:
        found = self.peek()
        if not found:
            raise ValueError(f"`{self._text}` is no type: it ends too early")
        self._at += 1
        return found

    def _take(self, token: str) -> bool:
        if self.peek().lower() != token.lower():
            return False
        self._at += 1
        return True

    def _expect(self, token: str) -> None:
        if not self._take(token):
            raise ValueError(f"`{self._text}` is no type: {token!r} has to stand before {self.peek()!r}")


def _unquoted(name: str) -> str:
    return name[1:-1].replace('\\"', '"').replace("\\\\", "\\") if name[:1] in {'"', "'"} else name
