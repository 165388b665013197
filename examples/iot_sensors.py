#!/usr/bin/env python3
"""Readings of sensors: from an MQTT broker into a live table, and an alert for each that is far from those before it.

    polarway up --ws-listen 127.0.0.1:8081 --data-dir state &
    pip install 'polarway[feeds,mqtt,arrow]'
    examples/iot_sensors.py --broker mqtt://localhost:1883 --topic 'sensors/+/reading'
    mosquitto_pub -q 1 -t sensors/boiler-1/reading -m '{"at": "2026-11-25T10:00:00Z", "value": 71.5}'

A message is a JSON object with `at` (RFC 3339) and `value`; the sensor is the second level of its topic. A message is
acknowledged to the broker only when its row is on the cluster's disk: after a crash of this program the broker delivers
again what was not, under the same --client-id, and the table drops what comes twice (`dedup`).

A reading is an anomaly if it is more than --sigma standard deviations from the mean of the readings of its sensor before
it: of at most 100, and at least 20, none of which is itself. Each is printed once, as one line of JSON.

Ctrl-C, or the end of --seconds, stores and confirms what is under way, looks for anomalies once more, and ends.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime
import json
import os
import signal
import sys
from typing import TYPE_CHECKING

from polarway import AsyncPolarwayClient, Err, Error, LiveTableSink, Pumped, pump, subscribe_mqtt

if TYPE_CHECKING:
    from polarway import Message, Result, Table

CREATE = """
CREATE STREAM IF NOT EXISTS {stream} (sensor VARCHAR NOT NULL, at TIMESTAMP(6) NOT NULL, value DOUBLE NOT NULL)
WITH (event_time = 'at', dedup = 'sensor, at', retention = '30days')"""

ANOMALIES = """
SELECT sensor, at, value, mean, sigma
FROM (
    SELECT sensor, at, value, count(value) OVER earlier AS readings,
           avg(value) OVER earlier AS mean, stddev(value) OVER earlier AS sigma
    FROM {stream}
    WHERE at >= now() - INTERVAL '{minutes} minutes'
    WINDOW earlier AS (PARTITION BY sensor ORDER BY at ROWS BETWEEN 100 PRECEDING AND 1 PRECEDING))
WHERE readings >= 20 AND abs(value - mean) > {sigma} * sigma
ORDER BY at"""


def row(message: Message) -> dict[str, object]:
    """The row of a message; one that has none is counted and confirmed."""
    reading = json.loads(message.payload)
    return {"sensor": message.topic.split("/")[1], "at": reading["at"], "value": reading["value"]}


class Alerts:
    """Finds anomalies, each once."""

    def __init__(self, client: AsyncPolarwayClient, args: argparse.Namespace) -> None:
        self._client = client
        self._sql = ANOMALIES.format(stream=args.stream, minutes=args.minutes, sigma=args.sigma)
        self._horizon = datetime.timedelta(minutes=args.minutes)
        self._told: dict[tuple[str, datetime.datetime], None] = {}
        self.found = 0

    async def look(self, token: str | None) -> None:
        """Prints what is new; the query sees all rows that were acknowledged, or fails."""
        if token is not None:
            checked(await self._client.query(f"SET polarway.read_after = '{token}'"))
        result = (await self._client.query(self._sql)).variant
        if isinstance(result, Err):
            # The next look may go better: the cluster may be restarting.
            print(result.err_value, file=sys.stderr)
            if not result.err_value.is_retryable:
                raise result.err_value
            return
        for anomaly in result.ok_value:
            key = (anomaly["sensor"], anomaly["at"])
            if key not in self._told:
                self._told[key] = None
                self.found += 1
                print(json.dumps({"alert": anomaly}, default=str), flush=True)
        newest = max((at for _, at in self._told), default=None)
        if newest is not None:
            self._told = {key: None for key in self._told if key[1] >= newest - self._horizon}


def checked(result: Result[Table, Error]) -> Table:
    """The value; raises the error."""
    if isinstance(result, Err):
        raise result.unwrap_err()
    return result.unwrap()


async def run(args: argparse.Namespace) -> int:
    """Runs until it is told to stop; gives the exit code."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        # Windows has no such handlers; there Ctrl-C interrupts.
        with contextlib.suppress(NotImplementedError):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    messages = subscribe_mqtt(
        args.broker,
        args.topic,
        client_id=args.client_id,
        user=args.user,
        password=os.environ.get("MQTT_PASSWORD"),
        parse=row,
    )
    done = Pumped()

    def note(pumped: Pumped) -> None:
        nonlocal done
        done = pumped

    async with AsyncPolarwayClient(args.server) as client:
        checked(await client.query(CREATE.format(stream=args.stream)))
        alerts = Alerts(client, args)

        async def watch() -> None:
            while True:
                await asyncio.sleep(args.every)
                await alerts.look(done.token)

        async with LiveTableSink(args.ws, args.stream) as sink, messages:
            pumping = asyncio.create_task(pump(messages, sink, progress=note))
            watching = asyncio.create_task(watch())
            stopping = asyncio.create_task(stop.wait())
            await asyncio.wait({pumping, watching, stopping}, timeout=args.seconds, return_when=asyncio.FIRST_COMPLETED)
            watching.cancel()
            stopping.cancel()
            # The pump ends when it has stored and confirmed what it has; a cluster that is away is not waited for.
            await messages.aclose()
            await asyncio.wait({pumping}, timeout=10)
            pumping.cancel()
            ended, watched, _ = await asyncio.gather(pumping, watching, stopping, return_exceptions=True)
        with contextlib.suppress(Exception) if isinstance(watched, Exception) else contextlib.nullcontext():
            await alerts.look(done.token)
    failed = next((error for error in (ended, watched) if isinstance(error, Exception)), None)
    if failed is None and isinstance(ended, Err):
        failed = ended.unwrap_err()
    summary = {
        "rows": done.rows,
        "bad": done.bad,
        "unread": messages.unread,
        "alerts": alerts.found,
        "reconnects": messages.reconnects + sink.counts.reconnects,
    }
    print(json.dumps({"summary": summary}), flush=True)
    if failed is not None:
        print(failed, file=sys.stderr)
    return 1 if failed is not None else 0


def main() -> int:
    """Reads the arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--broker", default="mqtt://localhost:1883", help="mqtt:// or mqtts:// [%(default)s]")
    parser.add_argument("--topic", default="sensors/+/reading", help="what to subscribe to [%(default)s]")
    parser.add_argument("--user", help="user at the broker; its password is read from MQTT_PASSWORD")
    parser.add_argument("--client-id", default="polarway-iot", help="name of the session at the broker [%(default)s]")
    parser.add_argument("--server", default="localhost:50051", help="where SQL is taken [%(default)s]")
    parser.add_argument("--ws", default="ws://localhost:8081", help="where rows are taken [%(default)s]")
    parser.add_argument(
        "--stream", default="sensor_readings", help="the live table, made if it is not there [%(default)s]"
    )
    parser.add_argument("--sigma", type=float, default=3.0, help="standard deviations of an anomaly [%(default)s]")
    parser.add_argument("--minutes", type=int, default=60, help="how old readings are looked at [%(default)s]")
    parser.add_argument("--every", type=float, default=2.0, help="seconds between two looks [%(default)s]")
    parser.add_argument("--seconds", type=float, help="end after so long [until Ctrl-C]")
    try:
        return asyncio.run(run(parser.parse_args()))
    except Error as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
