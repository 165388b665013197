"""What type checkers have to see of submitted jobs; like typing_checks.py, only read."""

from __future__ import annotations

import datetime

from typing_extensions import assert_never, assert_type

from polarway import (
    AsyncJob,
    AsyncPolarwayClient,
    AsyncRows,
    Error,
    Job,
    JobState,
    JobStatus,
    JobTable,
    Option,
    PolarwayClient,
    Progress,
    Result,
    Rows,
    Table,
    Written,
)


async def of_asyncio(client: AsyncPolarwayClient) -> None:
    assert_type(await client.submit("SELECT 1", key="a", keep=60), Result[AsyncJob, Error])
    assert_type(await client.job("j_1"), Result[AsyncJob, Error])
    assert_type(await client.status("j_1"), Result[JobStatus, Error])
    assert_type(await client.progress("j_1"), Result[Option[Progress], Error])
    assert_type(await client.cancel("j_1"), Result[bool, Error])
    job = await client.raising.submit("SELECT 1")
    assert_type(job, AsyncJob)
    assert_type(await client.raising.job(job.id), AsyncJob)
    assert_type(await client.raising.progress(job.id), Option[Progress])
    assert_type(await client.raising.cancel(job.id), bool)
    assert_type(await job.status(), Result[JobStatus, Error])
    assert_type(await job.progress(), Result[Option[Progress], Error])
    assert_type(await job.wait(5), Result[JobStatus, Error])
    assert_type(await job.result(timeout=5.0), Result[Table, Error])
    assert_type(await job.stream(), Result[AsyncRows, Error])
    assert_type(await job.cancel(), Result[bool, Error])
    await client.submit("SELECT 1", ["a"], "key")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await job.wait("5 s")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def of_threads(client: PolarwayClient) -> None:
    assert_type(client.submit("SELECT 1"), Result[Job, Error])
    assert_type(client.raising.status("j_1"), JobStatus)
    job = client.raising.job("j_1")
    assert_type(job, Job)
    assert_type(job.wait(), Result[JobStatus, Error])
    assert_type(job.result(), Result[Table, Error])
    assert_type(job.stream(5.0), Result[Rows, Error])
    assert_type(job.cancel(), Result[bool, Error])


def of_statuses(status: JobStatus) -> str:
    assert_type(status.submitted_at, datetime.datetime)
    assert_type(status.ended_at, Option[datetime.datetime])
    assert_type(status.error, Option[Error])
    assert_type(status.outcome, Option[JobTable | Written | str])
    assert_type(status.is_over, bool)
    status.attempt = 2  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    match status.state:
        case JobState.QUEUED | JobState.RUNNING:
            return "goes on"
        case JobState.FINISHED | JobState.FAILED | JobState.CANCELLED:
            return "over"
        case _:
            assert_never(status.state)
