from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import pytest

from ingest_server import Behaviour, Stream, running
from polarway import Error
from polarway.live_faults import Refusal, answered, closed, told
from polarway.live_table import LiveTableSink

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from polarway import Result


def sink_of(*addresses: str, **options: object) -> LiveTableSink:
    given: dict[str, Any] = {"batch_rows": 5, "backoff_min": 0.001, "backoff_max": 0.01, **options}
    return LiveTableSink(addresses, "t", **given)


def numbered(count: int) -> list[dict[str, object]]:
    return [{"id": number} for number in range(count)]


async def within(seconds: float, work: Awaitable[Result[Any, Error]]) -> Result[Any, Error]:
    return await asyncio.wait_for(work, seconds)


async def test_a_sink_loses_and_doubles_nothing() -> None:
    """Connections break before acknowledgements, after some, with and without a reason."""
    stream = Stream()
    broken = [
        Behaviour(store=4, acks=False),
        Behaviour(store=0),
        Behaviour(store=7, acks=False, say="draining"),
        Behaviour(status=HTTPStatus.SERVICE_UNAVAILABLE, retry_after="0"),
        Behaviour(store=5),
        Behaviour(store=2, say="log_full", code=1013),
        Behaviour(store=1, acks=False, say="moved"),
    ]
    async with running(stream, *broken) as server, sink_of(server.address) as sink:
        assert (await within(30, sink.push(numbered(500)))).unwrap().rows == 500
        acknowledged = (await within(30, sink.flush())).unwrap()
        counts = sink.counts
    assert stream.rows == numbered(500)
    assert (acknowledged.rows, acknowledged.bad) == (500, 0)
    assert str(acknowledged.token) == "t:100"
    assert (counts.rows, counts.acknowledged, counts.unacknowledged_rows) == (500, 500, 0)
    assert counts.reconnects == 6
    assert counts.failures == 7
    # What had arrived is asked for with frames without rows.
    assert stream.repeated == 0


async def test_a_sink_follows_the_stream_to_another_server() -> None:
    stream = Stream()
    async with running(stream) as owner:
        away = Behaviour(status=HTTPStatus.TEMPORARY_REDIRECT, location=owner.address, refusal="elsewhere")
        async with running(stream, away, away) as other:
            owner.behaviours = [Behaviour(store=3, acks=False, say="moved")]
            async with sink_of(other.address) as sink:
                (await within(30, sink.push(numbered(100)))).unwrap()
                assert (await within(30, sink.flush())).unwrap().rows == 100
            assert len(other.requests) == 1
            assert len(owner.requests) == 2
    assert stream.rows == numbered(100)


async def test_servers_that_point_at_each_other_are_not_asked_without_a_pause() -> None:
    stream = Stream()
    async with running(stream) as one, running(stream) as two:
        for here, there in ((one, two), (two, one)):
            here.behaviours = [
                Behaviour(status=HTTPStatus.TEMPORARY_REDIRECT, location=there.address, refusal="elsewhere")
            ] * 10
        sink = sink_of(one.address, backoff_min=0.05, backoff_max=0.05)
        began = time.monotonic()
        async with sink:
            assert time.monotonic() - began > 0.2
            (await within(30, sink.push(numbered(3)))).unwrap()


async def test_a_server_that_is_gone_is_replaced_by_another() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        gone = f"127.0.0.1:{free.getsockname()[1]}"
    stream = Stream()
    async with running(stream) as server, sink_of(gone, server.address) as sink:
        (await within(30, sink.push({"id": 0}))).unwrap()
        (await within(30, sink.flush())).unwrap()
    assert stream.rows == [{"id": 0}]


async def test_push_waits_while_too_much_is_unacknowledged() -> None:
    stream = Stream()
    async with (
        running(stream, Behaviour(acks=False)) as server,
        sink_of(server.address, max_unacknowledged_frames=4) as sink,
    ):
        pushing = asyncio.create_task(sink.push(numbered(1000)))
        for _ in range(6000):
            if sink.counts.unacknowledged_frames == 4:
                break
            await asyncio.sleep(0.01)
        # It would go on now.
        await asyncio.sleep(0.2)
        assert not pushing.done()
        held = sink.counts
        assert held.unacknowledged_frames == 4
        assert held.unacknowledged_rows <= 4 * 5 + 5
        pushing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await pushing
        assert (await sink.flush(0.05)).unwrap_err().kind == "DEADLINE_EXCEEDED"
        closing = await within(5, sink.aclose(0.05))
        assert closing.unwrap_err().kind == "DEADLINE_EXCEEDED"
        assert (await sink.push({"id": 1})).unwrap_err().message == "the sink is closed"


async def test_errors_that_do_not_get_better_end_the_sink() -> None:
    for kind, expected in [
        ("not_allowed", "NOT_ALLOWED"),
        ("protocol", "INTERNAL"),
        ("frame_too_large", "INVALID_SETTING"),
    ]:
        async with running(Stream(), Behaviour(store=1, acks=False, say=kind)) as server:
            sink = sink_of(server.address)
            (await sink.connect()).unwrap()
            await within(10, sink.push(numbered(5)))
            error = (await within(10, sink.flush())).unwrap_err()
            assert (error.kind, error.message, error.hint) == (expected, f"it is {kind}", "do something")
            assert not error.is_retryable
            assert (await within(10, sink.push({"id": 1}))).unwrap_err() == error
            assert sink.counts.unacknowledged_rows == 5
            assert (await within(10, sink.aclose())).unwrap_err() == error


async def test_a_stream_that_is_not_there_is_an_error_at_once() -> None:
    unknown = Behaviour(status=HTTPStatus.NOT_FOUND, refusal="unknown_stream")
    async with running(Stream(), unknown) as server:
        with pytest.raises(Error) as caught:
            await sink_of(server.address).__aenter__()
        assert caught.value.kind == "TABLE_NOT_FOUND"
        assert len(server.requests) == 1


async def test_nobody_at_the_address_is_an_error_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        sink = sink_of(f"127.0.0.1:{silent.getsockname()[1]}", connect_timeout=0.2)
        error = (await within(5, sink.connect())).unwrap_err()
        assert (error.kind, error.is_unavailable, error.is_retryable) == ("DRAINING", True, True)
        await within(1, sink.aclose())


async def test_a_sink_gives_up_when_it_is_told_to() -> None:
    async with running(Stream(), Behaviour(store=0)) as server:
        sink = sink_of(server.address, retry_for=0.3, connect_timeout=0.5)
        (await sink.connect()).unwrap()
    (await sink.push(numbered(2))).unwrap()
    error = (await within(20, sink.flush())).unwrap_err()
    assert (error.kind, error.is_unavailable) == ("DRAINING", True)
    await within(1, sink.aclose())


async def test_a_name_that_somebody_else_has_is_told() -> None:
    stream = Stream()
    async with running(stream, Behaviour(store=1)) as server:
        sink = sink_of(server.address, producer="p")
        (await sink.connect()).unwrap()
        stream.last["p"] = 2**60
        await sink.push(numbered(50))
        error = (await within(10, sink.flush())).unwrap_err()
        assert error.kind == "INVALID_SETTING"
        assert "somebody else" in error.message
        await sink.aclose()


async def test_a_sink_with_nothing_to_send_stops_at_once() -> None:
    took: list[float] = []
    async with running(Stream()) as server:
        # Of several, since the machine may be busy with something else for a moment.
        for _ in range(5):
            sink = sink_of(server.address)
            (await sink.connect()).unwrap()
            began = time.monotonic()
            (await sink.aclose()).unwrap()
            took.append(time.monotonic() - began)
            assert (await sink.aclose()).is_ok()
    assert min(took) < 0.1
    assert (await sink_of("127.0.0.1:1").aclose()).is_ok()


async def test_a_cancelled_context_does_not_hang() -> None:
    async with running(Stream(), Behaviour(acks=False)) as server:

        async def work() -> None:
            async with sink_of(server.address) as sink:
                await sink.push(numbered(5))
                await asyncio.Event().wait()

        task = asyncio.create_task(work())
        await asyncio.sleep(0.1)
        began = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert time.monotonic() - began < 2


async def test_leaving_the_context_tells_what_did_not_arrive() -> None:
    async with running(Stream(), Behaviour(store=1, acks=False, say="not_allowed")) as server:
        with pytest.raises(Error, match="not_allowed"):
            async with sink_of(server.address) as sink:
                await sink.push(numbered(3))
    async with running(Stream(), Behaviour(store=1, acks=False, say="not_allowed")) as server:
        with pytest.raises(KeyError, match="mine"):
            async with sink_of(server.address) as sink:
                await sink.push(numbered(3))
                raise KeyError("mine")


async def test_rows_that_linger_are_sent_by_themselves_and_together() -> None:
    stream = Stream()
    async with running(stream) as server, sink_of(server.address, batch_rows=100, linger=0.05) as sink:
        for row in numbered(7):
            (await sink.push(row)).unwrap()
        for _ in range(200):
            if sink.counts.acknowledged == 7:
                break
            await asyncio.sleep(0.01)
        assert sink.counts.acknowledged == 7
        assert len(server.frames) == 1
        assert (await sink.flush()).unwrap().rows == 7
        assert (await sink.flush()).unwrap().rows == 0


async def test_pushes_of_many_tasks_arrive_once_each() -> None:
    stream = Stream()
    async with (
        running(stream, Behaviour(store=2, acks=False)) as server,
        sink_of(server.address, max_unacknowledged_frames=3) as sink,
    ):
        parts = [sink.push([{"id": part * 100 + row} for row in range(100)]) for part in range(20)]
        for pushed in await asyncio.wait_for(asyncio.gather(*parts), 30):
            assert pushed.unwrap().rows == 100
        (await within(30, sink.flush())).unwrap()
    assert sorted(row["id"] for row in stream.rows) == list(range(2000))


async def test_a_row_that_cannot_be_sent_is_named_and_those_before_it_arrive() -> None:
    stream = Stream()
    async with running(stream) as server, sink_of(server.address) as sink:
        rows: list[dict[str, object]] = [*numbered(7), {"id": {1, 2}}]
        error = (await sink.push(iter(rows))).unwrap_err()
        assert error.kind == "TYPE_MISMATCH"
        assert error.message.startswith("row 7: a value of type set")
        assert "5 rows before" in error.hint
        assert (await sink.flush()).unwrap().rows == 5


async def test_a_sink_that_is_not_connected_says_so() -> None:
    sink = sink_of("127.0.0.1:1")
    for result in (await sink.push({"id": 1}), await sink.flush()):
        assert result.unwrap_err().message == "the sink is not connected"


def test_arguments_are_checked() -> None:
    for wrong in (
        {"batch_rows": 0},
        {"batch_bytes": 1 << 30},
        {"linger": -1.0},
        {"linger": float("nan")},
        {"backoff_min": 2.0, "backoff_max": 1.0},
    ):
        with pytest.raises(ValueError, match=r"has to be|have to be|cannot be negative"):
            sink_of("localhost:1", **wrong)
    for address in ("", "http://a:1", "ws://"):
        with pytest.raises(ValueError, match="address"):
            sink_of(address)
    with pytest.raises(ValueError, match="address"):
        sink_of()


def test_a_missing_library_is_named() -> None:
    """And polarway is imported without it."""
    script = """
import asyncio, sys
import polarway
assert not [name for name in sys.modules if name.startswith(("websockets", "paho"))]
sys.modules["websockets"] = None
error = asyncio.run(polarway.LiveTableSink("localhost:1", "t").connect()).unwrap_err()
print(error)
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "CONFIGURATION: sending to live tables needs the package websockets" in ran.stdout
    assert "pip install 'polarway[feeds]'" in ran.stdout


def test_answers_and_ends_are_understood() -> None:
    body = b'{"error":{"kind":"draining","message":"bye","hint":"later"}}'
    assert answered(503, body, "2", None) == Refusal("draining", "bye", "later", 2.0, None)
    assert answered(502, b"<html>", None, None).gets_better
    assert not answered(200, b"<html>", "Wed, 21 Oct 2026 07:28:00 GMT", None).gets_better
    assert closed(None, "").gets_better
    assert closed(1006, "").gets_better
    assert not closed(1009, "").gets_better
    assert Refusal("some_later_kind", "x").gets_better
    for text in ("{", "[]", "1", '{"error": 1}', '{"error": {}}', '{"ack": 1}'):
        assert told(text) is None
