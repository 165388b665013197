"""How the connections of a feed are opened, as data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Dialing:
    """How connections are opened.

    Attributes:
        headers: Sent with the request that opens a connection.
        open_timeout: Seconds for opening one.
        max_message_bytes: Size from which a message ends its connection.
        buffer: Messages that are read ahead of who takes them.
    """

    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    open_timeout: float = 10.0
    max_message_bytes: int = 2**20
    buffer: int = 256

    def __post_init__(self) -> None:
        if not self.open_timeout > 0:
            raise ValueError(f"open_timeout must be more than 0 seconds, not {self.open_timeout}")
        if self.max_message_bytes < 1:
            raise ValueError(f"max_message_bytes must be 1 or more, not {self.max_message_bytes}")
        if self.buffer < 1:
            raise ValueError(f"buffer must be 1 or more messages, not {self.buffer}")
