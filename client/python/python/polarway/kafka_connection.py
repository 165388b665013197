"""One membership in a consumer group. The only file that knows `aiokafka`.

aiokafka reconnects, joins the group again and fetches by tasks of its own. What it does not recover from, and what it
would wait for in vain, ends the membership here, and `KafkaConsumer` begins another one: a fetch task that has died, an
error in the middle of a read (which may have skipped records), brokers that have all moved.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import importlib
import logging
from typing import TYPE_CHECKING, Any, Protocol

from polarway._tasks import cancel_and_join, join
from polarway.error import Error
from polarway.kafka_messages import KafkaMessage
from polarway.kafka_positions import Partition
from polarway.result import Err, Ok, Result

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from polarway.kafka_options import KafkaOptions

# It tells no types.
_aiokafka: Any = importlib.import_module("aiokafka")
_conn: Any = importlib.import_module("aiokafka.conn")
_errors: Any = importlib.import_module("aiokafka.errors")

# What its calls raise; anything else is a defect.
_FAILURES: tuple[type[Exception], ...] = (
    _errors.KafkaError,
    _errors.ConsumerStoppedError,
    _errors.IllegalOperation,
    OSError,
    asyncio.TimeoutError,
    TimeoutError,
)
# The membership has ended meanwhile, or the partition is another consumer's.
_REBALANCED: tuple[type[Exception], ...] = (
    _errors.CommitFailedError,
    _errors.IllegalStateError,
    _errors.ConsumerStoppedError,
)
# Errors that will be the same next time, by the kind that they become; the hint follows.
_FINAL: dict[str, tuple[str, str]] = {
    **dict.fromkeys(
        (
            "AuthenticationFailedError",
            "ClusterAuthorizationFailedError",
            "GroupAuthorizationFailedError",
            "SaslAuthenticationFailed",
            "TopicAuthorizationFailedError",
        ),
        ("PERMISSION_DENIED", "check user, password, and what the cluster lets them read"),
    ),
    **dict.fromkeys(
        (
            "AuthenticationMethodNotSupported",
            "IllegalSaslStateError",
            "InconsistentGroupProtocolError",
            "InvalidGroupIdError",
            "InvalidSessionTimeoutError",
            "InvalidTopicError",
            "UnsupportedSaslMechanismError",
        ),
        ("INVALID_SETTING", "correct the argument"),
    ),
    "RecordTooLargeError": ("INVALID_SETTING", "raise partition_bytes"),
    "UnsupportedCodecError": ("CONFIGURATION", "pip install 'polarway[kafka]' brings what decompresses"),
    **dict.fromkeys(
        ("IncompatibleBrokerVersion", "UnrecognizedBrokerVersion", "UnsupportedVersionError"),
        ("UNSUPPORTED", "see which versions of Kafka aiokafka supports"),
    ),
    "CorruptRecordException": ("CORRUPT_FILE", "the cluster has a damaged record; seek behind it, or restore it"),
}
# Records of one read: one turn of the event loop.
_READ = 500
_RETRY_BACKOFF = 0.25
# How long brokers are waited for when the membership ends, before connections are broken off.
_FAREWELL = 0.5
_LONGEST_HEARTBEAT = 3.0
_COMMITTED_LATER = "the next confirmation commits them too; when there is none, the messages come again"


class _NoSecrets(logging.Filter):
    """aiokafka logs its requests at level DEBUG, and one of them is the password."""

    def filter(self, record: logging.LogRecord) -> bool:
        args = record.args if isinstance(record.args, tuple) else ()
        return not any(type(arg).__name__.startswith("SaslAuthenticate") for arg in args)


logging.getLogger("aiokafka.conn").addFilter(_NoSecrets())


class Group(Protocol):
    """Who is told what the group gives to this consumer."""

    def assigned(self, partitions: Sequence[Partition]) -> None:
        """These are this consumer's from now on."""
        ...

    def revoked(self, partitions: Sequence[Partition]) -> None:
        """These are not any more."""
        ...


class _Listener:
    """As aiokafka calls it."""

    def __init__(self, group: Group) -> None:
        self._group = group

    async def on_partitions_assigned(self, assigned: Iterable[Any]) -> None:
        self._group.assigned([Partition(*one) for one in assigned])

    async def on_partitions_revoked(self, revoked: Iterable[Any]) -> None:
        self._group.revoked([Partition(*one) for one in revoked])


# aiokafka asks whether a listener is one; a base class without types would spoil those here.
_aiokafka.ConsumerRebalanceListener.register(_Listener)


class Connection:
    """From joining the group to leaving it."""

    def __init__(self, options: KafkaOptions, group: Group) -> None:
        self._options = options
        session = round(options.session_timeout * 1000)
        self._consumer: Any = _aiokafka.AIOKafkaConsumer(
            group_id=options.group_id,
            enable_auto_commit=False,
            auto_offset_reset=options.start,
            # Rows of transactions that were aborted are none.
            isolation_level="read_committed",
            max_partition_fetch_bytes=options.partition_bytes,
            session_timeout_ms=session,
            heartbeat_interval_ms=round(min(options.session_timeout / 3, _LONGEST_HEARTBEAT) * 1000),
            # A broker answers a member that joins when all have come, or when this time is over.
            rebalance_timeout_ms=session,
            request_timeout_ms=session + 10_000,
            max_poll_interval_ms=round(options.max_poll_interval * 1000),
            retry_backoff_ms=round(_RETRY_BACKOFF * 1000),
            **self._where(),
        )
        self._committing: asyncio.Future[Result[None, Error]] | None = None
        self._consumer.subscribe(list(options.topics), listener=_Listener(group))

    def _where(self) -> dict[str, object]:
        options = self._options
        where: dict[str, object] = {
            "client_id": options.client_id,
            "security_protocol": options.protocol,
            "ssl_context": options.tls,
            "bootstrap_servers": list(options.bootstrap_servers),
        }
        if options.user is not None:
            where.update(
                sasl_mechanism=options.sasl_mechanism,
                sasl_plain_username=options.user,
                sasl_plain_password=options.password,
            )
        return where

    async def open(self) -> Result[None, Error]:
        """Connects, and joins the group."""
        refused = await self._knock()
        if refused is not None:
            return Err(refused)
        starting = asyncio.ensure_future(self._consumer.start())
        try:
            await asyncio.shield(starting)
        except asyncio.CancelledError:
            # In its first moments it has a connection that a cancellation would leave open.
            await asyncio.wait([starting], timeout=_FAREWELL)
            await cancel_and_join([starting])
            raise
        except _FAILURES as error:
            return Err(_classified(error, "the consumer group cannot be joined"))
        return Ok(None)

    async def _knock(self) -> Error | None:
        """Says why no broker lets this client in, which aiokafka's own start does not tell."""
        where = self._where()
        refused: Error | None = None
        for host, port, _ in _conn.collect_hosts(where.pop("bootstrap_servers")):
            try:
                connection = await asyncio.wait_for(
                    _conn.create_conn(host, port, **where), self._options.connect_timeout
                )
            except _FAILURES as error:
                refused = _classified(error, f"the broker at {host}:{port} cannot be reached")
                if not refused.is_retryable:
                    return refused
            else:
                await connection.close()
                return None
        return refused

    async def read(self, timeout: float) -> Result[list[KafkaMessage], Error]:
        """The next messages, or none within the timeout."""
        try:
            found: Mapping[object, Sequence[Any]] = await self._consumer.getmany(
                timeout_ms=round(timeout * 1000), max_records=_READ
            )
        except _FAILURES as error:
            return Err(_classified(error, "messages cannot be read"))
        if not found and self._consumer._fetcher.error_future.done():  # nothing else tells of its end
            return Err(_away("messages cannot be read: aiokafka's fetching has failed"))
        return Ok([_message(record) for records in found.values() for record in records])

    async def probe(self, timeout: float) -> Result[None, Error]:
        """Asks whether the brokers of all partitions are there."""
        partitions = self._consumer.assignment()
        if not partitions:
            return Ok(None)
        try:
            await asyncio.wait_for(self._consumer.end_offsets(partitions), timeout)
        except _FAILURES as error:
            return Err(_classified(error, f"the cluster has not answered for {timeout:g} s"))
        return Ok(None)

    async def commit(self, offsets: Mapping[Partition, int], timeout: float) -> Result[None, Error]:
        """Tells the cluster which records need not come again."""
        late = _away(f"the offsets could not be committed within {timeout:g} s", _COMMITTED_LATER)
        told = {_aiokafka.TopicPartition(*partition): offset for partition, offset in offsets.items()}
        if self._committing is not None:
            # One that took too long goes on; offsets are told in order.
            await asyncio.wait([self._committing], timeout=timeout)
            if not self._committing.done():
                return Err(late)
        self._committing = asyncio.ensure_future(self._committed(told))
        await asyncio.wait([self._committing], timeout=timeout)
        return self._committing.result() if self._committing.done() else Err(late)

    async def _committed(self, told: Mapping[object, int]) -> Result[None, Error]:
        try:
            # aiokafka tries again for as long as it is let.
            await self._consumer.commit(told)
        except _REBALANCED as error:
            return Err(_classified(error, "the group gave the partitions to other consumers"))
        except _FAILURES as error:
            return Err(_classified(error, "the offsets cannot be committed"))
        return Ok(None)

    async def close(self) -> None:
        """Leaves the group and closes all connections, also when it is cancelled."""
        await join(asyncio.ensure_future(self._close()))

    async def _close(self) -> None:
        client = self._consumer._client  # aiokafka has no other way to break off
        stopping = asyncio.ensure_future(self._consumer.stop())
        done, _ = await asyncio.wait([stopping], timeout=_FAREWELL)
        if not done:
            # A broker that does not answer: what waits for it goes on when its connection is gone.
            for connection in list(client._conns.values()):
                connection.close()
            done, _ = await asyncio.wait([stopping], timeout=_FAREWELL)
        # It may still wait for a broker that lets itself be connected to, and says nothing.
        await cancel_and_join([stopping])
        if self._committing is not None:
            await cancel_and_join([self._committing])
        await cancel_and_join(self._tasks())
        if not stopping.cancelled():
            # It is over whatever it says; but a stop that failed has not come to the connections.
            stopping.exception()
        with contextlib.suppress(*_FAILURES):
            await client.close()

    def _tasks(self) -> list[asyncio.Task[Any]]:
        """Those of aiokafka's that serve this consumer. Of some it keeps no account, and its stop leaves them."""
        consumer = self._consumer
        owners = (consumer._coordinator, consumer._fetcher, consumer._client)
        return [task for task in asyncio.all_tasks() if any(_owner(task) is owner for owner in owners)]


def _owner(task: asyncio.Task[Any]) -> object:
    """Whose method a task runs; the task itself where nobody's."""
    frame = getattr(task.get_coro(), "cr_frame", None)
    return task if frame is None else frame.f_locals.get("self", task)


def _message(record: Any) -> KafkaMessage:  # noqa: ANN401 - it tells no types
    timestamp = record.timestamp
    return KafkaMessage(
        record.topic,
        record.partition,
        record.offset,
        None if timestamp is None or timestamp < 0 else _instant(timestamp),
        record.key,
        record.value,
        tuple(record.headers),
    )


_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)


def _instant(milliseconds: int) -> datetime.datetime | None:
    try:
        return _EPOCH + datetime.timedelta(milliseconds=milliseconds)
    # A producer may write any number.
    except OverflowError:
        return None


def _away(message: str, hint: str = "check the addresses; a consumer connects again by itself") -> Error:
    return Error("DRAINING", message, hint=hint, is_retryable=True, is_unavailable=True)


def _classified(error: Exception, doing: str) -> Error:
    message = f"{doing}: {error or type(error).__name__}"
    kind, hint = _FINAL.get(type(error).__name__, ("", ""))
    classified = Error(kind, message, hint=hint) if kind else _away(message)
    classified.__cause__ = error
    return classified
