#!/usr/bin/env python3
"""Logs: from a Kafka topic into Parquet files by day, and a dashboard over them.

    polarway up --data-dir state &
    pip install 'polarway[kafka,arrow]'
    examples/log_analytics.py --bootstrap localhost:9092 --topic logs --url s3://bucket/logs/

A message is a JSON object with `service`, and if it likes `timestamp` (RFC 3339; without one the time of the message
counts), `level`, `message`, `latency_ms` (a number) and anything else, which is kept as JSON in the column `more`.
Files are in <url>/date=YYYY-MM-DD/, by the day of the log in UTC.

Offsets are committed when the rows of a batch are in their files, and what was bad in it is in the quarantine file.
After a crash, or when the group's partitions are shared out anew, a batch may be stored twice and is never lost: where
that matters count distinct (kafka_topic, kafka_partition, kafka_offset). Messages that are no such object are
quarantined with their place and the reason.

Every --every seconds, and at the end, a line of JSON tells lines, errors and the mean latency of each service in the
last --minutes. Ctrl-C, or the end of --seconds, finishes the batch that is under way, and ends.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime
import json
import math
import os
import re
import signal
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from polarway import AsyncPolarwayClient, Err, Error, consume_kafka

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable, Sequence
    from pathlib import Path
    from typing import TypeVar

    from polarway import KafkaBatch, KafkaConsumer, KafkaMessage, Result, Unread

    T = TypeVar("T")

COLUMNS = {
    "at": "TIMESTAMP(6)",
    "service": "VARCHAR",
    "level": "VARCHAR",
    "message": "VARCHAR",
    "latency_ms": "DOUBLE",
    "more": "VARCHAR",
    "kafka_topic": "VARCHAR",
    "kafka_partition": "BIGINT",
    "kafka_offset": "BIGINT",
    "date": "DATE",
}

TABLE = """
CREATE EXTERNAL TABLE IF NOT EXISTS {table} ({columns})
STORED AS PARQUET PARTITIONED BY (date) LOCATION '{url}'"""

DASHBOARD = """
SELECT service, count(*) AS lines, count(*) FILTER (WHERE level = 'ERROR') AS errors, avg(latency_ms) AS latency_ms
FROM {table}
WHERE date >= CAST(now() - INTERVAL '{minutes} minutes' AS DATE) AND at >= now() - INTERVAL '{minutes} minutes'
GROUP BY 1
ORDER BY 1"""


def row(message: KafkaMessage) -> dict[str, object]:
    """The row of a message.

    Raises:
        ValueError: it has none.
    """
    log = json.loads(message.value or b"")
    if not isinstance(log, dict):
        raise ValueError("the message is no JSON object")
    service, text = log.pop("service", None), log.pop("message", None)
    if not isinstance(service, str) or not service:
        raise ValueError("the log names no service")
    level, latency = log.pop("level", "INFO"), log.pop("latency_ms", None)
    if not isinstance(level, str) or not isinstance(text, str | None):
        raise ValueError("level and message have to be texts")
    if isinstance(latency, bool) or not isinstance(latency, int | float | None):
        raise ValueError("latency_ms has to be a number")
    if latency is not None and not math.isfinite(latency):
        raise ValueError("latency_ms has to be finite")
    at = instant(log.pop("timestamp", None), message.timestamp)
    found = {
        "at": at.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "service": service,
        "level": level.upper(),
        "message": text,
        "latency_ms": latency,
        "more": json.dumps(log, sort_keys=True) if log else None,
        "kafka_topic": message.topic,
        "kafka_partition": message.partition,
        "kafka_offset": message.offset,
        "date": at.date().isoformat(),
    }
    for name in ("service", "level", "message"):
        # JSON may say half a character, which is no text.
        str(found[name]).encode()
    return found


def lines(rows: Iterable[object]) -> str:
    """The rows as JSON, one a line."""
    return "\n".join(map(json.dumps, rows))


def instant(told: object, published: datetime.datetime | None) -> datetime.datetime:
    """When a log was written, in UTC; without an offset it is taken for that.

    Raises:
        ValueError: nobody says so.
    """
    if told is None and published is not None:
        return published
    if not isinstance(told, str):
        raise ValueError("timestamp has to be a text as of RFC 3339")
    # Python 3.10 knows neither the Z nor nanoseconds.
    known = re.sub(r"\.(\d+)", lambda digits: f".{digits[1][:6]:0<6}", re.sub("[zZ]$", "+00:00", told))
    at = datetime.datetime.fromisoformat(known)
    return at.replace(tzinfo=at.tzinfo or datetime.timezone.utc).astimezone(datetime.timezone.utc)


class Quarantine:
    """A file with what could not be stored, one JSON object a line.

    Attributes:
        count: How much was added.
    """

    def __init__(self, path: Path | str) -> None:
        self._path = path
        self.count = 0

    def add(self, bad: Sequence[dict[str, object]]) -> None:
        """Returns when it is on the disk: after that the messages do not come again."""
        if not bad:
            return
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(lines(bad) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.count += len(bad)


def place(unread: Unread[KafkaMessage]) -> dict[str, object]:
    """Where a message stands, why it has no row, and what it is, readable whatever its bytes are."""
    message = unread.message
    return {
        "topic": message.topic,
        "partition": message.partition,
        "offset": message.offset,
        "reason": f"{type(unread.reason).__name__}: {unread.reason}",
        "value": (message.value or b"").decode(errors="backslashreplace"),
    }


@dataclass
class Done:
    """What was stored so far."""

    batches: int = 0
    rows: int = 0
    again: int = 0


class Logs:
    """From the topic into the files, and out of them."""

    def __init__(self, client: AsyncPolarwayClient, args: argparse.Namespace) -> None:
        self._client = client
        self._url = args.url
        columns = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
        self._create = TABLE.format(table=args.table, columns=columns, url=args.url.replace("'", "''"))
        self._dashboard = DASHBOARD.format(table=args.table, minutes=args.minutes)
        self._is_there = False
        self.quarantine = Quarantine(args.quarantine)
        self.done = Done()

    async def store(self, messages: KafkaConsumer, stop: asyncio.Event) -> None:
        """Until it is told to stop; a batch that was begun is ended."""
        stopped = asyncio.ensure_future(stop.wait())
        try:
            while not stop.is_set():
                coming = asyncio.ensure_future(messages.next())
                await asyncio.wait({coming, stopped}, return_when=asyncio.FIRST_COMPLETED)
                if not coming.done():
                    # A wait that is cancelled loses no message.
                    coming.cancel()
                    await asyncio.wait({coming})
                    return
                batch = checked(coming.result())
                if batch is None:
                    return
                await self._stored(batch, stop)
        finally:
            stopped.cancel()

    async def _stored(self, batch: KafkaBatch, stop: asyncio.Event) -> None:
        rejected: list[dict[str, object]] = []
        if batch.records:
            while isinstance(written := (await self._written(batch)).variant, Err):
                print(written.err_value, file=sys.stderr)
                # Not confirmed, so the batch comes again when the program is started again.
                if not written.err_value.is_retryable or stop.is_set():
                    raise written.err_value
                await either(stop.wait(), written.err_value.retry_after or 1.0)
            rejected = written.ok_value
        self.quarantine.add([*map(place, batch.unread), *rejected])
        confirmed = (await batch.confirm()).variant
        if isinstance(confirmed, Err):
            print(confirmed.err_value, file=sys.stderr)
            self.done.again += 1
        self.done.batches += 1
        self.done.rows += len(batch.records) - len(rejected)

    async def _written(self, batch: KafkaBatch) -> Result[list[dict[str, object]], Error]:
        """Stores the rows; gives those that were not taken, and why."""
        rows = batch.records
        text = await asyncio.to_thread(lines, rows)
        uploaded = await self._client.from_json(text, schema=COLUMNS, keep_rejected=len(rows))
        if isinstance(uploaded, Err):
            return uploaded
        async with uploaded.unwrap() as handle:
            written = await self._client.write_parquet(handle, self._url, partition_by=["date"])
            return written.map(lambda _: [{**rows[bad.number - 1], "reason": bad.reason} for bad in handle.rejected])

    async def show(self) -> None:
        """Prints the dashboard, once there is something to show."""
        if not self.done.rows:
            return
        for sql in (self._dashboard,) if self._is_there else (self._create, self._dashboard):
            result = (await self._client.query(sql)).variant
            if isinstance(result, Err):
                # The next look may go better: the cluster may be restarting.
                print(result.err_value, file=sys.stderr)
                if not result.err_value.is_retryable:
                    raise result.err_value
                return
            self._is_there = True
        print(json.dumps({"dashboard": result.ok_value.to_dicts()}, default=str), flush=True)


def checked(result: Result[T, Error]) -> T:
    """The value; raises the error."""
    if isinstance(result, Err):
        raise result.unwrap_err()
    return result.unwrap()


async def either(waited: Awaitable[object], seconds: float) -> None:
    """Waits for something, or for so long."""
    with contextlib.suppress(asyncio.TimeoutError, TimeoutError):
        await asyncio.wait_for(waited, seconds)


async def run(args: argparse.Namespace) -> int:
    """Runs until it is told to stop; gives the exit code."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        # Windows has no such handlers; there Ctrl-C interrupts.
        with contextlib.suppress(NotImplementedError):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    messages = consume_kafka(
        args.topic,
        bootstrap_servers=args.bootstrap,
        group_id=args.group,
        tls=args.tls,
        sasl_mechanism=args.sasl_mechanism,
        user=args.user,
        password=os.environ.get("KAFKA_PASSWORD") if args.user else None,
        parse=row,
        max_records=args.max_records,
        max_delay=args.max_delay,
    )
    async with AsyncPolarwayClient(args.server) as client, messages:
        logs = Logs(client, args)

        async def watch() -> None:
            while True:
                await asyncio.sleep(args.every)
                await logs.show()

        storing = asyncio.create_task(logs.store(messages, stop))
        watching = asyncio.create_task(watch())
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({storing, watching, stopping}, timeout=args.seconds, return_when=asyncio.FIRST_COMPLETED)
        stop.set()
        watching.cancel()
        # A cluster that does not answer is not waited for: the batch comes again.
        await asyncio.wait({storing}, timeout=args.patience)
        storing.cancel()
        stored, watched, _ = await asyncio.gather(storing, watching, stopping, return_exceptions=True)
        failed = next((error for error in (stored, watched) if isinstance(error, Exception)), None)
        with contextlib.suppress(Exception) if failed else contextlib.nullcontext():
            await logs.show()
    summary = {
        "batches": logs.done.batches,
        "rows": logs.done.rows,
        "again": logs.done.again,
        "quarantined": logs.quarantine.count,
        "reconnects": messages.reconnects,
    }
    print(json.dumps({"summary": summary}), flush=True)
    if failed is not None:
        print(failed, file=sys.stderr)
    return 1 if failed is not None else 0


def main() -> int:
    """Reads the arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bootstrap", default="localhost:9092", help="brokers, with commas between them [%(default)s]")
    parser.add_argument("--topic", default="logs", help="what to consume [%(default)s]")
    parser.add_argument("--group", default="polarway-logs", help="consumer group [%(default)s]")
    parser.add_argument("--user", help="user at the cluster; its password is read from KAFKA_PASSWORD")
    parser.add_argument(
        "--sasl-mechanism",
        default="SCRAM-SHA-512",
        choices=["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"],
        help="how to show user and password [%(default)s]",
    )
    parser.add_argument("--tls", action="store_true", help="connect to the brokers with TLS")
    parser.add_argument("--server", default="localhost:50051", help="where SQL is taken [%(default)s]")
    parser.add_argument("--url", required=True, help="where the files go: a URL or directory with a slash at its end")
    parser.add_argument("--table", default="logs", help="the external table, made if it is not there [%(default)s]")
    parser.add_argument("--quarantine", default="quarantine.ndjson", help="file of what is bad [%(default)s]")
    parser.add_argument("--minutes", type=int, default=5, help="what the dashboard looks back on [%(default)s]")
    parser.add_argument("--max-records", type=int, default=50_000, help="rows of a batch [%(default)s]")
    parser.add_argument(
        "--max-delay",
        type=float,
        default=10.0,
        help="seconds that a batch waits: longer makes fewer files [%(default)s]",
    )
    parser.add_argument("--every", type=float, default=30.0, help="seconds between two looks [%(default)s]")
    parser.add_argument("--patience", type=float, default=60.0, help="seconds for the last batch [%(default)s]")
    parser.add_argument("--seconds", type=float, help="end after so long [until Ctrl-C]")
    try:
        return asyncio.run(run(parser.parse_args()))
    except (Error, ValueError) as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
