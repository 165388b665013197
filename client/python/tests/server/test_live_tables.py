"""Rows into live tables, against real servers."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import decimal
import json
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest
from websockets.asyncio.client import connect

from mosquitto import broker
from polarway import AsyncPolarwayClient, Err, LiveTableSink, pump, subscribe_mqtt

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

EXAMPLE = Path(__file__).parents[4] / "examples" / "iot_sensors.py"


@contextlib.asynccontextmanager
async def stream_of(client: AsyncPolarwayClient, columns: str, options: str = "") -> AsyncGenerator[str]:
    """A stream of its own."""
    name = f"live_{uuid.uuid4().hex}"
    await client.raising.query(f"CREATE STREAM {name} ({columns}) {options}")
    try:
        yield name
    finally:
        await client.raising.query(f"DROP STREAM {name}")


async def one(client: AsyncPolarwayClient, sql: str) -> dict[str, object]:
    """The only row."""
    (row,) = await client.raising.query(sql)
    return row


async def owner_of(takers: list[str], stream: str) -> tuple[str, int]:
    """Where the process takes rows that has the stream: the others redirect to it."""
    async with connect(f"{takers[0]}/v1/streams/{stream}") as feed:
        host, port = feed.remote_address[:2]
        return str(host), int(port)


async def until(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    deadline = time.monotonic() + 60
    while not await condition():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.05)


async def test_values_are_stored_exactly(client: AsyncPolarwayClient, takers: list[str]) -> None:
    columns = "id BIGINT NOT NULL, d DATE, t TIMESTAMP(6), z TIMESTAMP(3), p DECIMAL(38, 18), f DOUBLE, s VARCHAR"
    zone = datetime.timezone(datetime.timedelta(hours=2))
    rows: list[dict[str, object]] = [
        {
            "id": 2**63 - 1,
            "d": datetime.date(1969, 7, 20),
            "t": datetime.datetime(2026, 11, 25, 10, 0, 0, 123456),
            "z": datetime.datetime(2026, 11, 25, 12, tzinfo=zone),
            "p": decimal.Decimal("12345678901234567890.123456789012345678"),
            "f": 0.1,
            "s": 'a "quoted" µ },{ \n line',
        },
        {"id": 0, "d": None, "t": None, "z": None, "p": None, "f": None, "s": None},
    ]
    async with stream_of(client, columns) as stream, LiveTableSink(takers, stream) as sink:
        (await sink.push(rows)).unwrap()
        assert (await sink.flush()).unwrap().bad == 0
        found = list(await client.raising.query(f"SELECT * FROM {stream} ORDER BY id DESC"))
    assert found[1] == rows[1]
    # What has an offset is stored as UTC.
    assert found[0] == {**rows[0], "z": datetime.datetime(2026, 11, 25, 10)}


async def test_bad_rows_are_counted_and_spoil_no_others(client: AsyncPolarwayClient, takers: list[str]) -> None:
    async with stream_of(client, "id BIGINT NOT NULL, f DOUBLE") as stream:
        async with LiveTableSink(takers, stream, producer="bad-rows") as sink:
            await sink.push([{"id": 1}, {"id": 2, "f": float("nan")}, {"id": "x"}, {"id": 3, "other": 1}, {"id": 4}])
            acknowledged = (await sink.flush()).unwrap()
        assert (acknowledged.rows, acknowledged.bad) == (5, 3)
        found = await one(client, f"SELECT count(*) AS n, sum(id) AS ids FROM {stream}")
        assert found == {"n": 2, "ids": 5}
        letters = await one(client, f"SELECT count(*) AS n FROM {stream}_dead_letters")
        assert letters == {"n": 3}


@pytest.mark.parametrize("ack", ["wal", "object_store"])
async def test_a_query_with_the_token_sees_what_was_flushed(
    client: AsyncPolarwayClient, takers: list[str], ack: Literal["wal", "object_store"]
) -> None:
    async with stream_of(client, "id BIGINT NOT NULL", "WITH (seal_age = '1s')") as stream:
        async with LiveTableSink(takers, stream, ack=ack) as sink:
            pushed = 0
            for _ in range(3):
                pushed += (await sink.push([{"id": pushed + row} for row in range(1000)])).unwrap().rows
                token = (await sink.flush(60)).unwrap().token
                assert token is not None
                await client.raising.query(f"SET polarway.read_after = '{token}'")
                assert await one(client, f"SELECT count(*) AS n FROM {stream}") == {"n": pushed}
        await client.raising.query("RESET polarway.read_after")


async def test_received_has_no_token(client: AsyncPolarwayClient, takers: list[str]) -> None:
    async with (
        stream_of(client, "id BIGINT NOT NULL") as stream,
        LiveTableSink(takers, stream, ack="received") as sink,
    ):
        await sink.push({"id": 1})
        assert (await sink.flush()).unwrap().token is None


class Cutting:
    """A proxy that breaks every connection after some bytes of its client."""

    def __init__(self, host: str, port: int, after: int) -> None:
        self.host, self.port, self.after = host, port, after
        self.cuts = 0

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(self.host, self.port)
        answers = asyncio.create_task(self.copy(there, writer, None))
        try:
            await self.copy(reader, back, self.after)
            self.cuts += 1
        finally:
            answers.cancel()
            writer.transport.abort()
            back.transport.abort()
            await asyncio.gather(answers, return_exceptions=True)

    async def copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limit: int | None) -> None:
        copied = 0
        with contextlib.suppress(ConnectionError):
            while (limit is None or copied < limit) and (data := await reader.read(4096)):
                writer.write(data)
                await writer.drain()
                copied += len(data)


@pytest.mark.parametrize("named", [False, True])
async def test_a_sink_loses_and_doubles_nothing(client: AsyncPolarwayClient, takers: list[str], *, named: bool) -> None:
    """Though its connections break again and again, in the middle of frames and before acknowledgements."""
    async with stream_of(client, "id BIGINT NOT NULL") as stream:
        owner = await owner_of(takers, stream)
        cutting = Cutting(*owner, after=30_000)
        server = await asyncio.start_server(cutting.talk, "127.0.0.1", 0)
        async with server:
            address = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            name = stream if named else None
            async with LiveTableSink(address, stream, producer=name, batch_rows=100, backoff_min=0.01) as sink:
                for begin in range(0, 20_000, 500):
                    (await asyncio.wait_for(sink.push([{"id": begin + row} for row in range(500)]), 60)).unwrap()
                acknowledged = (await sink.flush(60)).unwrap()
                counts = sink.counts
        assert acknowledged.rows == 20_000
        assert cutting.cuts > 3
        assert counts.reconnects > 3
        found = await one(client, f"SELECT count(*) AS n, count(DISTINCT id) AS ids FROM {stream}")
        assert found == {"n": 20_000, "ids": 20_000}


async def test_a_name_that_was_used_before_goes_on(client: AsyncPolarwayClient, takers: list[str]) -> None:
    async with stream_of(client, "id BIGINT NOT NULL") as stream:
        for number in range(3):
            async with LiveTableSink(takers, stream, producer="meter-7") as sink:
                (await sink.push({"id": number})).unwrap()
        assert await one(client, f"SELECT count(*) AS n FROM {stream}") == {"n": 3}


async def test_any_process_tells_who_has_the_stream(client: AsyncPolarwayClient, takers: list[str]) -> None:
    async with stream_of(client, "id BIGINT NOT NULL") as stream:
        for taker in takers:
            async with LiveTableSink(taker, stream) as sink:
                (await sink.push({"id": 1})).unwrap()
        assert await one(client, f"SELECT count(*) AS n FROM {stream}") == {"n": len(takers)}


async def test_a_table_that_is_not_there_is_named(takers: list[str]) -> None:
    error = (await LiveTableSink(takers, "no_such_stream").connect()).unwrap_err()
    assert error.kind == "TABLE_NOT_FOUND"
    assert "no_such_stream" in error.message


async def test_a_dropped_stream_ends_its_sink(client: AsyncPolarwayClient, takers: list[str]) -> None:
    async with stream_of(client, "id BIGINT NOT NULL") as stream:
        sink = LiveTableSink(takers, stream)
        (await sink.connect()).unwrap()
    await sink.push({"id": 1})
    error = (await sink.flush(60)).unwrap_err()
    assert error.kind == "TABLE_NOT_FOUND"
    await sink.aclose()


async def test_a_sink_is_faster_than_a_loop(client: AsyncPolarwayClient, takers: list[str]) -> None:
    """Than one row a message, waiting for acknowledgements after each thousand: benches/python_push.py."""
    count = 20_000
    rows = [{"id": row, "name": f"sensor-{row % 100}", "value": row * 0.37} for row in range(count)]
    async with stream_of(client, "id BIGINT NOT NULL, name VARCHAR, value DOUBLE") as stream:
        host, port = await owner_of(takers, stream)
        began = time.perf_counter()
        async with connect(f"ws://{host}:{port}/v1/streams/{stream}?producer=loop") as feed:
            await feed.recv()
            for begin in range(0, count, 1000):
                for row in rows[begin : begin + 1000]:
                    await feed.send(json.dumps(row))
                while json.loads(await feed.recv())["ack"] < begin + 1000:
                    pass
        looped = time.perf_counter() - began
        began = time.perf_counter()
        async with LiveTableSink(f"ws://{host}:{port}", stream) as sink:
            (await sink.push(rows)).unwrap()
            (await sink.flush()).unwrap()
        sunk = time.perf_counter() - began
        assert await one(client, f"SELECT count(*) AS n FROM {stream}") == {"n": 2 * count}
    print(f"{count / looped:,.0f} rows/s by a loop, {count / sunk:,.0f} by a sink")
    assert sunk * 2 < looped


async def test_mqtt_readings_are_stored_once_though_the_pump_is_cancelled(
    client: AsyncPolarwayClient, takers: list[str], tmp_path: Path
) -> None:
    options = "WITH (dedup = 'id')"
    with broker(tmp_path / "broker") as mosquitto:
        async with stream_of(client, "id BIGINT NOT NULL", options) as stream:

            async def stored(count: int) -> bool:
                found = await one(client, f"SELECT count(*) AS n FROM {stream}")
                return int(str(found["n"])) >= count

            for turn in range(5):
                async with (
                    LiveTableSink(takers, stream) as sink,
                    subscribe_mqtt(mosquitto.url, "m/#", client_id="reader", batch_size=20) as messages,
                ):
                    pumping = asyncio.create_task(pump(messages, sink))
                    if turn == 0:
                        await connected(lambda: messages.connected)
                    await mosquitto.published((f"m/{n}", json.dumps({"id": turn * 100 + n})) for n in range(100))
                    pumping.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await pumping
            async with (
                LiveTableSink(takers, stream) as sink,
                subscribe_mqtt(mosquitto.url, "m/#", client_id="reader") as messages,
            ):
                pumping = asyncio.create_task(pump(messages, sink))
                await until(lambda: stored(500), "readings are missing")
                await messages.aclose()
                (await pumping).unwrap()
            found = await one(client, f"SELECT count(*) AS n, count(DISTINCT id) AS ids FROM {stream}")
            assert found == {"n": 500, "ids": 500}


async def connected(is_connected: Callable[[], bool]) -> None:
    async def asked() -> bool:
        return is_connected()

    await until(asked, "the broker does not accept the subscription")


async def test_the_example_of_sensors_alerts_what_is_far_off(
    client: AsyncPolarwayClient, servers: list[str], takers: list[str], tmp_path: Path
) -> None:
    stream = f"iot_{uuid.uuid4().hex}"
    with broker(tmp_path / "broker") as mosquitto:
        arguments = ["--broker", mosquitto.url, "--server", servers[0], "--ws", takers[0], "--stream", stream]
        command = [sys.executable, str(EXAMPLE), *arguments, "--every", "0.3", "--seconds", "60"]
        began = datetime.datetime.now(datetime.timezone.utc)
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            await until(lambda: exists(client, stream), "the example makes no stream")
            readings: list[tuple[str, str]] = []
            for number in range(60):
                at = (began + datetime.timedelta(milliseconds=number)).isoformat()
                for sensor, usual in (("boiler-1", 70.0), ("boiler-2", 20.0)):
                    value = usual + (number * 7 % 5) * 0.1
                    if (sensor, number) == ("boiler-2", 50):
                        value = 19.0
                    readings.append((f"sensors/{sensor}/reading", json.dumps({"at": at, "value": value})))
            readings.append(("sensors/boiler-1/reading", "no JSON"))

            # The session begins when the broker has the subscription: until then nobody gets what is published.
            async def arrived() -> bool:
                await mosquitto.published(readings)
                found = await one(client, f"SELECT count(*) AS n FROM {stream}")
                return found["n"] == 120

            await until(arrived, "readings are missing")
            alert = json.loads(await asyncio.wait_for(process.stdout.readline(), 30))["alert"]
            assert (alert["sensor"], alert["value"]) == ("boiler-2", 19.0)
            process.send_signal(signal.SIGINT)
            told, failed = await asyncio.wait_for(process.communicate(), 30)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert (process.returncode, failed) == (0, b"")
        (last,) = told.splitlines()
        summary = json.loads(last)["summary"]
        assert summary["alerts"] == 1
        assert summary["unread"] >= 1
        assert summary["bad"] == 0
    await client.raising.query(f"DROP STREAM {stream}")


async def exists(client: AsyncPolarwayClient, stream: str) -> bool:
    return not isinstance(await client.query(f"SELECT count(*) FROM {stream}"), Err)


def test_the_example_of_sensors_ends_by_itself_and_explains_itself(
    servers: list[str], takers: list[str], tmp_path: Path
) -> None:
    command = [sys.executable, str(EXAMPLE)]
    asked = subprocess.run([*command, "--help"], capture_output=True, text=True, timeout=60, check=True)
    assert "--seconds" in asked.stdout
    stream = f"iot_{uuid.uuid4().hex}"
    with broker(tmp_path / "broker") as mosquitto:
        arguments = ["--broker", mosquitto.url, "--server", servers[0], "--ws", takers[0], "--stream", stream]
        ran = subprocess.run(
            [*command, *arguments, "--seconds", "1"], capture_output=True, text=True, timeout=60, check=False
        )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert json.loads(ran.stdout)["summary"]["rows"] == 0
