"""What follows from the kind of an error that came as data, not with a call: what is told of a job that failed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polarway.error import Error

if TYPE_CHECKING:
    from collections.abc import Mapping

# docs/errors.md says the same; the native module adds it to the errors of calls by itself.
RETRYABLE = frozenset(
    {"DRAINING", "EXECUTOR_LOST", "NO_EXECUTORS", "OVERLOADED", "SNAPSHOT_TOO_OLD", "STORE_UNAVAILABLE"}
)
UNAVAILABLE = frozenset({"DRAINING", "EXECUTOR_LOST", "NO_EXECUTORS", "OVERLOADED", "STORE_UNAVAILABLE"})


def told(parts: Mapping[str, Any]) -> Error:
    """The error that a server keeps in JSON.

    Raises:
        KeyError: a part is missing.
        TypeError: a part is of another type.
    """
    kind: str = parts["kind"]
    place: Mapping[str, int] | None = parts.get("place")
    delay: int | None = parts.get("retry_after_ms")
    return Error(
        kind,
        parts["message"],
        hint=parts["hint"] or "",
        place=None if place is None else (place["line"], place["column"]),
        retry_after=None if delay is None else delay / 1000,
        is_retryable=kind in RETRYABLE,
        is_unavailable=kind in UNAVAILABLE,
    )
