"""The example that stores logs of a Kafka topic in files by day, and asks them."""

from __future__ import annotations

import asyncio
import datetime
import json
import signal
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from polarway import AsyncPolarwayClient

if TYPE_CHECKING:
    from kafka_broker import Broker

EXAMPLE = Path(__file__).parents[4] / "examples" / "log_analytics.py"
PATIENCE = 90.0
CALLS = ("from_json", "write_parquet")

pytestmark = pytest.mark.skipif(
    not all(hasattr(AsyncPolarwayClient, call) for call in CALLS),
    reason="the client does not upload and write files yet",
)


def logs(now: datetime.datetime) -> list[bytes]:
    """600 of two days and three services, every tenth an error, and four that are bad."""
    found: list[bytes] = []
    for number in range(600):
        # A third is of yesterday, and too old for the dashboard.
        at = now - datetime.timedelta(days=1) if number % 3 == 2 else now
        log = {"service": f"s{number % 3}", "timestamp": at.isoformat(), "latency_ms": number % 7}
        found.append(json.dumps({**log, "level": "ERROR" if number % 10 == 0 else "INFO", "id": number}).encode())
    return [*found, b"no JSON", b"[]", b'{"level": "INFO"}', b'{"service": "s0", "timestamp": "22/Nov/2026"}']


class Running:
    """The example, and what it says."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.dashboards: list[list[dict[str, Any]]] = []

    async def until_it_shows(self, lines: int) -> None:
        assert self._process.stdout is not None
        while not self.dashboards or sum(row["lines"] for row in self.dashboards[-1]) < lines:
            told = json.loads(await asyncio.wait_for(self._process.stdout.readline(), PATIENCE) or "{}")
            if "dashboard" not in told:
                _, complained = await asyncio.wait_for(self._process.communicate(), PATIENCE)
                raise AssertionError(f"it ended too soon: {told} {complained.decode()}")
            self.dashboards.append(told["dashboard"])

    async def summary(self) -> dict[str, Any]:
        self._process.send_signal(signal.SIGINT)
        told, complained = await asyncio.wait_for(self._process.communicate(), PATIENCE)
        assert (self._process.returncode, complained) == (0, b"")
        *dashboards, last = map(json.loads, told.splitlines())
        self.dashboards += [one["dashboard"] for one in dashboards]
        summary: dict[str, Any] = last["summary"]
        return summary

    async def kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()


async def started(kafka: Broker, server: str, url: str, table: str, quarantine: Path) -> Running:
    arguments = {
        "bootstrap": kafka.address,
        "server": server,
        "url": url,
        "table": table,
        "quarantine": str(quarantine),
        "every": "0.3",
        "max-records": "200",
        "max-delay": "0.2",
        "minutes": "60",
    }
    command = [sys.executable, str(EXAMPLE), *(f"--{name}={value}" for name, value in arguments.items())]
    return Running(
        await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
    )


async def test_logs_are_stored_by_day_before_their_offsets_are_committed(
    client: AsyncPolarwayClient, servers: list[str], data: Path, tmp_path: Path
) -> None:
    from kafka_broker import broker  # noqa: PLC0415 - it needs what only a test that runs needs

    table, url, quarantine = f"logs_{uuid.uuid4().hex}", f"{data}/logs/", tmp_path / "bad.ndjson"
    now = datetime.datetime.now(datetime.timezone.utc)
    published = logs(now)
    async with broker() as kafka:
        kafka.topic("logs", 2)
        await kafka.publish("logs", published)
        running = await started(kafka, servers[0], url, table, quarantine)
        try:
            await running.until_it_shows(400)
            summary = await running.summary()
        finally:
            await running.kill()
        assert (summary["rows"], summary["quarantined"], summary["again"]) == (600, 4, 0)
        committed = [await kafka.committed("polarway-logs", "logs", partition) for partition in range(2)]
        assert sum(offset or 0 for offset in committed) == len(published)
        assert [(row["service"], row["lines"], row["errors"]) for row in running.dashboards[-1]] == [
            ("s0", 200, 20),
            ("s1", 200, 20),
        ]
        days = {now.date() - datetime.timedelta(days=1), now.date()}
        assert {path.name for path in (data / "logs").iterdir()} == {f"date={day}" for day in days}
        assert all(path.suffix == ".parquet" for path in (data / "logs").glob("*/*"))
        stored = await client.raising.query(
            f"SELECT date, count(*) AS n, count(DISTINCT (kafka_partition, kafka_offset)) AS places FROM {table}"
            " GROUP BY 1 ORDER BY 1"
        )
        yesterday, today = sorted(days)
        assert stored.to_dicts() == [
            {"date": yesterday, "n": 200, "places": 200},
            {"date": today, "n": 400, "places": 400},
        ]
        bad = [json.loads(line) for line in quarantine.read_text().splitlines()]
        assert {one["value"].encode() for one in bad} == set(published[600:])

        # Another one goes on behind what was committed. Since a member has left, this broker lets it join within the
        # session timeout of 30 s only.
        await kafka.publish("logs", [json.dumps({"service": "s9", "timestamp": now.isoformat()}).encode()])
        running = await started(kafka, servers[0], url, table, quarantine)
        try:
            await running.until_it_shows(401)
            summary = await running.summary()
        finally:
            await running.kill()
        assert (summary["rows"], summary["quarantined"]) == (1, 0)
    await client.raising.query(f"DROP TABLE {table}")
