"""A broker of its own for a test: Debian's mosquitto."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import subprocess
import time
from typing import TYPE_CHECKING

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable
    from pathlib import Path


class Mosquitto:
    """Started and stopped any number of times at one port; what it keeps of sessions outlives a stop."""

    def __init__(self, directory: Path, *settings: str) -> None:
        found = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/sbin")
        assert found, "mosquitto is not installed, and tests of MQTT start it: run `make setup`"
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self.url = f"mqtt://127.0.0.1:{self.port}"
        directory.mkdir(exist_ok=True)
        self._program = found
        self._config = directory / "mosquitto.conf"
        lines = [
            f"listener {self.port} 127.0.0.1",
            # Started by root it would become another user, who may not write here.
            "user root",
            "persistence true",
            f"persistence_location {directory}/",
            "log_dest none",
            *(settings or ["allow_anonymous true"]),
        ]
        self._config.write_text("\n".join(lines) + "\n")
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    def at(cls, port: int) -> Mosquitto:
        """Another listener of one that runs, to publish there."""
        other = cls.__new__(cls)
        other.port = port
        deadline = time.monotonic() + 30
        while not other._listens():
            assert time.monotonic() < deadline, "mosquitto does not listen"
            time.sleep(0.02)
        return other

    def _listens(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False

    def start(self) -> None:
        self._process = subprocess.Popen([self._program, "-c", str(self._config)], stderr=subprocess.PIPE)
        deadline = time.monotonic() + 30
        while not self._listens():
            if self._process.poll() is not None:
                _, told = self._process.communicate()
                raise AssertionError(f"mosquitto does not start: {told.decode()}")
            assert time.monotonic() < deadline, "mosquitto does not listen"
            time.sleep(0.02)

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            process.communicate(timeout=30)

    def publish(self, messages: Iterable[tuple[str, str]], qos: int = 1) -> None:
        """Publishes, and returns when the broker has all of it."""
        client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        client.connect("127.0.0.1", self.port)
        client.loop_start()
        try:
            for info in [client.publish(topic, payload, qos) for topic, payload in messages]:
                info.wait_for_publish(timeout=30)
        finally:
            client.disconnect()
            client.loop_stop()

    async def published(self, messages: Iterable[tuple[str, str]], qos: int = 1) -> None:
        await asyncio.to_thread(self.publish, list(messages), qos)


@contextlib.contextmanager
def broker(directory: Path, *settings: str) -> Generator[Mosquitto]:
    mosquitto = Mosquitto(directory, *settings)
    mosquitto.start()
    try:
        yield mosquitto
    finally:
        mosquitto.stop()
