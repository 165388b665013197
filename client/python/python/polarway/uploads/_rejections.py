"""Rows that do not fit: the first of them as they came, and how many they are in all."""

from __future__ import annotations

from dataclasses import dataclass

from polarway.error import Error

# Characters of a row that are kept.
_TEXT = 500


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row that was left out.

    Attributes:
        number: Its place among all rows that came, good and bad, counted from one.
        reason: What does not fit.
        text: The row as it came, or its beginning: at most 500 characters.
    """

    number: int
    reason: str
    text: str


class Refused(Exception):  # noqa: N818 - it carries an error, and is none for users
    """Ends an upload with an error."""

    def __init__(self, error: Error) -> None:
        super().__init__(str(error))
        self.error = error


class Rejections:
    """Rows that were left out so far; at most `keep` of them are held.

    >>> rejections = Rejections(1)
    >>> rejections.add(1, "no JSON", "{")
    >>> rejections.add(4, "no JSON", "}")
    >>> rejections.count, rejections.first
    (2, (Rejected(number=1, reason='no JSON', text='{'),))
    """

    def __init__(self, keep: int, *, fail: bool = False) -> None:
        """With `fail` the first one ends the upload."""
        self.count = 0
        self._keep = keep
        self._fail = fail
        self._first: list[Rejected] = []

    @property
    def first(self) -> tuple[Rejected, ...]:
        """Those that are held, in order."""
        return tuple(self._first)

    def add(self, number: int, reason: str, text: str) -> None:
        """One more.

        Raises:
            Refused: none may be left out.
        """
        self.count += 1
        if len(self._first) < max(self._keep, 1):
            shown = text if len(text) <= _TEXT else text[: _TEXT - 1] + "…"
            self._first.append(Rejected(number, reason, shown))
        if self._fail:
            raise Refused(self.error(f"row {number} does not fit: {reason}"))

    def all_bad(self) -> Error:
        """The error of rows of which none could be taken."""
        first = self._first[0]
        return self.error(f"none of the {self.count:,} rows fits; the first, row {first.number}: {first.reason}")

    def error(self, message: str) -> Error:
        """An error about rows."""
        return Error("TYPE_MISMATCH", message, hint="correct the rows, or give a schema that they fit")

    def kept(self) -> tuple[Rejected, ...]:
        """Those that the user asked to keep."""
        return self.first[: self._keep]
