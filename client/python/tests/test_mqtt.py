from __future__ import annotations

import asyncio
import json
import socket
import ssl
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from ingest_server import Behaviour, Stream, running
from mosquitto import Mosquitto, broker
from polarway import Error, LiveTableSink, Message, MqttSubscription, Result, pump, subscribe_mqtt
from polarway.mqtt_messages import json_rows
from polarway.parsing import read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from polarway import MessageBatch, Unread

TOPIC = "plant/+/temperature"


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    with broker(tmp_path / "broker") as started:
        yield started


def readings(numbers: range) -> list[tuple[str, str]]:
    return [(f"plant/{number % 3}/temperature", json.dumps({"id": number})) for number in numbers]


def subscribed(mosquitto: Mosquitto, **options: object) -> MqttSubscription:
    given: dict[str, Any] = {"client_id": "reader", "backoff_min": 0.01, "backoff_max": 0.05, **options}
    return subscribe_mqtt(mosquitto.url, TOPIC, **given)


async def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def next_of(messages: MqttSubscription, seconds: float = 20) -> MessageBatch:
    batch = (await asyncio.wait_for(messages.next(), seconds)).unwrap()
    assert batch is not None
    return batch


async def ids(messages: MqttSubscription, count: int, *, confirm: bool = True) -> list[object]:
    """Of the next messages, in as many batches as it takes."""
    found: list[object] = []
    while len(found) < count:
        batch = await next_of(messages)
        found += [row["id"] for row in batch.records]
        if confirm:
            (await batch.confirm()).unwrap()
    return found


async def is_subscribed(messages: MqttSubscription, mosquitto: Mosquitto) -> None:
    """Waits until messages come."""
    deadline = time.monotonic() + 20
    while True:
        await mosquitto.published([("plant/x/temperature", '{"id": -1}')])
        if messages.received:
            await ids(messages, 1)
            break
        assert time.monotonic() < deadline, messages.last_error
        await asyncio.sleep(0.05)
    await asyncio.sleep(0.1)
    assert not messages.reconnects


@pytest.mark.parametrize("version", [4, 5])
async def test_messages_come_in_bounded_batches_once(mosquitto: Mosquitto, version: int) -> None:
    async with subscribed(mosquitto, version=version, batch_size=7) as messages:
        await is_subscribed(messages, mosquitto)
        await mosquitto.published(readings(range(100)))
        found: list[object] = []
        while len(found) < 100:
            batch = await next_of(messages)
            assert 0 < len(batch) <= 7
            found += [row["id"] for row in batch.records]
            (await batch.confirm()).unwrap()
    assert found == list(range(100))


@pytest.mark.parametrize("version", [4, 5])
async def test_what_is_not_confirmed_comes_again(mosquitto: Mosquitto, version: int) -> None:
    """To the next who has the session, also after a crash, in which nobody says goodbye."""
    async with subscribed(mosquitto, version=version) as messages:
        await is_subscribed(messages, mosquitto)
        await mosquitto.published(readings(range(10)))
        assert await ids(messages, 10, confirm=False) == list(range(10))
    await mosquitto.published(readings(range(10, 15)))
    async with subscribed(mosquitto, version=version) as messages:
        assert await ids(messages, 15) == list(range(15))
    async with subscribed(mosquitto, version=version) as messages:
        await mosquitto.published(readings(range(15, 16)))
        assert await ids(messages, 1) == [15]


async def test_a_broker_that_is_away_is_waited_for(mosquitto: Mosquitto) -> None:
    async with subscribed(mosquitto) as messages:
        await is_subscribed(messages, mosquitto)
        await mosquitto.published(readings(range(5)))
        held = await next_of(messages)
        rest = 5 - len(held)
        assert len(await ids(messages, rest, confirm=False)) == rest
        await asyncio.to_thread(mosquitto.stop)
        await until(lambda: not messages.connected)
        lost = (await held.confirm()).unwrap_err()
        assert (lost.kind, lost.hint) == ("DRAINING", "the broker delivers the messages again")
        await asyncio.to_thread(mosquitto.start)
        assert await ids(messages, 5) == list(range(5))
        assert messages.reconnects == 1
        assert messages.last_error is not None


async def test_the_broker_sends_no_more_than_may_be_unconfirmed(tmp_path: Path) -> None:
    with broker(tmp_path / "b", "allow_anonymous true", "max_inflight_messages 0") as mosquitto:
        async with subscribed(mosquitto, batch_size=10, max_unconfirmed=30) as messages:
            await is_subscribed(messages, mosquitto)
            before = messages.received
            await mosquitto.published(readings(range(200)))
            await until(lambda: messages.received - before >= 30)
            # More would be on their way.
            await asyncio.sleep(0.3)
            assert messages.received - before == 30
            assert await ids(messages, 200) == list(range(200))


async def test_unconfirmed_messages_of_quality_0_are_bounded_too(mosquitto: Mosquitto) -> None:
    async with subscribed(mosquitto, batch_size=10, max_unconfirmed=30) as messages:
        await is_subscribed(messages, mosquitto)
        before = messages.received
        await mosquitto.published(readings(range(500)), qos=0)
        await asyncio.sleep(0.3)
        assert messages.received - before <= 31 + 1
        assert await ids(messages, 500) == list(range(500))


async def test_what_nobody_can_read_does_not_hold_up_the_others(mosquitto: Mosquitto) -> None:
    async with subscribed(mosquitto) as messages:
        await is_subscribed(messages, mosquitto)
        payloads = ['{"id": 1}', "no JSON", '[{"id": 2}, {"id": 3}]', "[1]", "7"]
        await mosquitto.published([("plant/x/temperature", payload) for payload in payloads])
        found: list[object] = []
        unread: list[Unread[Message]] = []
        # On a busy machine they come in several batches.
        while len(found) + len(unread) < 6:
            batch = await next_of(messages)
            found += [row["id"] for row in batch.records]
            unread += batch.unread
            (await batch.confirm()).unwrap()
        assert found == [1, 2, 3]
        assert [one.message.payload for one in unread] == [b"no JSON", b"[1]", b"7"]
        assert all(isinstance(one.reason, ValueError) for one in unread)


async def test_a_subscription_stops_at_once_and_ends_its_iteration(mosquitto: Mosquitto) -> None:
    took: list[float] = []
    # Of several, since the machine may be busy with something else for a moment.
    for _ in range(5):
        async with subscribed(mosquitto, client_id=None) as messages:
            await is_subscribed(messages, mosquitto)

            async def iterate(messages: MqttSubscription = messages) -> int:
                return len([batch async for batch in messages])

            iterating = asyncio.create_task(iterate())
            await asyncio.sleep(0.05)
            began = time.monotonic()
            await messages.aclose()
            assert await iterating == 0
            took.append(time.monotonic() - began)
        assert (await messages.next()).unwrap() is None
    assert min(took) < 0.1


def password_file(directory: Path) -> Path:
    passwords = directory / "passwords"
    passwords.write_text("meter:right\n")
    subprocess.run(["mosquitto_passwd", "-U", str(passwords)], check=True, timeout=30)  # noqa: S607
    return passwords


def certified(directory: Path) -> tuple[Path, Path]:
    """A certificate for this machine, and its key."""
    certificate, key = directory / "cert.pem", directory / "key.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject]
    subprocess.run([*make, "-out", certificate, "-keyout", key], check=True, capture_output=True, timeout=60)
    return certificate, key


async def test_a_wrong_password_is_an_error_and_no_loop(tmp_path: Path) -> None:
    passwords = password_file(tmp_path)
    with broker(tmp_path / "b", "allow_anonymous false", f"password_file {passwords}") as mosquitto:
        for version in (4, 5):
            async with subscribed(mosquitto, user="meter", password="wrong", version=version) as messages:  # noqa: S106
                error = (await asyncio.wait_for(messages.next(), 20)).unwrap_err()
                assert error.kind == "PERMISSION_DENIED"
                assert not error.is_retryable
                assert "wrong" not in str(error) + repr(vars(messages))
            async with subscribed(mosquitto, user="meter", password="right", version=version) as messages:  # noqa: S106
                for _ in range(100):
                    if messages.connected:
                        break
                    await asyncio.sleep(0.05)
                assert messages.connected


# paho leaves the socket of a handshake that failed to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_messages_come_over_tls(tmp_path: Path) -> None:
    certificate, key = certified(tmp_path)
    settings = [f"certfile {certificate}", f"keyfile {key}", "allow_anonymous true"]
    with socket.create_server(("127.0.0.1", 0)) as free:
        plain = free.getsockname()[1]
    with broker(tmp_path / "b", *settings, f"listener {plain} 127.0.0.1") as mosquitto:
        url = mosquitto.url.replace("mqtt:", "mqtts:")
        trusting = ssl.create_default_context(cafile=str(certificate))
        other = Mosquitto.at(plain)
        async with subscribe_mqtt(url, TOPIC, tls=trusting) as messages:
            await is_subscribed(messages, other)
            await other.published(readings(range(300)))
            assert await ids(messages, 300) == list(range(300))
        async with subscribe_mqtt(url, TOPIC, backoff_min=0.01) as distrusting:
            for _ in range(100):
                if distrusting.last_error is not None:
                    break
                await asyncio.sleep(0.05)
            assert distrusting.last_error is not None
            assert "certificate" in str(distrusting.last_error)


async def test_a_pump_confirms_what_is_stored_and_nothing_else(mosquitto: Mosquitto) -> None:
    stream = Stream()
    behaviours = [Behaviour(store=3), Behaviour(store=1, acks=False, say="moved")]
    async with (
        running(stream, *behaviours) as server,
        subscribed(mosquitto, batch_size=20) as messages,
        LiveTableSink(server.address, "t", batch_rows=5, backoff_min=0.01) as sink,
    ):
        await is_subscribed(messages, mosquitto)
        pumping = asyncio.create_task(pump(messages, sink))
        await mosquitto.published(readings(range(300)))
        deadline = time.monotonic() + 30
        while len(stream.rows) < 300:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.1)
        await messages.aclose()
        pumped = (await asyncio.wait_for(pumping, 10)).unwrap()
    assert [row["id"] for row in stream.rows] == list(range(300))
    assert (pumped.rows, pumped.again) == (300, 0)
    async with subscribed(mosquitto) as messages:
        await mosquitto.published(readings(range(300, 301)))
        assert await ids(messages, 1) == [300]


async def test_a_pump_that_is_cancelled_or_fails_confirms_nothing(mosquitto: Mosquitto) -> None:
    never = [Behaviour(acks=False), Behaviour(store=1, acks=False, say="not_allowed")]
    async with running(Stream(), *never) as server:
        for fails in (False, True):
            sink = LiveTableSink(server.address, "t")
            (await sink.connect()).unwrap()
            async with subscribed(mosquitto) as messages:
                if not fails:
                    await is_subscribed(messages, mosquitto)
                    await mosquitto.published(readings(range(10)))
                pumping = asyncio.create_task(pump(messages, sink))
                if fails:
                    error = (await asyncio.wait_for(pumping, 20)).unwrap_err()
                    assert error.kind == "NOT_ALLOWED"
                else:
                    await asyncio.sleep(0.3)
                    pumping.cancel()
                    with pytest.raises(asyncio.CancelledError):
                        await pumping
            await sink.aclose(0.01)
    async with subscribed(mosquitto) as messages:
        assert await ids(messages, 10) == list(range(10))


def test_arguments_are_checked() -> None:
    for wrong in ({"qos": 2}, {"version": 3}, {"batch_size": 0}, {"linger": -1}, {"max_unconfirmed": 70_000}):
        with pytest.raises(ValueError, match=r"has to be|cannot be"):
            subscribe_mqtt("mqtt://a", "t", **wrong)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    for address in ("http://a", "mqtt://", "mqtt://a/path", "mqtt://user:secret@a"):
        with pytest.raises(ValueError, match="broker") as caught:
            subscribe_mqtt(address, "t")
        assert "secret" not in str(caught.value)
    for topics in ("", [], ["a", ""]):
        with pytest.raises(ValueError, match="topic"):
            subscribe_mqtt("mqtt://a", topics)


def test_a_parser_that_raises_spoils_its_own_message() -> None:
    messages = [Message("t", payload, 1, False, False) for payload in (b'{"v": 1}', b"\xff", b"null", b'{"v": NaN}')]
    rows, unread = read(messages, json_rows)
    assert [str(row) for row in rows] == ["{'v': 1}", "{'v': nan}"]
    assert [bad.message.payload for bad in unread] == [b"\xff", b"null"]
    assert read(messages, lambda _: None) == ([], [])


def test_a_missing_library_is_named() -> None:
    script = """
import asyncio, sys
import polarway
sys.modules["paho"] = None
print(asyncio.run(polarway.subscribe_mqtt("mqtt://localhost:1", "t").next()).unwrap_err())
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "CONFIGURATION: subscribing at an MQTT broker needs the package paho-mqtt" in ran.stdout
    assert "pip install 'polarway[mqtt]'" in ran.stdout


async def test_nobody_at_the_address_is_tried_again_until_it_is_closed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    async with subscribe_mqtt(f"mqtt://127.0.0.1:{port}", "t", backoff_min=0.01, backoff_max=0.02) as messages:
        waiting: asyncio.Task[Result[MessageBatch | None, Error]] = asyncio.create_task(messages.next())
        await asyncio.sleep(0.3)
        assert not waiting.done()
        assert messages.last_error is not None
        assert messages.last_error.is_unavailable
        await messages.aclose()
        assert (await waiting).unwrap() is None
