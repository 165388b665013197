"""Submitted jobs: what is asked of a server and when, and how its answers are read."""

from __future__ import annotations

import asyncio
import datetime
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polarway import (
    AsyncJob,
    AsyncPolarwayClient,
    Err,
    Error,
    Job,
    JobState,
    JobStatus,
    JobTable,
    Nothing,
    Ok,
    PolarwayClient,
    Progress,
    Result,
    Some,
    Written,
    _polling,
    error_kinds,
)
from polarway._polling import Ended, Pause, Polling
from strategies import patient
from submitted import ID, Clock, Native, account, finished

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

REPOSITORY = Path(__file__).parents[3]
UTC = datetime.timezone.utc
RUNNING = account("running")
FAILURE = {
    "kind": "OVERLOADED",
    "message": "no",
    "hint": "wait",
    "place": {"line": 2, "column": 7},
    "retry_after_ms": 1500,
}
TABLE = {"table": "handle.h_1", "rows": 3, "columns": [{"name": "a", "type": "Int64"}, {"name": "b", "type": "Utf8"}]}
COPY = {"count": 5, "files": 2, "bytes": 700}


def _client(native: Native) -> PolarwayClient:
    client = PolarwayClient(progress=False)
    client._native = cast("Any", native)  # pyright: ignore[reportPrivateUsage]
    return client


def _async_client(native: Native) -> AsyncPolarwayClient:
    client = AsyncPolarwayClient(progress=False)
    client._native = cast("Any", native)  # pyright: ignore[reportPrivateUsage]
    return client


def _job(native: Native, clock: Clock) -> Job:
    return Job(_client(native), ID, clock=clock, sleep=clock.sleep)


def _async_job(native: Native, clock: Clock) -> AsyncJob:
    return AsyncJob(_async_client(native), ID, clock=clock, sleep=clock.sleep_async)


def _waited(native: Native, clock: Clock, timeout: float | None) -> Result[JobStatus, Error]:
    return _job(native, clock).wait(timeout)


def _awaited(native: Native, clock: Clock, timeout: float | None) -> Result[JobStatus, Error]:
    return asyncio.run(_async_job(native, clock).wait(timeout))


both_ways = pytest.mark.parametrize("wait", [_waited, _awaited], ids=["blocking", "asyncio"])
Wait: TypeAlias = "Callable[[Native, Clock, float | None], Result[JobStatus, Error]]"


def test_an_account_is_read_whole() -> None:
    progress = {"state": "running", "attempt": 2, "stages": [{"tasks": 4, "done": 1}]}
    status = JobStatus.parse(account("running", attempt=2, progress=progress)).unwrap()
    assert status == JobStatus(
        id=ID,
        sql="SELECT 1",
        state=JobState.RUNNING,
        attempt=2,
        submitted_at=datetime.datetime(2026, 11, 30, 11, 0, 0, 123_000, tzinfo=UTC),
        ended_at=Nothing(),
        error=Nothing(),
        outcome=Nothing(),
        progress=Some(Progress("running", 2, tasks=4, done=1, stages=1, stages_done=0)),
    )
    assert not status.is_over


@pytest.mark.parametrize("state", list(JobState))
def test_every_state_is_known_and_says_whether_it_is_the_last(state: JobState) -> None:
    status = JobStatus.parse(account(state.value)).unwrap()
    assert (status.state, status.state == state.value) == (state, True)
    assert status.is_over == (state.value in {"finished", "failed", "cancelled"})
    assert status.ended_at.is_some() == status.is_over


@pytest.mark.parametrize(
    ("told", "read"),
    [
        (TABLE, JobTable("handle.h_1", 3, {"a": "Int64", "b": "Utf8"})),
        (COPY, Written(rows=5, files=2, bytes=700)),
        ({"status": "CREATE VIEW"}, "CREATE VIEW"),
    ],
)
def test_every_outcome_is_read(told: object, read: object) -> None:
    assert JobStatus.parse(finished(told)).unwrap().outcome == Some(read)


def test_the_error_of_a_job_is_as_that_of_a_call() -> None:
    failed = JobStatus.parse(account("failed", error=FAILURE)).unwrap()
    expected = Error(
        "OVERLOADED", "no", hint="wait", place=(2, 7), retry_after=1.5, is_retryable=True, is_unavailable=True
    )
    assert failed.error == Some(expected)
    short = {"kind": "PLAN", "message": "no", "hint": "correct it"}
    assert JobStatus.parse(account("failed", error=short)).unwrap().error == Some(
        Error("PLAN", "no", hint="correct it")
    )


def test_kinds_are_retryable_as_the_documents_say_and_unavailable_as_the_native_module_says() -> None:
    page = (REPOSITORY / "docs" / "errors.md").read_text()
    rows = re.findall(r"^\| `([A-Z_]+)` \| [A-Z_]+ \| (yes|no) \|", page, re.MULTILINE)
    assert {kind for kind, retry in rows if retry == "yes"} == error_kinds.RETRYABLE
    source = (REPOSITORY / "client" / "python" / "src" / "fault.rs").read_text()
    named = re.findall(r"ErrorKind::(\w+)", source.partition("matches!(")[2].partition(");")[0])
    assert {re.sub(r"(?<=.)([A-Z])", r"_\1", name).upper() for name in named} == error_kinds.UNAVAILABLE
    assert {kind for kind, _ in rows} > error_kinds.UNAVAILABLE


@pytest.mark.parametrize(
    "text",
    [
        "no JSON",
        "[]",
        "null",
        account("paused"),
        json.dumps({"state": "running"}),
        account("running", submitted_at="today"),
        account("running", submitted_at=10**30),
        account("failed", error={"kind": "PLAN"}),
        finished({"rows": 5}),
        finished({"table": "handle.h_1", "rows": 1}),
        account("running", progress={"state": "running"}),
    ],
)
def test_what_cannot_be_read_is_an_error(text: str) -> None:
    error = JobStatus.parse(text).unwrap_err()
    assert error.kind == "INTERNAL"
    assert "cannot be read" in error.message


@both_ways
def test_a_wait_asks_less_and_less_often_until_the_end(wait: Wait) -> None:
    clock = Clock()
    native = Native([account("queued"), *[RUNNING] * 9, finished(TABLE)])
    assert wait(native, clock, None).unwrap().state == "finished"
    assert native.asked == [ID] * 11
    steps = [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 2.0, 2.0]
    assert len(clock.slept) == len(steps)
    assert all(step / 2 <= slept <= step for slept, step in zip(clock.slept, steps, strict=True)), clock.slept
    assert native.cancelled == []


@both_ways
@pytest.mark.parametrize("state", ["failed", "cancelled"])
def test_a_job_that_did_not_finish_ends_the_wait_as_well(wait: Wait, state: str) -> None:
    assert wait(Native([RUNNING, account(state)]), Clock(), 60.0).unwrap().state == state


@both_ways
def test_a_timeout_ends_the_wait_and_not_the_job(wait: Wait) -> None:
    clock = Clock()
    native = Native([account("running", attempt=3)])
    error = wait(native, clock, 7.5).unwrap_err()
    assert (error.kind, error.is_retryable, error.is_unavailable) == ("DEADLINE_EXCEEDED", True, False)
    assert f"`{ID}`" in error.message
    assert "within 7.5 s: it is running, attempt 3" in error.message
    assert clock.now == pytest.approx(1007.5)
    # The last question is asked at the deadline.
    assert len(native.asked) == len(clock.slept) + 1
    assert native.cancelled == []


@both_ways
def test_without_time_it_asks_once(wait: Wait) -> None:
    native = Native([RUNNING])
    assert wait(native, Clock(), 0).unwrap_err().kind == "DEADLINE_EXCEEDED"
    assert len(native.asked) == 1
    assert wait(Native([finished(COPY)]), Clock(), 0).unwrap().is_over


@both_ways
def test_servers_that_do_not_answer_do_not_hold_it_longer(wait: Wait, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their call is cancelled."""
    monkeypatch.setattr(_polling, "_ANSWER", 0.02)
    native = Native([RUNNING, None])
    error = wait(native, Clock(), 0.03).unwrap_err()
    assert error.kind == "DEADLINE_EXCEEDED"
    assert "it is running" in error.message
    assert native.calls[1].cancelled.is_set()
    silent = wait(Native([None]), Clock(), 0).unwrap_err()
    assert "the servers have not told of it" in silent.message


@both_ways
def test_an_error_of_a_question_ends_the_wait(wait: Wait) -> None:
    gone = Error("NOT_FOUND", "there is no such job", hint="it ended long ago")
    assert wait(Native([RUNNING, gone]), Clock(), None) == Err(gone)
    assert wait(Native(["no JSON"]), Clock(), None).unwrap_err().kind == "INTERNAL"


@both_ways
@pytest.mark.parametrize("timeout", [-1.0, float("nan")])
def test_a_timeout_that_is_none_is_told_at_once(wait: Wait, timeout: float) -> None:
    with pytest.raises(ValueError, match="timeout must be"):
        wait(Native([RUNNING]), Clock(), timeout)


# Sums of floats of such a size are that exact.
ROUNDING = 1e-5


@patient
@given(st.floats(0, 1e9), st.floats(0, 1e9), st.floats(0, 1))
def test_pauses_are_short_and_end_at_the_deadline(timeout: float, now: float, luck: float) -> None:
    began, status = now, JobStatus.parse(RUNNING)
    polling = Polling(ID, timeout, now, lambda: luck)
    for _ in range(100):
        patience = polling.patience(now)
        assert patience is None or 1.0 <= patience <= max(1.0, timeout) + ROUNDING
        step = polling.after(Some(status), now)
        if isinstance(step, Ended):
            assert now >= began + timeout - ROUNDING
            return
        assert isinstance(step, Pause)
        assert 0 < step.seconds <= 2.0
        assert now + step.seconds <= began + timeout + ROUNDING
        now += step.seconds


async def test_a_cancelled_wait_leaves_the_job_alone() -> None:
    """Also one that is cancelled while it asks: then that call is cancelled, and nothing else."""
    silent, pausing = Native([None]), Native([RUNNING])
    asking = asyncio.create_task(_async_job(silent, Clock()).wait())
    paused = asyncio.create_task(AsyncJob(_async_client(pausing), ID).wait())
    while not silent.calls or len(pausing.asked) < 2:  # noqa: ASYNC110 - lists have no event
        await asyncio.sleep(0.005)
    for task in (asking, paused):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert silent.calls[0].cancelled.is_set()
    assert (silent.cancelled, pausing.cancelled) == ([], [])


def test_an_interrupted_wait_leaves_the_job_alone() -> None:
    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    native = Native([RUNNING])
    with pytest.raises(KeyboardInterrupt):
        Job(_client(native), ID, sleep=interrupted).wait()
    assert native.cancelled == []


RESULTS = [
    (TABLE, 'SELECT * FROM "handle"."h_1"'),
    (
        COPY,
        "SELECT arrow_cast(5, 'UInt64') AS count, arrow_cast(2, 'UInt64') AS files, arrow_cast(700, 'UInt64') AS bytes",
    ),
    ({"status": "CREATE 'VIEW'"}, "SELECT 'CREATE ''VIEW''' AS status"),
]


@pytest.mark.parametrize(("outcome", "sql"), RESULTS)
async def test_a_result_is_read_from_where_it_is_kept(outcome: object, sql: str) -> None:
    native = Native([RUNNING, finished(outcome)])
    job, async_job = _job(native, Clock()), _async_job(native, Clock())
    assert job.result().is_ok()
    assert job.stream(5.0).is_ok()
    assert (await async_job.result(5.0)).is_ok()
    assert (await async_job.stream()).is_ok()
    assert native.run == [sql] * 4


FAILED = Error("EXECUTION", "division by zero", hint="guard it")


@pytest.mark.parametrize(
    ("told", "kind"),
    [
        (
            account("failed", error={"kind": "EXECUTION", "message": "division by zero", "hint": "guard it"}),
            "EXECUTION",
        ),
        (account("cancelled"), "CANCELLED"),
        (account("cancelled", error={"kind": "CANCELLED", "message": "by bob", "hint": None}), "CANCELLED"),
        (account("failed"), "INTERNAL"),
        (account("finished"), "INTERNAL"),
        (finished({**TABLE, "table": "handle.\0"}), "INTERNAL"),
        (RUNNING, "DEADLINE_EXCEEDED"),
    ],
)
async def test_what_has_no_result_is_an_error(told: str, kind: str) -> None:
    native = Native([told])
    errors = [
        _job(native, Clock()).result(3.0).unwrap_err(),
        _job(native, Clock()).stream(3.0).unwrap_err(),
        (await _async_job(native, Clock()).result(3.0)).unwrap_err(),
        (await _async_job(native, Clock()).stream(3.0)).unwrap_err(),
    ]
    assert errors == errors[:1] * 4
    assert errors[0].kind == kind
    assert native.run == []
    if kind == "EXECUTION":
        assert errors[0] == FAILED


async def test_submissions_have_the_key_that_is_given_or_one_of_their_own() -> None:
    native = Native([RUNNING])
    client, async_client = _client(native), _async_client(native)
    jobs = [
        client.submit("SELECT 1").unwrap(),
        client.raising.submit("SELECT 1", keep=60.0),
        (await async_client.submit("SELECT 1")).unwrap(),
        await async_client.raising.submit("SELECT 1"),
    ]
    assert [job.id for job in jobs] == [ID] * 4
    assert [type(job) for job in jobs] == [Job, Job, AsyncJob, AsyncJob]
    assert len({key for *_, key, _ in native.submitted}) == 4
    assert all(re.fullmatch(r"[0-9a-f]{32}", key) for *_, key, _ in native.submitted)
    assert [keep for *_, keep in native.submitted] == [3600.0, 60.0, 3600.0, 3600.0]
    client.submit("SELECT ?", [2], key="mine", keep=5.0).unwrap()
    (await async_client.submit("SELECT ?", [2], key="mine", keep=5.0)).unwrap()
    assert native.submitted[4:] == [("SELECT ?", [("1", "Int64", "2")], "mine", 5.0)] * 2


async def test_a_client_tells_and_ends_jobs_by_their_ids() -> None:
    progress = {"state": "running", "attempt": 1, "stages": [{"tasks": 2, "done": 2}]}
    told = account("running", progress=progress)
    native = Native([told])
    client, async_client = _client(native), _async_client(native)
    expected = JobStatus.parse(told).unwrap()
    assert client.status(ID) == client.job(ID).unwrap().status() == Ok(expected)
    assert client.raising.status(ID) == await async_client.raising.status(ID) == expected
    assert await async_client.status(ID) == await (await async_client.raising.job(ID)).status() == Ok(expected)
    assert client.progress(ID) == client.raising.job(ID).progress() == Ok(expected.progress)
    assert client.raising.progress(ID) == await async_client.raising.progress(ID) == expected.progress
    job = (await async_client.job(ID)).unwrap()
    assert await async_client.progress(ID) == await job.progress() == Ok(expected.progress)
    assert client.cancel(ID) == Ok(True)
    assert client.job(ID).unwrap().cancel() == await async_client.cancel(ID) == await job.cancel() == Ok(False)
    assert (client.raising.cancel(ID), await async_client.raising.cancel(ID)) == (False, False)
    assert set(native.cancelled) == {ID}


async def test_without_a_connection_every_call_is_an_error() -> None:
    client, async_client = PolarwayClient(), AsyncPolarwayClient()
    job, async_job = Job(client, ID), AsyncJob(async_client, ID)
    outcomes: list[Result[Any, Error]] = [
        *(client.submit("SELECT 1"), client.job(ID), client.status(ID), client.progress(ID), client.cancel(ID)),
        *(job.status(), job.progress(), job.wait(), job.result(), job.stream(), job.cancel()),
    ]
    of_asyncio: list[Coroutine[object, object, Result[Any, Error]]] = [
        *(async_client.submit("SELECT 1"), async_client.job(ID), async_client.status(ID)),
        *(async_client.progress(ID), async_client.cancel(ID), async_job.status(), async_job.progress()),
        *(async_job.wait(), async_job.result(), async_job.stream(), async_job.cancel()),
    ]
    outcomes += [await outcome for outcome in of_asyncio]
    assert len(outcomes) == 22
    assert {outcome.unwrap_err().kind for outcome in outcomes} == {"DRAINING"}
    with pytest.raises(Error, match="not connected"):
        client.raising.submit("SELECT 1")


def test_a_job_shows_its_id_and_how_it_was() -> None:
    native = Native([RUNNING, finished(COPY), RUNNING])
    job = _job(native, Clock())
    assert repr(job) == f"Job({ID})"
    job.status()
    assert repr(job) == f"Job({ID}: running when last asked)"
    job.status()
    # An answer that was late tells nothing new.
    job.status()
    assert repr(job) == f"Job({ID}: finished when last asked)"
    assert native.asked == [ID] * 3


async def test_a_submission_is_made_again_under_its_key_and_a_cancellation_is_not() -> None:
    """Made again, a cancellation would tell of a job that it has ended itself that it was over."""
    busy = Error("OVERLOADED", "too many jobs wait", is_retryable=True)
    for asynchronous in (False, True):
        native = Native([RUNNING], refusals=[busy])
        client = _async_client(native) if asynchronous else _client(native)
        # That of a client that has connected.
        client._traffic, _ = client._connecting()  # pyright: ignore[reportPrivateUsage]
        submitted = client.submit("SELECT 1")
        job = (submitted if isinstance(submitted, Result) else await submitted).unwrap()
        assert job.id == ID
        assert len(native.submitted) == 2
        assert native.submitted[0] == native.submitted[1]
        native.refusals.append(busy)
        cancelled = job.cancel()
        assert (cancelled if isinstance(cancelled, Result) else await cancelled) == Err(busy)
        assert native.cancelled == [ID]
