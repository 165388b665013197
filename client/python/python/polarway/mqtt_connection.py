"""One connection to an MQTT broker. The only file that knows `paho.mqtt`.

paho does not touch the network by itself here: the event loop says when its socket can be read and written, and a timer
lets it send pings.
"""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import TYPE_CHECKING, cast

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from polarway.error import Error
from polarway.mqtt_messages import Message
from polarway.result import Err, Ok, Result

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from paho.mqtt.client import ConnectFlags, DisconnectFlags, MQTTMessage
    from paho.mqtt.reasoncodes import ReasonCode

    from polarway.mqtt_options import Broker, MqttOptions

_MQTT_5 = MQTTProtocolVersion.MQTTv5
_TICK = 1.0
# Packets that are read in one turn of the event loop.
_PACKETS = 256
_CLOSE_TIMEOUT = 0.05
# Reasons of a broker that will be the same next time (MQTT 5, section 2.4).
_FINAL = {129, 130, 132, 133, 134, 135, 138, 140, 142, 143, 144, 149, 156, 157, 158, 161, 162}
_NOT_ALLOWED = {134, 135, 138, 140}
_TAKEN_OVER = 142


class Connection:
    """From connecting to the end.

    Attributes:
        ended: Why it is over, once it is.
    """

    def __init__(self, broker: Broker, options: MqttOptions, heard: Callable[[Connection, int, Message], None]) -> None:
        self._broker = broker
        self._options = options
        self._heard = heard
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[Error] = self._loop.create_future()
        self._accepted: asyncio.Future[None] = self._loop.create_future()
        self._subscribed: asyncio.Future[None] = self._loop.create_future()
        self._socket: socket.socket | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._received = 0
        self._is_paused = False
        self._client = self._made()

    def _made(self) -> Client:
        options = self._options
        is_5 = options.version == _MQTT_5
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=options.client_id,
            # MQTT 5 says it when it connects.
            clean_session=None if is_5 else options.clean_session,
            protocol=MQTTProtocolVersion(options.version),
            reconnect_on_failure=False,
            manual_ack=True,
        )
        client.connect_timeout = options.connect_timeout
        if options.user is not None or options.password is not None:
            client.username_pw_set(options.user, options.password)
        if self._broker.tls is not None:
            client.tls_set_context(self._broker.tls)  # pyright: ignore[reportUnknownMemberType]
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        # While it connects, paho is in another thread.
        client.on_socket_register_write = self._on_want_write
        client.on_socket_close = self._on_socket_close
        return client

    async def open(self) -> Result[None, Error]:
        """Connects and subscribes."""
        try:
            await asyncio.to_thread(self._dial)
            self._socket = cast("socket.socket | None", self._client.socket())
            if self._socket is None:
                return Err(self._unreachable("the connection was closed"))
            self._loop.add_reader(self._socket, self._readable)
            self._want_write()
            self._tick()
            refused = await self._either(self._accepted)
            if refused is None:
                self._subscribe()
                refused = await self._either(self._subscribed)
        except OSError as error:
            return Err(self._unreachable(str(error)))
        return Ok(None) if refused is None else Err(refused)

    def _dial(self) -> None:
        options, host, port = self._options, self._broker.host, self._broker.port
        keepalive = round(options.keepalive)
        if options.version != _MQTT_5:
            self._client.connect(host, port, keepalive)
            return
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = 0 if options.clean_session else min(round(options.session_expiry), 2**32 - 1)
        # The broker sends no more than this without a confirmation.
        properties.ReceiveMaximum = options.max_unconfirmed
        self._client.connect(host, port, keepalive, clean_start=options.clean_session, properties=properties)

    def _subscribe(self) -> None:
        options = self._options
        if options.version == _MQTT_5:
            self._client.subscribe([(topic, SubscribeOptions(qos=options.qos)) for topic in options.topics])
        else:
            self._client.subscribe([(topic, options.qos) for topic in options.topics])

    async def _either(self, wanted: asyncio.Future[None]) -> Error | None:
        """Waits for a step, for the end or for too long."""
        both = cast("list[asyncio.Future[object]]", [wanted, self.ended])
        await asyncio.wait(both, timeout=self._options.connect_timeout, return_when=asyncio.FIRST_COMPLETED)
        if wanted.done():
            return None
        if self.ended.done():
            return self.ended.result()
        return self._unreachable(f"no answer within {self._options.connect_timeout:g} s")

    def confirm(self, mids: list[int]) -> Result[None, Error]:
        """Sends the acknowledgements of these messages."""
        if self.ended.done() or self._socket is None:
            hint = "the broker delivers the messages again"
            return Err(_lost("the connection over which the messages came is lost", hint))
        for mid in mids:
            self._client.ack(mid, 1)
        self._client.loop_write()
        return Ok(None)

    def pause(self, *, paused: bool) -> None:
        """Reads no further, or reads again."""
        if self._socket is None or paused == self._is_paused:
            return
        self._is_paused = paused
        if paused:
            self._loop.remove_reader(self._socket)
        else:
            self._loop.add_reader(self._socket, self._readable)
            # What TLS has read already makes no socket readable.
            self._loop.call_soon(self._readable)

    async def close(self) -> None:
        """Says goodbye, behind the confirmations, and waits for neither."""
        if self._timer is not None:
            self._timer.cancel()
        if self._socket is not None:
            self._client.disconnect()
            self._client.loop_write()
            if self._client.want_write():
                await asyncio.sleep(_CLOSE_TIMEOUT)
        self._drop()

    def _drop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        held = self._socket
        self._forget_socket()
        if held is not None:
            with contextlib.suppress(OSError):
                held.close()

    def _from_anywhere(self, call: Callable[[], None]) -> None:
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        if running is self._loop:
            call()
        else:
            # A loop that was closed meanwhile raises it: nobody waits any more.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(call)

    def _want_write(self) -> None:
        if self._socket is not None:
            self._loop.add_writer(self._socket, self._writable)

    def _forget_socket(self) -> None:
        held, self._socket = self._socket, None
        if held is not None and held.fileno() >= 0:
            self._loop.remove_reader(held)
            self._loop.remove_writer(held)

    def _writable(self) -> None:
        self._settle(self._client.loop_write())
        if self._socket is not None and not self._client.want_write():
            self._loop.remove_writer(self._socket)

    def _readable(self) -> None:
        for _ in range(_PACKETS):
            received = self._received
            if self._socket is None or self._is_paused:
                return
            if not self._settle(self._client.loop_read()) or self._received == received:
                return
        self._loop.call_soon(self._readable)

    def _tick(self) -> None:
        if self._settle(self._client.loop_misc()):
            self._timer = self._loop.call_later(_TICK, self._tick)

    def _settle(self, code: MQTTErrorCode) -> bool:
        if code == MQTTErrorCode.MQTT_ERR_SUCCESS:
            return True
        self._end(_lost(f"the connection to the broker was lost: {code.name}"))
        return False

    def _end(self, error: Error) -> None:
        if not self.ended.done():
            self.ended.set_result(error)
        self._drop()

    def _unreachable(self, reason: str) -> Error:
        return _lost(f"the broker at {self._broker.host}:{self._broker.port} cannot be reached: {reason}")

    def _on_want_write(self, *_: object) -> None:
        self._from_anywhere(self._want_write)

    def _on_socket_close(self, *_: object) -> None:
        self._from_anywhere(self._forget_socket)

    def _on_connect(
        self, _client: Client, _data: object, _flags: ConnectFlags, code: ReasonCode, _more: object
    ) -> None:
        if code.is_failure:
            self._end(_refused("the broker refuses the connection", code))
        elif not self._accepted.done():
            self._accepted.set_result(None)

    def _on_subscribe(self, _client: Client, _data: object, _mid: int, codes: list[ReasonCode], _more: object) -> None:
        for topic, code in zip(self._options.topics, codes, strict=False):
            if code.is_failure:
                self._end(_refused(f"the broker refuses the subscription of {topic!r}", code))
                return
        if not self._subscribed.done():
            self._subscribed.set_result(None)

    def _on_disconnect(
        self, _client: Client, _data: object, _flags: DisconnectFlags, code: ReasonCode, _more: object
    ) -> None:
        # Within a callback paho still uses its socket.
        self._loop.call_soon(partial(self._end, _refused("the broker closed the connection", code)))

    def _on_message(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        self._received += 1
        told = Message(message.topic, bytes(message.payload), message.qos, message.retain, message.dup)
        self._heard(self, message.mid, told)


def _lost(message: str, hint: str = "check the address; a subscription connects again by itself") -> Error:
    return Error("DRAINING", message, hint=hint, is_retryable=True, is_unavailable=True)


def _refused(message: str, code: ReasonCode) -> Error:
    full = f"{message}: {code}"
    if code.value not in _FINAL:
        return _lost(full)
    if code.value in _NOT_ALLOWED:
        return Error("PERMISSION_DENIED", full, hint="check user, password, and what the broker lets them read")
    hint = "give each subscription a client_id of its own" if code.value == _TAKEN_OVER else "correct the argument"
    return Error("INVALID_SETTING", full, hint=hint)
