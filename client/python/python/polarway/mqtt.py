"""`subscribe_mqtt`: messages of an MQTT broker in batches that are confirmed when they are safe."""

from __future__ import annotations

import asyncio
import importlib
import uuid
from collections import deque
from typing import TYPE_CHECKING

from polarway._delays import Delays
from polarway._subscription import Subscription
from polarway.backoff import Backoff
from polarway.error import Error
from polarway.mqtt_messages import Message, MessageBatch, json_rows
from polarway.mqtt_options import Broker, MqttOptions, topics_of
from polarway.result import Err, Ok, Result

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable, Sequence

    from polarway.live_encoding import Row
    from polarway.mqtt_connection import Connection

# A batch is given earlier when nothing came for this part of `linger`: brokers send only so much that is not confirmed,
# and may not send enough to fill it.
_QUIET = 0.1


def subscribe_mqtt(  # noqa: PLR0913 - each is a choice of its own
    broker: str,
    topics: str | Sequence[str],
    *,
    qos: int = MqttOptions.qos,
    client_id: str | None = None,
    clean_session: bool = MqttOptions.clean_session,
    session_expiry: float = MqttOptions.session_expiry,
    user: str | None = None,
    password: str | None = None,
    tls: ssl.SSLContext | None = None,
    version: int = MqttOptions.version,
    parse: Callable[[Message], Row | Iterable[Row] | None] = json_rows,
    batch_size: int = MqttOptions.batch_size,
    linger: float = MqttOptions.linger,
    max_unconfirmed: int = MqttOptions.max_unconfirmed,
    keepalive: float = MqttOptions.keepalive,
    connect_timeout: float = MqttOptions.connect_timeout,
    backoff_min: float = MqttOptions.backoff_min,
    backoff_max: float = MqttOptions.backoff_max,
) -> MqttSubscription:
    """Subscribes to topics of an MQTT broker. What it gives is used as a context, and iterated once.

    A message of QoS 1 is acknowledged when its batch is confirmed. What was not confirmed when the process or the
    connection ends is delivered again: rows may come twice, and are not lost.

    Args:
        broker: `mqtt://HOST:PORT`, or `mqtts://` with TLS.
        topics: One topic or several; `+` and `#` are wildcards.
        qos: 1, or 0 for messages that may be lost.
        client_id: Name by which the broker knows the session. With one of your own a process that is started again gets
            what it has not confirmed, and what was published meanwhile. None: a random one.
        clean_session: Whether to begin without what the broker has kept.
        session_expiry: Seconds for which the broker keeps the session after the connection (MQTT 5).
        user: User, where the broker asks for one.
        password: Its password.
        tls: How to check the broker's certificate; with `mqtts://` the system's authorities by default.
        version: 5, or 4 for MQTT 3.1.1.
        parse: Makes a row, rows or None of a message. Messages for which it raises are the batch's `unread`.
        batch_size: Messages of a batch.
        linger: Seconds for which a batch waits for more, from its first message on.
        max_unconfirmed: Messages that the broker sends without a confirmation (MQTT 5; else it has a limit of its own).
        keepalive: Seconds after which a silent broker is asked whether it is there; after as much again it is not.
        connect_timeout: Seconds for each step of connecting.
        backoff_min: Seconds of the first pause between two attempts.
        backoff_max: Seconds of the longest one.

    Raises:
        ValueError: an argument is not valid.
    """
    options = MqttOptions(
        topics=topics_of(topics),
        qos=qos,
        client_id=client_id or f"polarway-{uuid.uuid4().hex}",
        clean_session=clean_session,
        session_expiry=session_expiry,
        user=user,
        password=password,
        version=version,
        batch_size=batch_size,
        linger=linger,
        max_unconfirmed=max_unconfirmed,
        keepalive=keepalive,
        connect_timeout=connect_timeout,
        backoff_min=backoff_min,
        backoff_max=backoff_max,
    )
    return MqttSubscription(Broker.of(broker, tls), options, parse)


class MqttSubscription(Subscription[MessageBatch]):
    """Batches of messages, as `Ok(batch)`; after an `Err` there is no more. Made by `subscribe_mqtt`.

    A connection that is lost is made again, as long as it takes; only what will not get better is an `Err`.

    Attributes:
        received: Messages that came, those that came again counted again.
        unread: Of those that were given, the messages out of which no rows could be read.
        last_error: Why there was no connection the last time.
    """

    def __init__(
        self, broker: Broker, options: MqttOptions, parse: Callable[[Message], Row | Iterable[Row] | None]
    ) -> None:
        super().__init__("subscription", "polarway mqtt")
        self._broker = broker
        self._options = options
        self._parse = parse
        self._queue: deque[tuple[Connection, int, Message]] = deque()
        self._connection: Connection | None = None
        self._connections = 0
        self.received: int = 0
        self.unread: int = 0
        self.last_error: Error | None = None

    @property
    def connected(self) -> bool:
        """Whether the broker has accepted the subscription, and the connection stands."""
        return self._connection is not None

    @property
    def reconnects(self) -> int:
        """Connections after the first."""
        return max(0, self._connections - 1)

    async def next(self) -> Result[MessageBatch | None, Error]:
        """The next batch; `None` when the subscription is closed."""
        started = self._start()
        if isinstance(started, Err):
            return started
        while not self._queue:
            if self._failure is not None:
                return Ok(None) if self._failure.kind == "CANCELLED" else Err(self._failure)
            await self._bell.wait()
        await self._gather()
        connection = self._queue[0][0]
        taken: list[tuple[int, Message]] = []
        # Messages of one batch came over one connection, or they could not be confirmed together.
        while self._queue and len(taken) < self._options.batch_size and self._queue[0][0] is connection:
            _, mid, message = self._queue.popleft()
            taken.append((mid, message))
        self._regulate()
        mids = [mid for mid, message in taken if message.qos]
        batch = MessageBatch([message for _, message in taken], self._parse, lambda: connection.confirm(mids))
        self.unread += len(batch.unread)
        return Ok(batch)

    async def _gather(self) -> None:
        clock = asyncio.get_running_loop().time
        deadline = clock() + self._options.linger
        while len(self._queue) < self._options.batch_size and clock() < deadline and self._failure is None:
            before = self.received
            await asyncio.sleep(self._options.linger * _QUIET)
            if self.received == before:
                return

    async def aclose(self) -> None:
        """Ends the connection. What was not confirmed is delivered again, to whoever has the session next."""
        await self._close()

    def _missing(self) -> Error | None:
        try:
            importlib.import_module("paho.mqtt.client").CallbackAPIVersion  # noqa: B018 - version 2 has it
        except (ImportError, AttributeError):
            return Error(
                "CONFIGURATION",
                "subscribing at an MQTT broker needs the package paho-mqtt (2 or later), which is not installed",
                hint="pip install 'polarway[mqtt]'",
            )
        return None

    def _forget(self) -> None:
        self._queue.clear()

    async def _run(self) -> Error:
        from polarway.mqtt_connection import Connection  # noqa: PLC0415 - the library below it is needed for this alone

        delays = Delays(Backoff(self._options.backoff_min, cap=self._options.backoff_max, jitter="half"))
        while True:
            received = self.received
            error: Error
            connection = Connection(self._broker, self._options, self._heard)
            try:
                opened = await connection.open()
                if isinstance(opened, Err):
                    error = opened.unwrap_err()
                else:
                    self._connections += 1
                    self._connection = connection
                    error = await asyncio.shield(connection.ended)
            finally:
                self._connection = None
                await connection.close()
            self.last_error = error
            if not error.is_retryable:
                return error
            if self.received > received:
                delays.reset()
            await asyncio.sleep(delays.next())

    def _heard(self, connection: Connection, mid: int, message: Message) -> None:
        self.received += 1
        self._queue.append((connection, mid, message))
        self._regulate()
        if len(self._queue) == 1:
            self._bell.ring()

    def _regulate(self) -> None:
        """Bounds what waits here. Brokers keep to `max_unconfirmed`, but not with messages of QoS 0."""
        limit = self._options.max_unconfirmed
        if self._connection is not None:
            if len(self._queue) > limit:
                self._connection.pause(paused=True)
            elif len(self._queue) <= limit // 2:
                self._connection.pause(paused=False)
