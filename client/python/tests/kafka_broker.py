"""A broker of its own for a test: the one that librdkafka brings for tests, in a process that ends with the test.

It speaks Kafka's protocol over sockets, and keeps messages and offsets in memory. Python's `confluent_kafka` has no
call for what it can be told, so the library below it is called.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import importlib
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable

BROKER = 1
# They tell no types.
_aiokafka: Any = importlib.import_module("aiokafka")


class Broker:
    """The process, from outside."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.address = self._answer()

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    def _answer(self) -> str:
        assert self._process.stdout is not None
        answer = self._process.stdout.readline().strip()
        assert answer, "librdkafka's broker does not run; the package confluent-kafka has it"
        return answer

    def told(self, command: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()
        assert self._answer() == "ok", command

    def topic(self, name: str, partitions: int = 1) -> None:
        self.told(f"topic {name} {partitions}")

    def down(self) -> None:
        """Ends all connections, and takes none; what it has it keeps."""
        self.told("down")

    def up(self) -> None:
        self.told("up")

    def advertise(self, port: int) -> None:
        """Sends clients there: to a proxy before it."""
        self.told(f"advertise {port}")

    def fail(self, api: int, error: int) -> None:
        """Answers the next request of a kind with an error."""
        self.told(f"fail {api} {error}")

    def stop(self) -> None:
        self._process.communicate(timeout=30)

    async def publish(
        self, topic: str, values: Iterable[bytes | None], compression: str | None = None, **message: object
    ) -> None:
        """Returns when the broker has all of them, each with the same parts beside its value."""
        producer = _aiokafka.AIOKafkaProducer(bootstrap_servers=self.address, compression_type=compression, linger_ms=5)
        await producer.start()
        try:
            await asyncio.gather(*[await producer.send(topic, value, **message) for value in values])
        finally:
            await producer.stop()

    async def committed(self, group: str, topic: str, partition: int = 0) -> int | None:
        """The offset that the group has committed."""
        consumer = _aiokafka.AIOKafkaConsumer(bootstrap_servers=self.address, group_id=group, enable_auto_commit=False)
        await consumer.start()
        try:
            offset: int | None = await consumer.committed(_aiokafka.TopicPartition(topic, partition))
            return offset
        finally:
            await consumer.stop()


@contextlib.asynccontextmanager
async def broker() -> AsyncGenerator[Broker]:
    started = await asyncio.to_thread(Broker)
    try:
        yield started
    finally:
        await asyncio.to_thread(started.stop)


def _library() -> ctypes.CDLL:
    # The symbols of what a library is linked to are found through it.
    library = ctypes.CDLL(importlib.import_module("confluent_kafka.cimpl").__file__)
    pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int32
    for name, result, arguments in (
        ("conf_new", pointer, []),
        ("new", pointer, [ctypes.c_int, pointer, text, ctypes.c_size_t]),
        ("mock_cluster_new", pointer, [pointer, ctypes.c_int]),
        ("mock_cluster_bootstraps", text, [pointer]),
        ("mock_group_initial_rebalance_delay_ms", None, [pointer, number]),
        ("mock_topic_create", ctypes.c_int, [pointer, text, ctypes.c_int, ctypes.c_int]),
        ("mock_broker_set_down", ctypes.c_int, [pointer, number]),
        ("mock_broker_set_up", ctypes.c_int, [pointer, number]),
        ("mock_broker_set_host_port", None, [pointer, number, text, ctypes.c_int]),
        ("mock_push_request_errors_array", None, [pointer, ctypes.c_int16, ctypes.c_size_t, pointer]),
    ):
        function = getattr(library, f"rd_kafka_{name}")
        function.restype, function.argtypes = result, arguments
    return library


def _serve() -> None:
    library = _library()
    failure = ctypes.create_string_buffer(512)
    handle = library.rd_kafka_new(0, library.rd_kafka_conf_new(), failure, len(failure))
    cluster = library.rd_kafka_mock_cluster_new(handle, 1)
    # A group need not wait for members that may still come.
    library.rd_kafka_mock_group_initial_rebalance_delay_ms(cluster, 0)
    print(library.rd_kafka_mock_cluster_bootstraps(cluster).decode(), flush=True)
    for line in sys.stdin:
        command, *words = line.split()
        if command == "topic":
            failed = library.rd_kafka_mock_topic_create(cluster, words[0].encode(), int(words[1]), 1)
        elif command == "down":
            failed = library.rd_kafka_mock_broker_set_down(cluster, BROKER)
        elif command == "up":
            failed = library.rd_kafka_mock_broker_set_up(cluster, BROKER)
        elif command == "advertise":
            library.rd_kafka_mock_broker_set_host_port(cluster, BROKER, b"127.0.0.1", int(words[0]))
            failed = 0
        else:
            errors = (ctypes.c_int * 1)(int(words[1]))
            library.rd_kafka_mock_push_request_errors_array(cluster, int(words[0]), 1, errors)
            failed = 0
        print(failed or "ok", flush=True)


if __name__ == "__main__":
    _serve()
