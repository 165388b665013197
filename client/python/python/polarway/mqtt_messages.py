"""Messages of an MQTT broker, the rows in them, and batches that are confirmed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from polarway.parsing import json_objects, read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from polarway.error import Error
    from polarway.live_encoding import Row
    from polarway.result import Result


@dataclass(frozen=True)
class Message:
    """One message as it came.

    Attributes:
        topic: Where it was published.
        payload: What was published.
        qos: 0 or 1; with 0 nothing can be confirmed, and it is never delivered again.
        retain: Whether the broker had kept it for new subscribers.
        duplicate: Whether the broker may have delivered it before.
    """

    topic: str
    payload: bytes
    qos: int
    retain: bool
    duplicate: bool


def json_rows(message: Message) -> Row | Iterable[Row]:
    """The object that is a message's payload, or the objects of an array.

    Raises:
        ValueError: the payload is neither.

    >>> json_rows(Message("a/b", b'{"value": 1.5}', 1, False, False))
    {'value': 1.5}
    """
    return json_objects(message.payload)


class MessageBatch:
    """Messages that are not confirmed yet.

    Attributes:
        messages: All of them, in the order in which they came.
        records: The rows that were read out of them.
        unread: Messages out of which none could be read. They are confirmed with the others, or would come for ever.
    """

    def __init__(
        self,
        messages: Sequence[Message],
        parse: Callable[[Message], Row | Iterable[Row] | None],
        confirm: Callable[[], Result[None, Error]],
    ) -> None:
        self.messages = messages
        self.records, self.unread = read(messages, parse)
        self._confirm = confirm

    async def confirm(self) -> Result[None, Error]:
        """Tells the broker that these messages need not be delivered again.

        Returns:
            `DRAINING` when the connection over which they came is lost: the broker delivers them again.
        """
        return self._confirm()

    def __len__(self) -> int:
        return len(self.messages)

    def __repr__(self) -> str:
        return f"<MessageBatch: {len(self.messages)} messages, {len(self.records)} rows, {len(self.unread)} unread>"
