"""Submitted jobs, which real servers carry out."""

from __future__ import annotations

import asyncio
import datetime
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
import urllib.request
import uuid
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from polarway import AsyncPolarwayClient, Error, Job, JobState, JobTable, PolarwayClient, Some, Written

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from polarway import AsyncJob

UNKNOWN = f"j_{0:032x}"
# Longer than any test waits.
ENDLESS = """
    SELECT count(*) AS {name}
    FROM generate_series(1, 3000000) a JOIN generate_series(1, 3000000) b ON a.value % 7 < b.value % 11"""
# Some time, but not for ever.
LONG = "SELECT count(*) AS n FROM range(0, 20000) AS a CROSS JOIN range(0, 500) AS b WHERE (a.value * b.value) % 7 = 3"
# Nobody waits longer for anything.
PATIENCE = 120.0


def _name(prefix: str) -> str:
    return f"{prefix}_{uuid.uuid4().hex}"


def _running(marker: str) -> int:
    """How many queries with this in their text run on all servers."""
    found: list[dict[str, object]] = []
    for server in os.environ["POLARWAY_TEST_HTTP"].split(","):
        with urllib.request.urlopen(f"http://{server}/v1/queries", timeout=30) as answer:
            found += json.load(answer)
    return sum(marker in str(query["sql"]) and query["state"] == "running" for query in found)


async def _until(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not await condition():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.05)


async def _is(job: AsyncJob, state: JobState) -> bool:
    return (await job.status()).unwrap().state is state


@asynccontextmanager
async def _endless(client: AsyncPolarwayClient) -> AsyncIterator[tuple[AsyncJob, str]]:
    """A job that runs, if nobody cancels it, to the end of the block, and what is in its text alone."""
    marker = _name("endless")
    job = await client.raising.submit(ENDLESS.format(name=marker))
    try:
        await _until(lambda: _is(job, JobState.RUNNING), "it never ran")
        yield job, marker
    finally:
        await job.cancel()


async def test_a_submitted_query_gives_its_rows(client: AsyncPolarwayClient) -> None:
    """In their order, whole and in batches; and it tells what it did."""
    sql = "SELECT value AS n, 'row ' || value AS text FROM generate_series(1, 50000) ORDER BY n DESC"
    before = datetime.datetime.now(datetime.timezone.utc)
    job = (await client.submit(sql)).unwrap()
    assert job.id.startswith("j_")
    assert len(job.id) == len(UNKNOWN)
    table = (await job.result(PATIENCE)).unwrap()
    numbers = [int(row[0]) for row in table.texts()]
    assert numbers == list(range(50000, 0, -1))
    assert table.columns == ["n", "text"]
    async with (await job.stream()).unwrap() as rows:
        assert sum([len(batch.unwrap()) async for batch in rows]) == 50000
    status = (await job.status()).unwrap()
    assert (status.id, status.sql, status.state) == (job.id, sql, JobState.FINISHED)
    assert (status.is_over, status.attempt >= 1, status.error.is_none()) == (True, True, True)
    ended_at = status.ended_at.unwrap()
    # Both clocks are of this machine; the server's has milliseconds.
    assert before - datetime.timedelta(seconds=1) < status.submitted_at <= ended_at
    outcome = status.outcome.unwrap()
    assert isinstance(outcome, JobTable)
    assert (outcome.rows, outcome.schema) == (50000, dict(zip(table.columns, table.types, strict=True)))
    counted = await client.raising.query(f"SELECT count(*), min(n) FROM {outcome.name}")
    assert counted.texts() == [["50000", "1"]]


async def test_a_query_without_rows_keeps_its_columns(client: AsyncPolarwayClient) -> None:
    job = await client.raising.submit("SELECT value AS n FROM generate_series(1, 5) WHERE value > 5")
    table = (await job.result(PATIENCE)).unwrap()
    assert (len(table), table.columns, table.types) == (0, ["n"], ["Int64"])


async def test_values_take_the_places_of_placeholders(client: AsyncPolarwayClient, blocking: PolarwayClient) -> None:
    """By number and by name; and the same key with other values is another statement."""
    sql = "SELECT value AS n, ? AS text FROM generate_series(1, 9) WHERE value > ? ORDER BY n"
    key = _name("key")
    job = await client.raising.submit(sql, ["it's; $1", 7], key=key)
    assert (await job.result(PATIENCE)).unwrap().texts() == [["8", "it's; $1"], ["9", "it's; $1"]]
    assert (await client.raising.submit(sql, ["it's; $1", 7], key=key)).id == job.id
    assert (await client.submit(sql, ["it's; $1", 8], key=key)).unwrap_err().kind == "INVALID_SETTING"
    named = blocking.raising.submit("SELECT $a - $b AS d", {"a": 5, "b": 2})
    assert named.result(PATIENCE).unwrap().texts() == [["3"]]
    assert (await client.submit(sql)).unwrap_err().kind == "PLAN"
    assert (await client.submit(sql, ["one"])).unwrap_err().kind == "PLAN"
    assert (await client.submit(sql, "text")).unwrap_err().kind == "TYPE_MISMATCH"


def test_code_that_blocks_has_the_same(blocking: PolarwayClient) -> None:
    job = blocking.raising.submit("SELECT value AS n FROM generate_series(1, 3) ORDER BY n")
    assert job.wait(PATIENCE).unwrap().state == "finished"
    assert job.result().unwrap().texts() == [["1"], ["2"], ["3"]]
    with job.stream().unwrap() as rows:
        assert sum(len(batch.unwrap()) for batch in rows) == 3
    assert blocking.raising.status(job.id).is_over
    assert blocking.progress(job.id).is_ok()
    assert (job.cancel().unwrap(), blocking.cancel(job.id).unwrap()) == (False, False)
    assert blocking.raising.job(job.id).result().unwrap().texts() == [["1"], ["2"], ["3"]]


async def test_the_same_key_gives_the_same_job(client: AsyncPolarwayClient, servers: list[str]) -> None:
    """Also at once, on whatever scheduler."""
    key = _name("key")
    async with AsyncPolarwayClient(servers[-1:]) as other:
        clients = [client, other] * 4
        jobs = await asyncio.gather(*(each.raising.submit(LONG, key=key) for each in clients))
        assert len({job.id for job in jobs}) == 1
        results = [(await job.result(PATIENCE)).unwrap().texts() for job in jobs]
        assert results == results[:1] * 8
        assert (await other.raising.submit(LONG, key=key)).id == jobs[0].id
        assert (await other.raising.submit(LONG)).id != jobs[0].id


async def test_a_job_outlives_its_client_and_is_found_by_others(servers: list[str]) -> None:
    async with AsyncPolarwayClient(servers[:1]) as first:
        submitted = await first.raising.submit(LONG)
        expected = (await first.raising.query(LONG)).texts()
    async with AsyncPolarwayClient(servers[-1:]) as second:
        job = (await second.job(submitted.id)).unwrap()
        assert job.id == submitted.id
        assert (await job.result(PATIENCE)).unwrap().texts() == expected


def test_a_job_outlives_its_process(servers: list[str]) -> None:
    program = f"""
        import os, signal
        from polarway import PolarwayClient
        with PolarwayClient({servers[:1]!r}) as client:
            print(client.raising.submit({LONG!r}).id, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, timeout=PATIENCE)
    assert ended.returncode == -signal.SIGKILL
    with PolarwayClient(servers[-1:]) as client:
        job = client.job(ended.stdout.strip()).unwrap()
        assert job.wait(PATIENCE).unwrap().state is JobState.FINISHED
        assert job.result().unwrap().texts() == client.raising.query(LONG).texts()


async def test_a_job_that_fails_tells_why(client: AsyncPolarwayClient) -> None:
    """As the query would have, had it been waited for."""
    sql = "SELECT 10 / (value - 5) AS n FROM generate_series(1, 9)"
    expected = (await client.query(sql)).unwrap_err()
    job = await client.raising.submit(sql)
    status = (await job.wait(PATIENCE)).unwrap()
    assert (status.state, status.outcome.is_none()) == (JobState.FAILED, True)
    for error in (status.error.unwrap(), (await job.result()).unwrap_err(), (await job.stream()).unwrap_err()):
        assert (error.kind, error.hint) == ("EXECUTION", expected.hint)
        assert error.hint
        assert "division by zero" in error.message.lower()


async def test_a_statement_that_cannot_be_planned_is_an_error(client: AsyncPolarwayClient) -> None:
    """Told at once, or as the failure of its job."""
    sql = "SELECT valeu FROM generate_series(1, 9)"
    submitted = await client.submit(sql)
    error = submitted.unwrap_err() if submitted.is_err() else (await submitted.unwrap().result(PATIENCE)).unwrap_err()
    expected = (await client.query(sql)).unwrap_err()
    assert (error.kind, error.hint, error.place) == ("COLUMN_NOT_FOUND", expected.hint, expected.place)


async def test_a_cancelled_job_ends_soon(client: AsyncPolarwayClient) -> None:
    """Within two seconds, with what it ran, and for good."""
    async with _endless(client) as (job, marker):

        async def runs(times: int) -> bool:
            return await asyncio.to_thread(_running, marker) == times

        await _until(lambda: runs(1), "no server knows it")
        began = time.monotonic()
        assert (await job.cancel()).unwrap()
        status = (await job.wait(PATIENCE)).unwrap()
        assert time.monotonic() - began < 2.0
        assert (status.state, status.ended_at.is_some()) == (JobState.CANCELLED, True)
        await _until(lambda: runs(0), "it still runs")
        assert (await job.result()).unwrap_err().kind == "CANCELLED"
        assert (await job.cancel()).unwrap() is False


async def test_a_job_is_cancelled_by_others_too(client: AsyncPolarwayClient, servers: list[str]) -> None:
    async with _endless(client) as (job, _), AsyncPolarwayClient(servers[-1:]) as other:
        assert (await other.cancel(job.id)).unwrap()
        assert (await job.wait(PATIENCE)).unwrap().state is JobState.CANCELLED


async def test_whoever_waits_no_longer_leaves_the_job_alone(client: AsyncPolarwayClient) -> None:
    """By a timeout, or because the task was cancelled."""
    async with _endless(client) as (job, _):
        late = (await job.wait(0.3)).unwrap_err()
        assert (late.kind, late.is_retryable) == ("DEADLINE_EXCEEDED", True)
        assert (await job.result(0)).unwrap_err().kind == "DEADLINE_EXCEEDED"
        waiting = asyncio.create_task(job.result())
        await asyncio.sleep(0.2)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert await _is(job, JobState.RUNNING)
        assert (await job.progress()).is_ok()
        assert (await job.cancel()).unwrap()


async def test_a_statement_is_carried_out_once(client: AsyncPolarwayClient, servers: list[str]) -> None:
    """However often it is submitted under its key."""
    table, create, insert = _name("t"), _name("create"), _name("insert")
    async with AsyncPolarwayClient(servers[-1:]) as other:

        async def carried_out(sql: str, key: str) -> list[list[list[str]]]:
            jobs = [await each.raising.submit(sql, key=key) for each in (client, other, client)]
            assert len({job.id for job in jobs}) == 1
            return [(await job.result(PATIENCE)).unwrap().texts() for job in jobs]

        created = await carried_out(f"CREATE TABLE {table} AS SELECT value AS n FROM generate_series(1, 5)", create)
        assert [[row[0] for row in rows] for rows in created] == [["5"]] * 3
        inserted = await carried_out(f"INSERT INTO {table} VALUES (6), (7)", insert)
        assert [[row[0] for row in rows] for rows in inserted] == [["2"]] * 3
        counted = (await client.raising.query(f"SELECT count(*), sum(n) FROM {table}")).texts()
        assert counted == [["7", "28"]]
        dropped = await client.raising.submit(f"DROP TABLE {table}")
        assert (await dropped.result(PATIENCE)).unwrap().to_dicts() == [{"status": "DROP TABLE"}]
        assert (await dropped.status()).unwrap().outcome == Some("DROP TABLE")


async def test_a_statement_gives_the_row_that_it_gives_to_who_waits(client: AsyncPolarwayClient) -> None:
    """Its columns, their types, its counts."""
    tables = [_name("t"), _name("t")]
    create = "CREATE TABLE {} AS SELECT value AS n FROM generate_series(1, 5)"
    waited_for = await client.raising.query(create.format(tables[0]))
    job = await client.raising.submit(create.format(tables[1]))
    told = (await job.result(PATIENCE)).unwrap()
    assert (told.columns, told.types) == (waited_for.columns, waited_for.types)
    assert told.texts()[0][:2] == waited_for.texts()[0][:2]
    outcome = (await job.status()).unwrap().outcome.unwrap()
    assert isinstance(outcome, Written)
    assert (outcome.rows, outcome.bytes > 0) == (5, True)
    for table in tables:
        await client.raising.query(f"DROP TABLE {table}")


async def test_a_job_that_nobody_knows_is_not_found(client: AsyncPolarwayClient, blocking: PolarwayClient) -> None:
    for unknown in (UNKNOWN, "j_", "h_1", "", "j_' OR 1"):
        answers = [
            await client.job(unknown),
            await client.status(unknown),
            await client.progress(unknown),
            await client.cancel(unknown),
            blocking.job(unknown),
            Job(blocking, unknown).wait(),
            Job(blocking, unknown).result(5.0),
        ]
        assert {answer.unwrap_err().kind for answer in answers} == {"NOT_FOUND"}, unknown
    with pytest.raises(Error) as raised:
        blocking.raising.status(UNKNOWN)
    assert raised.value.kind == "NOT_FOUND"
    assert raised.value.hint


async def test_an_outcome_goes_when_its_time_is_over(client: AsyncPolarwayClient) -> None:
    job = await client.raising.submit("SELECT 1 AS one", keep=5.0)
    assert (await job.wait(PATIENCE)).unwrap().is_over

    async def is_gone() -> bool:
        told = await job.status()
        return told.is_err() and told.unwrap_err().kind == "NOT_FOUND"

    await _until(is_gone, "it is still kept")
    assert (await job.result()).unwrap_err().kind == "NOT_FOUND"


@pytest.mark.parametrize("keep", [-1.0, float("nan")])
async def test_what_is_no_time_is_refused(client: AsyncPolarwayClient, keep: float) -> None:
    assert (await client.submit("SELECT 1", keep=keep)).unwrap_err().kind == "INVALID_SETTING"
