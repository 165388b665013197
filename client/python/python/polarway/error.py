"""`Error`: what a server or the connection to it said no with."""

from __future__ import annotations

from typing import TypedDict


class Fault(TypedDict):
    """An error's parts as the native module gives them."""

    kind: str
    message: str
    hint: str
    place: tuple[int, int] | None
    retry_after: float | None
    is_retryable: bool
    is_unavailable: bool


class Error(Exception):
    """What went wrong, for whoever has to act on it. It is a value in a `Result`, and may also be raised.

    Attributes:
        kind: Stable name of the kind, such as `TABLE_NOT_FOUND`; docs/errors.md lists all.
        message: One sentence that names the cause.
        hint: What to do about it.
        place: Line and column in the statement, both counted from one, where they are known.
        retry_after: Seconds after which a retry makes sense, where the server said so.
        is_retryable: Whether the same request can succeed when it is sent again unchanged.
        is_unavailable: Whether the cluster was not there, rather than the request wrong; a `CircuitBreaker` counts it.
    """

    def __init__(  # noqa: PLR0913 - one argument for each part that the wire carries
        self,
        kind: str,
        message: str,
        *,
        hint: str = "",
        place: tuple[int, int] | None = None,
        retry_after: float | None = None,
        is_retryable: bool = False,
        is_unavailable: bool = False,
    ) -> None:
        super().__init__(kind, message)
        self.kind = kind
        self.message = message
        self.hint = hint
        self.place = place
        self.retry_after = retry_after
        self.is_retryable = is_retryable
        self.is_unavailable = is_unavailable

    @classmethod
    def of(cls, fault: Fault) -> Error:
        """The error of these parts."""
        return cls(
            fault["kind"],
            fault["message"],
            hint=fault["hint"],
            place=fault["place"],
            retry_after=fault["retry_after"],
            is_retryable=fault["is_retryable"],
            is_unavailable=fault["is_unavailable"],
        )

    def __str__(self) -> str:
        place = f" (at line {self.place[0]}, column {self.place[1]})" if self.place else ""
        hint = f"\nHint: {self.hint}" if self.hint else ""
        return f"{self.kind}: {self.message}{place}{hint}"

    def __repr__(self) -> str:
        return f"Error({self.kind!r}, {self.message!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Error) and self._parts() == other._parts()

    def __hash__(self) -> int:
        return hash(self._parts())

    def _parts(self) -> tuple[object, ...]:
        return (
            self.kind,
            self.message,
            self.hint,
            self.place,
            self.retry_after,
            self.is_retryable,
            self.is_unavailable,
        )

    def fault(self) -> Fault:
        """Its parts, of which `of` makes it again."""
        return Fault(
            kind=self.kind,
            message=self.message,
            hint=self.hint,
            place=self.place,
            retry_after=self.retry_after,
            is_retryable=self.is_retryable,
            is_unavailable=self.is_unavailable,
        )

    def __reduce__(self) -> tuple[object, tuple[Fault]]:
        return Error.of, (self.fault(),)
