"""`consume_kafka`: messages of a Kafka cluster in batches whose offsets are committed when they are durable."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from polarway._delays import Delays
from polarway._subscription import Subscription
from polarway.backoff import Backoff
from polarway.error import Error
from polarway.kafka_messages import Format, KafkaBatch, KafkaMessage, parser_of
from polarway.kafka_options import KafkaOptions, Mechanism, Start, names_of, servers_of, tls_of
from polarway.kafka_positions import Partition, Positions, Span, Tenure
from polarway.result import Err, Ok, Result

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable, Sequence

    from polarway.kafka_connection import Connection
    from polarway.live_encoding import Row

_POLL = 0.5
# What a message takes beside its key and value, about.
_OVERHEAD = 256
# For what was confirmed and could not be committed yet, when the consumer is closed.
_LAST_COMMIT = 1.0


def consume_kafka(  # noqa: PLR0913 - each is a choice of its own
    topics: str | Sequence[str],
    *,
    bootstrap_servers: str | Sequence[str] = KafkaOptions.bootstrap_servers,
    group_id: str = KafkaOptions.group_id,
    client_id: str = KafkaOptions.client_id,
    tls: ssl.SSLContext | bool = False,
    sasl_mechanism: Mechanism = KafkaOptions.sasl_mechanism,
    user: str | None = None,
    password: str | None = None,
    start: Start = KafkaOptions.start,
    parse: Format | Callable[[KafkaMessage], Row | Iterable[Row] | None] = "json",
    max_records: int = KafkaOptions.max_records,
    max_delay: float = KafkaOptions.max_delay,
    prefetch_bytes: int = KafkaOptions.prefetch_bytes,
    partition_bytes: int = KafkaOptions.partition_bytes,
    session_timeout: float = KafkaOptions.session_timeout,
    max_poll_interval: float = KafkaOptions.max_poll_interval,
    keepalive: float = KafkaOptions.keepalive,
    connect_timeout: float = KafkaOptions.connect_timeout,
    commit_timeout: float = KafkaOptions.commit_timeout,
    backoff_min: float = KafkaOptions.backoff_min,
    backoff_max: float = KafkaOptions.backoff_max,
) -> KafkaConsumer:
    """Consumes topics of a Kafka cluster as a member of a group. What it gives is used as a context, and iterated once.

    Messages come at least once: offsets are committed only when their batch is confirmed, so that what was not
    confirmed when the process, the connection or the membership ends comes again. Rows may come twice, and are not
    lost.

    Args:
        topics: One topic or several.
        bootstrap_servers: `HOST:PORT` of brokers, as one text with commas or as several; the others are learned there.
        group_id: Name of the group, whose members share the partitions, and under which the cluster keeps what was
            confirmed. Programs that are to get all messages each need a group of their own.
        client_id: Name in the logs of the cluster.
        tls: How to check the brokers' certificates; True: by the system's authorities.
        sasl_mechanism: How to show user and password. With PLAIN and no TLS everybody on the way can read them.
        user: User, where the cluster asks for one.
        password: Its password.
        start: Where a group begins that has confirmed nothing yet, or what it has not confirmed is gone:
            with the `earliest` message, or the `latest`.
        parse: How rows are made of a message. `json`: its value is an object, or an array of them; `ndjson`: an object
            a line; `bytes`: one row with the message's parts; or a function that makes a row, rows or None of it.
            Messages for which it raises are the batch's `unread`.
        max_records: Messages of a batch, at most.
        max_delay: Seconds for which a batch waits for more, from the arrival of its first message on.
        prefetch_bytes: What is read ahead of the caller, and what a batch holds, at most; below it aiokafka holds twice
            `partition_bytes` of each partition at most. A single message may be larger.
        partition_bytes: What is fetched of a partition at once, as it is compressed.
        session_timeout: Seconds of silence after which the group gives this consumer's partitions to others.
        max_poll_interval: Seconds for which the caller may leave a full prefetch alone before the same happens.
        keepalive: Seconds without a message after which the brokers are asked whether they are there.
        connect_timeout: Seconds for a broker to accept a connection.
        commit_timeout: Seconds for which `confirm` waits for the cluster.
        backoff_min: Seconds of the first pause between two attempts.
        backoff_max: Seconds of the longest one.

    Raises:
        ValueError: an argument is not valid.
    """
    options = KafkaOptions(
        topics=names_of(topics),
        bootstrap_servers=servers_of(bootstrap_servers),
        group_id=group_id,
        client_id=client_id,
        tls=tls_of(tls),
        sasl_mechanism=sasl_mechanism,
        user=user,
        password=password,
        start=start,
        max_records=max_records,
        max_delay=max_delay,
        prefetch_bytes=prefetch_bytes,
        partition_bytes=partition_bytes,
        session_timeout=session_timeout,
        max_poll_interval=max_poll_interval,
        keepalive=keepalive,
        connect_timeout=connect_timeout,
        commit_timeout=commit_timeout,
        backoff_min=backoff_min,
        backoff_max=backoff_max,
    )
    return KafkaConsumer(options, parser_of(parse))


class _Waiting(NamedTuple):
    """A message that is not given yet."""

    message: KafkaMessage
    tenure: Tenure
    size: int
    since: float


class KafkaConsumer(Subscription[KafkaBatch]):
    """Batches of messages, as `Ok(batch)`; after an `Err` there is no more. Made by `consume_kafka`.

    A connection or membership that is lost is made again, as long as it takes; only what will not get better is an
    `Err`.

    Attributes:
        received: Messages that came, those that came again counted again.
        unread: Of those that were given, the messages out of which no rows could be read.
        last_error: Why there was no connection the last time.
    """

    def __init__(self, options: KafkaOptions, parse: Callable[[KafkaMessage], Row | Iterable[Row] | None]) -> None:
        super().__init__("consumer", "polarway kafka")
        self._options = options
        self._parse = parse
        self._queue: deque[_Waiting] = deque()
        self._queued = 0
        self._positions = Positions()
        self._connection: Connection | None = None
        self._connections = 0
        # One commit at a time; it covers all that was confirmed while it waited for its turn.
        self._committing = asyncio.Lock()
        self.received = 0
        self.unread = 0
        self.last_error: Error | None = None

    def __repr__(self) -> str:
        options = self._options
        return (
            f"<KafkaConsumer: {', '.join(options.topics)} as {options.group_id!r}, {len(self.partitions)} partitions>"
        )

    @property
    def partitions(self) -> tuple[Partition, ...]:
        """Those that the group has given to this consumer: topic and number of each."""
        return self._positions.partitions

    @property
    def reconnects(self) -> int:
        """Memberships after the first. What aiokafka repairs within one is not counted."""
        return max(0, self._connections - 1)

    async def next(self) -> Result[KafkaBatch | None, Error]:
        """The next batch; `None` when the consumer is closed. A wait that is cancelled loses nothing."""
        started = self._start()
        if isinstance(started, Err):
            return started
        clock = asyncio.get_running_loop().time
        while self._failure is None:
            patience = None
            if self._queue:
                patience = self._queue[0].since + self._options.max_delay - clock()
                if patience <= 0 or len(self._queue) >= self._options.max_records or self._is_full:
                    return Ok(self._taken())
            with contextlib.suppress(asyncio.TimeoutError, TimeoutError):
                await asyncio.wait_for(self._bell.wait(), patience)
        return Ok(None) if self._failure.kind == "CANCELLED" else Err(self._failure)

    @property
    def _is_full(self) -> bool:
        return self._queued >= self._options.prefetch_bytes

    def _taken(self) -> KafkaBatch:
        taken = [self._queue.popleft() for _ in range(min(len(self._queue), self._options.max_records))]
        self._queued -= sum(waiting.size for waiting in taken)
        self._bell.ring()
        offsets: dict[Tenure, tuple[int, int]] = {}
        for message, tenure, _, _ in taken:
            first, _ = offsets.get(tenure, (message.offset, 0))
            offsets[tenure] = (first, message.offset)
        spans = [tenure.give(first, last) for tenure, (first, last) in offsets.items()]
        batch = KafkaBatch([waiting.message for waiting in taken], self._parse, lambda: self._confirm(spans))
        self.unread += len(batch.unread)
        return batch

    async def _confirm(self, spans: Sequence[Span]) -> Result[None, Error]:
        lost = self._positions.confirm(spans)
        committed = await self._commit(self._options.commit_timeout)
        if isinstance(committed, Err):
            return committed
        if lost:
            named = ", ".join(f"{topic}/{number}" for topic, number in lost)
            return Err(_comes_again(f"the membership in which the messages came is over for {named}"))
        return Ok(None)

    async def _commit(self, timeout: float) -> Result[None, Error]:
        async with self._committing:
            due = self._positions.due()
            if not due:
                return Ok(None)
            if self._connection is None:
                return Err(_comes_again("there is no connection to the cluster"))
            committed = await self._connection.commit({tenure.partition: offset for tenure, offset in due}, timeout)
            if committed.is_ok():
                self._positions.committed(due)
            return committed

    async def aclose(self) -> None:
        """Leaves the group. What was not confirmed comes again, to whoever has its partition next."""
        await self._close()

    def _missing(self) -> Error | None:
        try:
            importlib.import_module("aiokafka")
        except ImportError:
            return Error(
                "CONFIGURATION",
                "consuming from Kafka needs the package aiokafka (0.12 or later), which is not installed",
                hint="pip install 'polarway[kafka]'",
            )
        return None

    def _ended(self, work: asyncio.Task[Error]) -> None:
        super()._ended(work)
        self._forget()

    async def _run(self) -> Error:
        from polarway.kafka_connection import Connection  # noqa: PLC0415 - the library below it is needed for this alone

        delays = Delays(Backoff(self._options.backoff_min, cap=self._options.backoff_max, jitter="half"))
        while True:
            received = self.received
            error: Error
            connection = Connection(self._options, self)
            try:
                opened = (await connection.open()).variant
                if isinstance(opened, Err):
                    error = opened.err_value
                else:
                    self._connections += 1
                    self._connection = connection
                    error = await self._reading(connection)
            finally:
                await self._left(connection)
            self.last_error = error
            if not error.is_retryable:
                return error
            if self.received > received:
                delays.reset()
            await asyncio.sleep(delays.next())

    async def _left(self, connection: Connection) -> None:
        """Ends a membership; what was read and not given comes again in the next."""
        self._forget()
        try:
            # A commit that is under way is not waited for: it ends with its connection.
            if self._connection is not None and not self._committing.locked():
                await self._commit(_LAST_COMMIT)
        finally:
            self._connection = None
            self._positions.revoke()
            await connection.close()

    async def _reading(self, connection: Connection) -> Error:
        clock = asyncio.get_running_loop().time
        heard = clock()
        while True:
            while self._is_full:
                await self._bell.wait()
                heard = clock()
            found = (await connection.read(_POLL)).variant
            if isinstance(found, Err):
                return found.err_value
            if messages := found.ok_value:
                heard = clock()
                if not self._heard(messages, heard):
                    return _comes_again("messages came of a partition that the group has not given to this consumer")
            elif clock() - heard > self._options.keepalive:
                answered = (await connection.probe(self._options.keepalive)).variant
                if isinstance(answered, Err):
                    return answered.err_value
                heard = clock()

    def _heard(self, messages: Sequence[KafkaMessage], now: float) -> bool:
        """Queues messages. False: one belongs to no tenure, so that nothing behind it may be committed."""
        for message in messages:
            tenure = self._positions.tenure(Partition(message.topic, message.partition))
            if tenure is None:
                return False
            size = len(message.key or b"") + len(message.value or b"") + _OVERHEAD
            self._queue.append(_Waiting(message, tenure, size, now))
            self._queued += size
        self.received += len(messages)
        self._bell.ring()
        return True

    def assigned(self, partitions: Sequence[Partition]) -> None:
        """Told by the connection."""
        self._positions.assign(partitions)

    def revoked(self, partitions: Sequence[Partition]) -> None:
        """Told by the connection: others read on from what was committed."""
        self._positions.revoke(partitions)
        kept = [waiting for waiting in self._queue if not waiting.tenure.is_over]
        self._queue = deque(kept)
        self._queued = sum(waiting.size for waiting in kept)
        self._bell.ring()

    def _forget(self) -> None:
        self._queue.clear()
        self._queued = 0


def _comes_again(message: str) -> Error:
    hint = "the messages come again; rows that may not be stored twice need a key"
    return Error("DRAINING", message, hint=hint, is_retryable=True, is_unavailable=True)
