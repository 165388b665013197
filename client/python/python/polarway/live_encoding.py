"""Rows as the server takes them: JSON, one object a line.

Lines rather than an array, since a line that the server cannot read never takes its neighbours with it: NaN, which JSON
does not have, makes a dead letter of its own row.
"""

from __future__ import annotations

import datetime
import decimal
import json
import numbers
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, cast

from polarway.live_options import HEADER_BYTES, LARGEST_FRAME

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Row: TypeAlias = Mapping[str, object]


def _plain(value: object) -> object:
    """What `json` writes in place of a value that it does not know."""
    if isinstance(value, datetime.date):  # datetime, pandas.Timestamp and others are dates too
        return value.isoformat()
    if isinstance(value, decimal.Decimal | uuid.UUID):
        # A decimal's digits would not survive as a JSON number: Python writes those from floats.
        return str(value)
    # NumPy registers its scalars here.
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    if isinstance(value, Mapping):
        return dict(cast("Mapping[object, object]", value))
    raise TypeError(f"a value of type {type(value).__qualname__} cannot be sent: {value!r}")


# Characters beyond ASCII are escaped: then the length of a text is its length in bytes.
_encode = json.JSONEncoder(separators=(",", ":"), default=_plain).encode


class RowError(Exception):
    """A row that cannot be written.

    Attributes:
        index: Which of the rows it is, counted from zero.
    """

    def __init__(self, index: int, reason: str) -> None:
        super().__init__(index, reason)
        self.index = index
        self.reason = reason


def lines(rows: Sequence[Row]) -> str:
    r"""The rows, one a line, without a line feed at the end.

    Raises:
        RowError: a row is no mapping, or has a value or a key that cannot be sent.

    >>> lines([{"at": datetime.date(2026, 11, 25), "price": decimal.Decimal("1.10")}, {"at": None}])
    '{"at":"2026-11-25","price":"1.10"}\n{"at":null}'
    """
    if set(map(type, rows)) == {dict}:
        try:
            text = _encode(rows)
        except (TypeError, ValueError, RecursionError):
            return _one_by_one(rows)
        # One call for all rows takes half the time of one for each. Between two rows stands `},{`; if it stands
        # nowhere else, each is a place where a line ends.
        if text.count("},{") == len(rows) - 1:
            return text[1:-1].replace("},{", "}\n{")
    return _one_by_one(rows)


def _one_by_one(rows: Sequence[object]) -> str:
    written: list[str] = []
    for index, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise RowError(index, f"a row has to be a mapping, not {type(row).__qualname__}: {row!r}")
        try:
            # A mapping that is no dict would become one in a call of its own.
            written.append(_encode(dict(cast("Row", row))))
        except (TypeError, ValueError, RecursionError) as error:
            raise RowError(index, str(error)) from error
    return "\n".join(written)


@dataclass(frozen=True)
class Payload:
    """Rows of one frame.

    Attributes:
        text: The rows, in ASCII.
        rows: How many they are.
    """

    text: str
    rows: int


def fitting(text: str, rows: int, limit: int) -> Iterator[Payload]:
    """The lines in order, in payloads of at most `limit` bytes; a longer line is alone.

    Raises:
        RowError: a line is longer than any server takes.
    """
    if len(text) <= limit:
        yield Payload(text, rows)
        return
    taken: list[str] = []
    size = 0
    for index, line in enumerate(text.split("\n")):
        if len(line) > LARGEST_FRAME - HEADER_BYTES:
            raise RowError(index, f"the row has {len(line)} bytes, and a frame at most {LARGEST_FRAME}")
        if taken and size + 1 + len(line) > limit:
            yield Payload("\n".join(taken), len(taken))
            taken, size = [], 0
        size += len(line) + bool(taken)
        taken.append(line)
    yield Payload("\n".join(taken), len(taken))


class Pending:
    """Rows of a frame that is not closed yet."""

    def __init__(self, max_rows: int, max_bytes: int) -> None:
        self._max_rows = max_rows
        self._max_bytes = max_bytes
        self._texts: list[str] = []
        self.rows = 0
        self._bytes = 0

    def has_room_for(self, payload: Payload) -> bool:
        """Whether these rows may come into the same frame."""
        return not self.rows or (
            self.rows + payload.rows <= self._max_rows and self._bytes + 1 + len(payload.text) <= self._max_bytes
        )

    @property
    def is_full(self) -> bool:
        """Whether the frame is as large as a frame should be."""
        return self.rows >= self._max_rows or self._bytes >= self._max_bytes

    def add(self, payload: Payload) -> None:
        """Adds rows behind those that are there."""
        self._bytes += len(payload.text) + bool(self._texts)
        self._texts.append(payload.text)
        self.rows += payload.rows

    def take(self) -> Payload:
        """All rows; none are there afterwards."""
        payload = Payload("\n".join(self._texts), self.rows)
        self._texts = []
        self.rows = self._bytes = 0
        return payload
