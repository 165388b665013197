"""Messages of a Kafka cluster, the rows in them, and batches that are confirmed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from polarway.parsing import json_lines, json_objects, read

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence
    from datetime import datetime

    from polarway.error import Error
    from polarway.live_encoding import Row
    from polarway.result import Result

Format = Literal["json", "ndjson", "bytes"]


@dataclass(frozen=True)
class KafkaMessage:
    """One message as it came; in Kafka's words a record.

    Attributes:
        topic: Where it was published.
        partition: In which partition of the topic.
        offset: Its number in the partition; they grow, and may have gaps.
        timestamp: When it was published, or stored by the cluster, as the topic says; in UTC, to the millisecond.
        key: What decided about its partition, if anything.
        value: What was published. None: a tombstone, which says that what had the key is gone.
        headers: What stands beside the value, in order; a name may come several times.
    """

    topic: str
    partition: int
    offset: int
    timestamp: datetime | None
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()


def json_rows(message: KafkaMessage) -> Row | list[Row] | None:
    """The object that is a message's value, or the objects of an array; of a tombstone none.

    Raises:
        ValueError: the value is neither.
    """
    return None if message.value is None else json_objects(message.value)


def ndjson_rows(message: KafkaMessage) -> list[Row] | None:
    """The objects of a message that has one a line; of a tombstone none.

    Raises:
        ValueError: a line is no JSON object. The message is unread as a whole.
    """
    return None if message.value is None else json_lines(message.value)


def bytes_row(message: KafkaMessage) -> Row:
    """The message itself: topic, partition, offset, timestamp, key and value, the latter two as bytes."""
    return {
        "topic": message.topic,
        "partition": message.partition,
        "offset": message.offset,
        "timestamp": message.timestamp,
        "key": message.key,
        "value": message.value,
    }


_PARSERS: dict[str, Callable[[KafkaMessage], Row | Iterable[Row] | None]] = {
    "json": json_rows,
    "ndjson": ndjson_rows,
    "bytes": bytes_row,
}


def parser_of(
    parse: Format | Callable[[KafkaMessage], Row | Iterable[Row] | None],
) -> Callable[[KafkaMessage], Row | Iterable[Row] | None]:
    """The one of a format, or the given one.

    Raises:
        ValueError: there is no such format.
    """
    if callable(parse):
        return parse
    if parse not in _PARSERS:
        raise ValueError(f"parse has to be one of {', '.join(_PARSERS)}, or a function, not {parse!r}")
    return _PARSERS[parse]


class KafkaBatch:
    """Messages whose offsets are not committed yet.

    Attributes:
        messages: All of them; those of one partition in the order of their offsets.
        records: The rows that were read out of them.
        unread: Messages out of which none could be read. They are confirmed with the others, or would come for ever.
    """

    def __init__(
        self,
        messages: Sequence[KafkaMessage],
        parse: Callable[[KafkaMessage], Row | Iterable[Row] | None],
        confirm: Callable[[], Awaitable[Result[None, Error]]],
    ) -> None:
        self.messages = messages
        self.records, self.unread = read(messages, parse)
        self._confirm = confirm

    async def confirm(self) -> Result[None, Error]:
        """Says that the rows are durable, and commits the offsets of all batches that are so without a gap.

        Call it when the rows are where they have to be, and not before. Batches may be confirmed in any order: a
        batch before which another one is not confirmed is committed with that.

        Returns:
            `DRAINING` when the messages, or some of them, come again: their partitions went to another consumer, or the
            cluster could not be reached. In the latter case the next `confirm` commits them too.
        """
        return await self._confirm()

    def __len__(self) -> int:
        return len(self.messages)

    def __repr__(self) -> str:
        return f"<KafkaBatch: {len(self.messages)} messages, {len(self.records)} rows, {len(self.unread)} unread>"
