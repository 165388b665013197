"""JSON of any shape that people have it in, as rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, TypeAlias, cast

from polarway.uploads._json_text import decoder, values
from polarway.uploads._rows import Bad, shown

if TYPE_CHECKING:
    import json

    from polarway.uploads._rows import Item, Row

Json: TypeAlias = "str | bytes | Row | Iterable[str | bytes | Row]"


def json_rows(source: Json, *, decimals: bool) -> Iterator[Item]:
    """The objects of a text, which is one object, an array of them, or one a line; and of each item of an iterable.

    >>> list(json_rows(['{"a": 1}', b'[{"a": 2}]', {"a": 3}], decimals=False))
    [{'a': 1}, {'a': 2}, {'a': 3}]
    """
    decode = decoder(decimals=decimals)
    if _is_one(source):
        yield from _of(source, decode)
    else:
        for item in cast("Iterable[object]", source):
            yield from _of(item, decode)


def _is_one(source: object) -> bool:
    return isinstance(source, str | bytes | Mapping)


def _of(source: object, decode: json.JSONDecoder) -> Iterator[Item]:
    if isinstance(source, Mapping):
        yield cast("Row", source)
    elif isinstance(source, str | bytes):
        for value in values(source, decode):
            if isinstance(value, dict | Bad):
                yield cast("Item", value)
            else:
                yield Bad("a row is an object", shown(value))
    else:
        yield Bad(f"JSON is text, bytes or an object, not {type(source).__qualname__}", shown(source))
