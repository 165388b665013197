"""What a feed has done so far."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from polarway.error import Error


@dataclass(frozen=True)
class Counts:
    """A feed's counts at one moment; they never change, ask the feed again for newer ones.

    Attributes:
        connects: Connections that were opened.
        reconnects: Of them, those after the first.
        messages: Messages received, those that could not be read too.
        bytes: Their sizes in bytes, without what the protocol adds.
        bad_messages: Messages that could not be read.
        last_error: Why the last connection was lost or not opened, or the last message not read; whichever came last.
    """

    connects: int = 0
    messages: int = 0
    bytes: int = 0
    bad_messages: int = 0
    last_error: Error | None = None

    @property
    def reconnects(self) -> int:
        """Connections that were opened after the first."""
        return max(0, self.connects - 1)
