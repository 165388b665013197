"""JSON values one after the other out of a text that may be long: an array's elements, lines, or objects side by side.

The text is read piece by piece, and of bytes no more than a piece is decoded at a time.
"""

from __future__ import annotations

import codecs
import json
from typing import TYPE_CHECKING, Any

from polarway.uploads._rows import Bad
from polarway.uploads._values import Digits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_PIECE = 1 << 18
# Characters that one value may have.
_LARGEST = 64 << 20
_SPACE = " \t\n\r"
_SPACES: frozenset[str | bytes] = frozenset({*_SPACE, *(space.encode() for space in _SPACE)})
_BOM = "\ufeff"
_BOM_BYTES = codecs.BOM_UTF8


class BrokenJsonError(ValueError):
    """An array or objects side by side that break off, or go on as they cannot: further rows cannot be told."""


class NotANumberError(ValueError):
    """NaN or an infinity, which JSON does not have."""


def decoder(*, decimals: bool) -> json.JSONDecoder:
    """Reads JSON; with `decimals` numbers keep their digits."""

    def constant(name: str) -> object:
        raise NotANumberError(f"JSON has no {name}")

    return json.JSONDecoder(parse_float=Digits if decimals else None, parse_constant=constant)


def values(text: str | bytes, decode: json.JSONDecoder) -> Iterator[object]:
    """The values that a text holds, and `Bad` for what is none.

    Raises:
        BrokenJsonError: see there.
    """
    start = _start(text)
    opening = text[start : start + 1]
    if opening in {"[", b"["}:
        return _elements(_Window(text, start + 1), decode)
    end = _line_end(text, start)
    if isinstance(_line(text[start:end], decode), Bad):
        # Not one object a line; perhaps one in many lines.
        window = _Window(text, start)
        found = _next(window, decode)
        if found is not _NONE and not isinstance(found, Bad) and "\n" in window.passed:
            return _side_by_side(found, window, decode)
    return _lines(text, start, decode)


def _lines(text: str | bytes, start: int, decode: json.JSONDecoder) -> Iterator[object]:
    while start < len(text):
        end = _line_end(text, start)
        line = text[start:end]
        if line.strip():
            yield _line(line, decode)
        start = end + 1


def _line(line: str | bytes, decode: json.JSONDecoder) -> object:
    try:
        return decode.decode(line if isinstance(line, str) else line.decode())
    except (ValueError, RecursionError) as error:
        return Bad(_reason(error), line if isinstance(line, str) else line.decode(errors="backslashreplace"))


def _elements(window: _Window, decode: json.JSONDecoder) -> Iterator[object]:
    """Those of an array, behind its bracket."""
    if window.skip_space() == "]":
        window.move(1)
    else:
        while True:
            found = _next(window, decode, ends=",]")
            if found is _NONE or (
                isinstance(found, Bad) and not window.passed and window.skip_space() not in {",", "]"}
            ):
                reason = found.reason if isinstance(found, Bad) else "it ends before its bracket"
                raise BrokenJsonError(f"the array of JSON cannot be read: {reason}")
            yield found
            delimiter = window.skip_space()
            window.move(1)
            if delimiter == "]":
                break
            if delimiter != ",":
                raise BrokenJsonError(f"the array of JSON cannot be read: {delimiter!r} stands behind an element")
    if window.skip_space():
        raise BrokenJsonError("the array of JSON cannot be read: more stands behind its end")


def _side_by_side(first: object, window: _Window, decode: json.JSONDecoder) -> Iterator[object]:
    yield first
    while (found := _next(window, decode)) is not _NONE:
        if isinstance(found, Bad) and not window.passed:
            raise BrokenJsonError(f"the objects of JSON cannot be read: {found.reason}")
        yield found


_NONE = object()


def _next(window: _Window, decode: json.JSONDecoder, ends: str = "") -> object:
    """The next value, or why there is none; `_NONE` at the end. Moves behind the value, or stays before what is none.

    With `ends`, a value counts only once one of these stands behind it.
    """
    window.passed = ""
    if not window.skip_space():
        return _NONE
    refused: NotANumberError | None = None
    while True:
        try:
            found, end = (_any if refused else decode).raw_decode(window.text, window.at)
        except NotANumberError as error:
            # It can be read by others, so that its end is known, and only it is bad.
            refused = error
            continue
        except (ValueError, RecursionError) as error:
            if not isinstance(error, RecursionError) and window.more():
                continue
            return Bad(_reason(error), window.text[window.at : window.at + _PIECE])
        rest = window.text[end:].lstrip(_SPACE)[:1] if ends else "."
        if not rest and window.more():
            continue
        shown = window.passed = window.text[window.at : end]
        window.at = end
        return Bad(str(refused), shown) if refused else found


# NaN is a float to it.
_any = json.JSONDecoder()


class _Window:
    """A part of the text, as far as it is needed.

    Attributes:
        text: The part.
        at: Where in it the next value begins.
        passed: The value before; empty, if it could not be passed.
    """

    def __init__(self, text: str | bytes, start: int) -> None:
        self._source = text
        self._next = start
        self._decode: Callable[..., str] = codecs.getincrementaldecoder("utf-8")("backslashreplace").decode
        self.text = self.passed = ""
        self.at = 0

    def more(self) -> bool:
        """Takes as much again, so that a long value is not read too often. False at the end."""
        if self._next >= len(self._source) or len(self.text) - self.at > _LARGEST:
            return False
        size = max(_PIECE, len(self.text) - self.at)
        piece: Any = self._source[self._next : self._next + size]
        self._next += size
        decoded = piece if isinstance(piece, str) else self._decode(piece, self._next >= len(self._source))
        self.text, self.at = self.text[self.at :] + decoded, 0
        return True

    def skip_space(self) -> str:
        """The next character that is no white space, which is then at hand; none at the end."""
        while True:
            while self.at < len(self.text):
                if self.text[self.at] not in _SPACE:
                    return self.text[self.at]
                self.at += 1
            if not self.more():
                return ""

    def move(self, characters: int) -> None:
        """Goes on."""
        self.at += characters


def _start(text: str | bytes) -> int:
    """Where the first value begins."""
    mark = _BOM if isinstance(text, str) else _BOM_BYTES
    start = len(mark) if text[: len(mark)] == mark else 0
    while text[start : start + 1] in _SPACES:
        start += 1
    return start


def _line_end(text: str | bytes, start: int) -> int:
    found = text.find("\n", start) if isinstance(text, str) else text.find(b"\n", start)
    return len(text) if found < 0 else found


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"it is not UTF-8: {error.reason} at byte {error.start}"
    if isinstance(error, RecursionError):
        return "it is nested too deep"
    if isinstance(error, json.JSONDecodeError):
        return f"it is no JSON: {error.msg} at character {error.pos + 1}"
    return str(error)
