"""Rows out of messages that strangers have published: what cannot be read stands beside what can."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from polarway.live_encoding import Row

M = TypeVar("M")


@dataclass(frozen=True)
class Unread(Generic[M]):
    """A message out of which no rows could be read.

    Attributes:
        message: The message.
        reason: What `parse` raised.
    """

    message: M
    reason: Exception


def json_objects(payload: bytes) -> Row | list[Row]:
    """The object that a payload is, or the objects of an array.

    Raises:
        ValueError: it is neither.

    >>> json_objects(b'[{"value": 1.5}, {}]')
    [{'value': 1.5}, {}]
    """
    found: Any = json.loads(payload)
    rows = cast("list[object]", found) if isinstance(found, list) else [found]
    if not all(isinstance(row, dict) for row in rows):
        raise ValueError("the payload is no JSON object, and no array of objects")
    return cast("Row | list[Row]", found)


def json_lines(payload: bytes) -> list[Row]:
    r"""The objects of a payload that has one a line; empty lines are left out.

    Raises:
        ValueError: a line is no JSON object; it names the first.

    >>> json_lines(b'{"value": 1.5}\n\n{}\r\n')
    [{'value': 1.5}, {}]
    """
    rows: list[Row] = []
    for number, line in enumerate(payload.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            row: Any = json.loads(line)
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from error
        if not isinstance(row, dict):
            raise ValueError(f"line {number} is no JSON object")  # noqa: TRY004 - as of every other line
        rows.append(cast("Row", row))
    return rows


def read(messages: Sequence[M], parse: Callable[[M], Row | Iterable[Row] | None]) -> tuple[list[Row], list[Unread[M]]]:
    """The rows of all messages in order, and the messages whose rows cannot be read."""
    rows: list[Row] = []
    unread: list[Unread[M]] = []
    for message in messages:
        try:
            found = parse(message)
            if isinstance(found, Mapping):
                rows.append(cast("Row", found))
            elif found is not None:
                # All of them, or none: a generator may raise on its way.
                rows.extend(list(found))
        # Whatever a parser does with what strangers have published: the messages beside it must go on.
        except Exception as reason:  # noqa: BLE001
            unread.append(Unread(message, reason))
    return rows, unread
