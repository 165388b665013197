from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
import ssl
import subprocess
import sys
import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import pytest

from ingest_server import Behaviour, Stream, running
from kafka_broker import Broker, broker
from kafka_proxy import proxy
from polarway import Error, KafkaConsumer, KafkaMessage, LiveTableSink, Result, consume_kafka, pump
from polarway.kafka_messages import bytes_row, json_rows, ndjson_rows
from polarway.parsing import read

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable
    from pathlib import Path

    from polarway import KafkaBatch, Unread

PATIENCE = 60.0
# Kafka's numbers of requests and errors.
FETCH, JOIN_GROUP, SYNC_GROUP = 1, 11, 14
TOPIC_AUTHORIZATION_FAILED, GROUP_AUTHORIZATION_FAILED = 29, 30


@pytest.fixture
async def kafka() -> AsyncIterator[Broker]:
    async with broker() as started:
        yield started


def consumer(kafka: Broker, **options: object) -> KafkaConsumer:
    given: dict[str, Any] = {
        "bootstrap_servers": kafka.address,
        "group_id": "lake",
        "max_delay": 0.05,
        # For three quarters of it this broker waits for members that may come, when one has left.
        "session_timeout": 4.0,
        "backoff_min": 0.01,
        "backoff_max": 0.05,
        **options,
    }
    return consume_kafka("logs", **given)


def values(numbers: Iterable[int]) -> list[bytes]:
    return [json.dumps({"id": number}).encode() for number in numbers]


async def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def next_of(messages: KafkaConsumer) -> KafkaBatch:
    batch = (await asyncio.wait_for(messages.next(), PATIENCE)).unwrap()
    assert batch is not None
    return batch


async def batches(messages: KafkaConsumer, count: int) -> list[KafkaBatch]:
    """The next messages, in as many batches as it takes."""
    found: list[KafkaBatch] = []
    while sum(map(len, found)) < count:
        found.append(await next_of(messages))
    assert sum(map(len, found)) == count
    return found


def ids(found: Iterable[KafkaBatch]) -> list[object]:
    return [row["id"] for batch in found for row in batch.records]


async def confirmed(found: Iterable[KafkaBatch]) -> None:
    for batch in found:
        (await batch.confirm()).unwrap()


def tasks_of_aiokafka() -> list[object]:
    coroutines = [task.get_coro() for task in asyncio.all_tasks()]
    return [one for one in coroutines if "aiokafka" in str(getattr(one, "cr_code", ""))]


async def test_messages_come_once_in_bounded_batches_and_in_the_order_of_their_partition(kafka: Broker) -> None:
    kafka.topic("logs", 3)
    for partition in range(3):
        await kafka.publish("logs", values(range(1000)), partition=partition)
    async with consumer(kafka, max_records=70) as messages:
        found = await batches(messages, 3000)
        assert messages.partitions == (("logs", 0), ("logs", 1), ("logs", 2))
        assert "3 partitions" in repr(messages)
    assert all(0 < len(batch) <= 70 for batch in found)
    came = [message for batch in found for message in batch.messages]
    for partition in range(3):
        assert [message.offset for message in came if message.partition == partition] == list(range(1000))


async def test_a_message_has_all_its_parts(kafka: Broker) -> None:
    kafka.topic("logs")
    await kafka.publish("logs", [b"{}"], key=b"k", timestamp_ms=1_764_500_000_123, headers=[("trace", b"1")])
    async with consumer(kafka) as messages:
        (message,) = (await next_of(messages)).messages
    at = datetime(2025, 11, 30, 10, 53, 20, 123_000, tzinfo=timezone.utc)
    assert message == KafkaMessage("logs", 0, 0, at, b"k", b"{}", (("trace", b"1"),))


async def test_offsets_are_committed_when_a_batch_is_confirmed_and_not_before(kafka: Broker) -> None:
    kafka.topic("logs")
    await kafka.publish("logs", values(range(20)))
    async with consumer(kafka, max_records=10) as messages:
        first, second = await batches(messages, 20)
        assert await kafka.committed("lake", "logs") is None
        # The first is not durable yet, and would be lost if the offset behind the second were committed.
        (await second.confirm()).unwrap()
        assert await kafka.committed("lake", "logs") is None
        (await first.confirm()).unwrap()
        assert await kafka.committed("lake", "logs") == 20


async def test_what_is_not_confirmed_comes_again_to_the_next_of_the_group(kafka: Broker) -> None:
    kafka.topic("logs")
    await kafka.publish("logs", values(range(20)))
    async with consumer(kafka, max_records=10) as messages:
        first, _ = await batches(messages, 20)
        (await first.confirm()).unwrap()
    closed = (await first.confirm()).unwrap_err()
    assert closed.kind == "DRAINING"
    await kafka.publish("logs", values(range(20, 25)))
    async with consumer(kafka) as messages:
        found = await batches(messages, 15)
        assert ids(found) == list(range(10, 25))
        await confirmed(found)
    async with consumer(kafka) as messages:
        await kafka.publish("logs", values([25]))
        assert ids(await batches(messages, 1)) == [25]


async def test_a_group_that_has_confirmed_nothing_begins_where_it_is_told(kafka: Broker) -> None:
    kafka.topic("logs")
    await kafka.publish("logs", values(range(5)))
    async with consumer(kafka, start="latest") as late, consumer(kafka, group_id="other") as early:
        assert ids(await batches(early, 5)) == list(range(5))
        found: list[KafkaBatch] = []
        number = 5
        # It begins at what is the latest when it comes to it.
        while not found:
            await kafka.publish("logs", values([number]))
            number += 1
            with contextlib.suppress(asyncio.TimeoutError, TimeoutError):
                found.append((await asyncio.wait_for(late.next(), 0.5)).unwrap())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        assert 5 <= int(str(ids(found)[0])) < number


async def test_what_nobody_can_read_does_not_hold_up_the_others(kafka: Broker) -> None:
    kafka.topic("logs")
    bodies = [b'{"id": 1}', b"no JSON", None, b'[{"id": 2}, {"id": 3}]', b"[1]", b"7", b"\xff"]
    await kafka.publish("logs", bodies, key=b"k")
    async with consumer(kafka) as messages:
        found = await batches(messages, len(bodies))
        assert ids(found) == [1, 2, 3]
        unread: list[Unread[KafkaMessage]] = [one for batch in found for one in batch.unread]
        assert [(one.message.offset, one.message.value) for one in unread] == [
            (1, b"no JSON"),
            (4, b"[1]"),
            (5, b"7"),
            (6, b"\xff"),
        ]
        assert all(isinstance(one.reason, ValueError) for one in unread)
        assert messages.unread == 4
        await confirmed(found)
    assert await kafka.committed("lake", "logs") == len(bodies)


@pytest.mark.parametrize("compression", ["gzip", "snappy", "lz4", "zstd"])
async def test_compressed_messages_are_read(kafka: Broker, compression: str) -> None:
    kafka.topic("logs")
    await kafka.publish("logs", values(range(500)), compression=compression)
    async with consumer(kafka) as messages:
        assert ids(await batches(messages, 500)) == list(range(500))


async def test_no_more_is_read_ahead_than_may_be(kafka: Broker) -> None:
    kafka.topic("logs")
    body = json.dumps({"text": "x" * 1000}).encode()
    await kafka.publish("logs", [body] * 4000)
    async with proxy(kafka.port) as before:
        kafka.advertise(before.port)
        address = f"127.0.0.1:{before.port}"
        options = {"prefetch_bytes": 256 * 1024, "partition_bytes": 64 * 1024, "max_delay": 0.0}
        async with consumer(kafka, bootstrap_servers=address, **options) as messages:
            await until(lambda: messages.received * len(body) >= 200 * 1024)
            passed = -1
            while passed != before.answered:
                passed = before.answered
                assert passed < (256 + 4 * 64) * 1024
                await asyncio.sleep(0.7)
            found = await batches(messages, 4000)
            # A batch holds no more than what was read ahead, and what came with the last read.
            assert max(map(len, found)) * len(body) < (256 + 4 * 64) * 1024
            assert before.answered > 4000 * len(body)


async def test_a_wait_that_is_cancelled_loses_nothing(kafka: Broker) -> None:
    kafka.topic("logs")
    async with consumer(kafka, max_delay=0.3) as messages:
        found: list[KafkaBatch] = []
        publishing = asyncio.create_task(kafka.publish("logs", values(range(100))))
        deadline = time.monotonic() + PATIENCE
        while sum(map(len, found)) < 100:
            assert time.monotonic() < deadline
            with contextlib.suppress(asyncio.TimeoutError, TimeoutError):
                batch = (await asyncio.wait_for(messages.next(), 0.05)).unwrap()
                assert batch is not None
                found.append(batch)
        await publishing
    assert ids(found) == list(range(100))


async def test_a_task_that_is_cancelled_leaves_no_socket_and_no_task(kafka: Broker) -> None:
    kafka.topic("logs")
    await kafka.publish("logs", values(range(10)))
    async with proxy(kafka.port) as before:
        kafka.advertise(before.port)
        for joined in (True, False):
            seen = asyncio.Event()

            async def iterate(seen: asyncio.Event = seen) -> None:
                async with consumer(kafka, bootstrap_servers=f"127.0.0.1:{before.port}") as messages:
                    async for batch in messages:
                        batch.unwrap()
                        seen.set()

            accepted = before.accepted
            iterating = asyncio.create_task(iterate())
            if joined:
                await asyncio.wait_for(seen.wait(), PATIENCE)
            else:
                await until(lambda accepted=accepted: before.accepted > accepted)  # type: ignore[misc]
            iterating.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asyncio.wait_for(iterating, PATIENCE)
            assert tasks_of_aiokafka() == []
            await until(lambda: before.connections == 0)


@pytest.mark.parametrize("connects", [False, True])
async def test_a_broker_that_says_nothing_does_not_hold_up_the_end(
    kafka: Broker, connects: bool, caplog: pytest.LogCaptureFixture
) -> None:
    kafka.topic("logs")
    await kafka.publish("logs", values(range(10)))
    async with proxy(kafka.port) as before:
        kafka.advertise(before.port)
        async with consumer(kafka, bootstrap_servers=f"127.0.0.1:{before.port}", commit_timeout=0.3) as messages:
            (batch,) = await batches(messages, 10)
            before.hush()
            if connects:
                accepted = before.accepted
                before.cut()
                await until(lambda: before.accepted > accepted)
            refused = (await batch.confirm()).unwrap_err()
            assert (refused.kind, refused.is_retryable) == ("DRAINING", True)
            began = time.monotonic()
        assert tasks_of_aiokafka() == []
        await until(lambda: before.connections == 0)
        # Below the time in which a request would be given up.
        assert time.monotonic() - began < 10
    assert "never retrieved" not in caplog.text
    kafka.advertise(kafka.port)
    assert await kafka.committed("lake", "logs") is None


async def test_who_leaves_a_full_prefetch_alone_for_too_long_loses_the_partitions(kafka: Broker) -> None:
    kafka.topic("logs")
    await kafka.publish("logs", [json.dumps({"id": number, "text": "x" * 1000}).encode() for number in range(50)])
    options = {"max_poll_interval": 1.0, "prefetch_bytes": 10_000, "partition_bytes": 2_000, "max_records": 5}
    async with consumer(kafka, **options) as messages:
        held = await next_of(messages)
        assert ids([held]) == [0, 1, 2, 3, 4]
        # Nobody takes what was read ahead, so that there are more only when they come again.
        await until(lambda: messages.received > 60)
        assert "logs/0" in (await held.confirm()).unwrap_err().message
        again = await next_of(messages)
        assert ids([again]) == ids([held])
        (await again.confirm()).unwrap()
    assert await kafka.committed("lake", "logs") == 5


async def test_the_end_wakes_who_waits_and_ends_the_iteration(kafka: Broker) -> None:
    kafka.topic("logs")
    async with consumer(kafka) as messages:

        async def iterate() -> int:
            return len([batch async for batch in messages])

        iterating = asyncio.create_task(iterate())
        await until(lambda: bool(messages.partitions))
        await messages.aclose()
        assert await asyncio.wait_for(iterating, PATIENCE) == 0
    assert (await messages.next()).unwrap() is None


async def test_a_broker_that_is_away_is_waited_for(kafka: Broker) -> None:
    kafka.topic("logs")
    await kafka.publish("logs", values(range(10)))
    async with consumer(kafka, commit_timeout=0.5, max_records=5) as messages:
        first, second = await batches(messages, 10)
        kafka.down()
        refused = (await first.confirm()).unwrap_err()
        assert (refused.kind, refused.is_retryable, refused.is_unavailable) == ("DRAINING", True, True)
        kafka.up()
        await kafka.publish("logs", values(range(10, 20)))
        deadline = time.monotonic() + PATIENCE
        # The first is confirmed as well: it is durable, whether the cluster knew it or not.
        while (await second.confirm()).is_err():
            assert time.monotonic() < deadline
        assert await kafka.committed("lake", "logs") == 10
        found = await batches(messages, 10)
        assert ids(found) == list(range(10, 20))
        await confirmed(found)
    assert await kafka.committed("lake", "logs") == 20


async def test_brokers_that_have_all_moved_are_found_again(kafka: Broker) -> None:
    kafka.topic("logs")
    await kafka.publish("logs", values(range(5)))
    async with proxy(kafka.port) as new, contextlib.AsyncExitStack() as stack:
        old = await stack.enter_async_context(proxy(kafka.port))
        kafka.advertise(old.port)
        servers = [f"127.0.0.1:{old.port}", f"127.0.0.1:{new.port}"]
        async with consumer(kafka, bootstrap_servers=servers, keepalive=0.5) as messages:
            await confirmed(await batches(messages, 5))
            kafka.advertise(new.port)
            await stack.aclose()
            await kafka.publish("logs", values(range(5, 8)))
            assert ids(await batches(messages, 3)) == [5, 6, 7]
            assert messages.reconnects >= 1
            assert messages.last_error is not None
            assert messages.last_error.is_unavailable


async def test_members_of_a_group_share_its_partitions_and_lose_nothing(kafka: Broker) -> None:
    kafka.topic("logs", 4)
    for partition in range(4):
        await kafka.publish("logs", values(range(partition * 100, partition * 100 + 100)), partition=partition)
    seen: set[object] = set()
    async with proxy(kafka.port) as before, contextlib.AsyncExitStack() as stack:
        kafka.advertise(before.port)
        # This broker takes the members' requests only before the leader's, which is who came first.
        before.delay(SYNC_GROUP, "first", 0.5)
        first = await stack.enter_async_context(consumer(kafka, client_id="first"))
        held = await batches(first, 400)
        async with consumer(kafka, client_id="second") as second:
            await until(lambda: len(first.partitions) == len(second.partitions) == 2)
            assert not set(first.partitions) & set(second.partitions)
            # All that the first had comes again, so its word is not worth anything any more.
            lost = (await held[0].confirm()).unwrap_err()
            assert (lost.kind, lost.is_retryable) == ("DRAINING", True)
            assert "logs/" in lost.message
            for member in (first, second):
                found = await batches(member, 200)
                seen |= set(ids(found))
                await confirmed(found)
            assert (first.reconnects, second.reconnects) == (0, 0)
        assert seen == set(range(400))
        await until(lambda: len(first.partitions) == 4)
        assert [await kafka.committed("lake", "logs", partition) for partition in range(4)] == [100] * 4


@pytest.mark.parametrize(
    ("request_kind", "error"), [(JOIN_GROUP, GROUP_AUTHORIZATION_FAILED), (FETCH, TOPIC_AUTHORIZATION_FAILED)]
)
async def test_what_will_not_get_better_is_an_error_and_the_last_item(
    kafka: Broker, request_kind: int, error: int
) -> None:
    kafka.topic("logs")
    kafka.fail(request_kind, error)
    async with consumer(kafka) as messages:
        items = [item async for item in messages]
        (refused,) = [item.unwrap_err() for item in items]
        assert (refused.kind, refused.is_retryable) == ("PERMISSION_DENIED", False)
        assert (await messages.next()).unwrap_err() == refused


def certified(directory: Path) -> tuple[Path, Path]:
    """A certificate for this machine, and its key."""
    certificate, key = directory / "cert.pem", directory / "key.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject]
    subprocess.run([*make, "-out", certificate, "-keyout", key], check=True, capture_output=True, timeout=60)
    return certificate, key


async def test_messages_come_over_tls_to_who_has_the_password(
    kafka: Broker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    kafka.topic("logs")
    await kafka.publish("logs", values(range(300)))
    certificate, key = certified(tmp_path)
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    serving.load_cert_chain(certificate, key)
    trusting = ssl.create_default_context(cafile=str(certificate))
    async with proxy(kafka.port, tls=serving, password=b"sesame-open") as before:
        kafka.advertise(before.port)
        options: dict[str, object] = {
            "bootstrap_servers": f"127.0.0.1:{before.port}",
            "tls": trusting,
            "sasl_mechanism": "PLAIN",
            "user": "reader",
        }
        async with consumer(kafka, password="sesame-open", **options) as messages:  # noqa: S106
            found = await batches(messages, 300)
            assert ids(found) == list(range(300))
            await confirmed(found)
            assert "sesame" not in repr(messages) + repr(vars(messages))
        async with consumer(kafka, password="sesame-shut", **options) as messages:  # noqa: S106
            refused = (await asyncio.wait_for(messages.next(), PATIENCE)).unwrap_err()
            assert (refused.kind, refused.is_retryable) == ("PERMISSION_DENIED", False)
            assert "sesame" not in str(refused)
        async with consumer(kafka, password="sesame-open", **{**options, "tls": True}) as messages:  # noqa: S106
            await until(lambda: messages.last_error is not None)
            assert "certificate" in str(messages.last_error)
    assert "ApiVersion" in caplog.text
    assert "sesame" not in caplog.text


async def test_a_pump_commits_what_is_stored_and_nothing_else(kafka: Broker) -> None:
    kafka.topic("logs")
    await kafka.publish("logs", values(range(300)))
    stream = Stream()
    behaviours = [Behaviour(store=3), Behaviour(store=1, acks=False, say="moved")]
    async with (
        running(stream, *behaviours) as server,
        consumer(kafka, max_records=20) as messages,
        LiveTableSink(server.address, "t", batch_rows=5, backoff_min=0.01) as sink,
    ):
        pumping = asyncio.create_task(pump(messages, sink))
        await until(lambda: len(stream.rows) == 300)
        deadline = time.monotonic() + PATIENCE
        while await kafka.committed("lake", "logs") != 300:
            assert time.monotonic() < deadline
        await messages.aclose()
        pumped = (await asyncio.wait_for(pumping, PATIENCE)).unwrap()
    assert [row["id"] for row in stream.rows] == list(range(300))
    assert (pumped.rows, pumped.again) == (300, 0)


async def test_a_pump_that_is_cancelled_commits_nothing(kafka: Broker) -> None:
    kafka.topic("logs")
    await kafka.publish("logs", values(range(10)))
    async with running(Stream(), Behaviour(acks=False)) as server:
        sink = LiveTableSink(server.address, "t")
        (await sink.connect()).unwrap()
        async with consumer(kafka) as messages:
            pumping = asyncio.create_task(pump(messages, sink))
            await until(lambda: sink.counts.rows == 10)
            pumping.cancel()
            with pytest.raises(asyncio.CancelledError):
                await pumping
        await sink.aclose(0.01)
    assert await kafka.committed("lake", "logs") is None


async def test_nobody_at_the_address_is_tried_again_until_it_is_closed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    async with consume_kafka(
        "t", bootstrap_servers=f"127.0.0.1:{port}", backoff_min=0.01, backoff_max=0.02
    ) as messages:
        waiting: asyncio.Task[Result[KafkaBatch | None, Error]] = asyncio.create_task(messages.next())
        await until(lambda: messages.last_error is not None)
        assert not waiting.done()
        assert messages.last_error is not None
        assert messages.last_error.is_unavailable
        assert str(port) in messages.last_error.message
        await messages.aclose()
        assert (await waiting).unwrap() is None


def test_arguments_are_checked() -> None:
    wrong: list[dict[str, Any]] = [
        {"max_records": 0},
        {"max_delay": -1},
        {"prefetch_bytes": 0},
        {"start": "middle"},
        {"sasl_mechanism": "GSSAPI"},
        {"user": "u"},
        {"group_id": ""},
        {"session_timeout": 0},
        {"commit_timeout": float("inf")},
        {"backoff_min": 0},
        {"parse": "xml"},
    ]
    for arguments in wrong:
        with pytest.raises(ValueError, match=r"ha(s|ve) to be|cannot be"):
            consume_kafka("t", **arguments)
    listed: list[str | list[str]] = ["", "a:b", "kafka://a:1", "a:0", "user:secret@a:1", []]
    for servers in listed:
        with pytest.raises(ValueError, match="broker") as caught:
            consume_kafka("t", bootstrap_servers=servers)
        assert "secret" not in str(caught.value)
    for topics in ("", [], ["a", ""]):
        with pytest.raises(ValueError, match="topic"):
            consume_kafka(topics)


def test_rows_are_made_of_lines_and_of_the_message_itself() -> None:
    at = datetime(2026, 11, 30, tzinfo=timezone.utc)
    bodies = [b'{"v": 1}\n\n{"v": 2}\r\n', b'{"v": 3}\n[4]\n', b"{", None]
    messages = [KafkaMessage("t", 0, offset, at, None, body) for offset, body in enumerate(bodies)]
    rows, unread = read(messages, ndjson_rows)
    assert rows == [{"v": 1}, {"v": 2}]
    assert [str(one.reason).partition(":")[0] for one in unread] == ["line 2 is no JSON object", "line 1"]
    rows, unread = read(messages[:1], bytes_row)
    assert rows == [{"topic": "t", "partition": 0, "offset": 0, "timestamp": at, "key": None, "value": bodies[0]}]
    assert json_rows(messages[3]) is None


def test_a_parser_that_raises_on_its_way_gives_none_of_its_rows() -> None:
    def rows(message: KafkaMessage) -> Iterable[dict[str, object]]:
        yield {"offset": message.offset}
        if message.offset:
            raise KeyError("no")

    found, unread = read([KafkaMessage("t", 0, offset, None, None, b"") for offset in (0, 1)], rows)
    assert found == [{"offset": 0}]
    assert [one.message.offset for one in unread] == [1]


def test_a_missing_library_is_named() -> None:
    script = """
import asyncio, sys
import polarway
sys.modules["aiokafka"] = None
print(asyncio.run(polarway.consume_kafka("t").next()).unwrap_err())
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "CONFIGURATION: consuming from Kafka needs the package aiokafka" in ran.stdout
    assert "pip install 'polarway[kafka]'" in ran.stdout
