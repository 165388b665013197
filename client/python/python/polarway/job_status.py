"""`JobStatus`: how a submitted job is, and what has come of it, as the server last told."""

from __future__ import annotations

import datetime
import json
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeAlias

from polarway import error_kinds
from polarway.error import Error
from polarway.option import Option
from polarway.result import Err, Ok, Result
from polarway.streams import Progress
from polarway.writing import Written

if TYPE_CHECKING:
    from collections.abc import Mapping

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)


class JobState(str, Enum):
    """Where a job is on its way; equal to its own value as a string.

    Attributes:
        QUEUED: It was taken, and waits for its turn.
        RUNNING: It runs.
        FINISHED: It has ended, and its outcome is kept.
        FAILED: It has ended with an error.
        CANCELLED: It has ended because somebody cancelled it.

    >>> JobState.RUNNING == "running", str(JobState.RUNNING)
    (True, 'running')
    """

    QUEUED = "queued"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"

    def __str__(self) -> str:
        return self.value

    @property
    def is_over(self) -> bool:
        """Whether nothing comes after it."""
        return self not in {JobState.QUEUED, JobState.RUNNING}


@dataclass(frozen=True, slots=True)
class JobTable:
    """The rows of a query that has finished, where the cluster keeps them.

    Attributes:
        name: The table: `SELECT * FROM handle.h_…` reads it on any scheduler of the cluster, as long as it is kept.
        rows: How many rows it has.
        schema: Its columns and their types, as Arrow names them.
    """

    name: str
    rows: int
    schema: dict[str, str]


Outcome: TypeAlias = "JobTable | Written | str"


@dataclass(frozen=True, slots=True)
class JobStatus:
    """How a job is.

    Attributes:
        id: The job.
        sql: Its statement.
        state: Where it is on its way.
        attempt: Counted from one; a later one follows the loss of an executor or scheduler.
        submitted_at: When the cluster took it, in UTC by the clock of the scheduler that did.
        ended_at: When it ended, in UTC.
        error: Why it failed.
        outcome: What has come of it, once it has finished: where a query's rows are, what a statement has written, or
            the tag of any other statement, such as `CREATE VIEW`.
        progress: How far it is, where its server knows.
    """

    id: str
    sql: str
    state: JobState
    attempt: int
    submitted_at: datetime.datetime
    ended_at: Option[datetime.datetime]
    error: Option[Error]
    outcome: Option[JobTable | Written | str]
    progress: Option[Progress]

    @property
    def is_over(self) -> bool:
        """Whether it has ended, in whatever way: nothing of it changes any more."""
        return self.state.is_over

    @classmethod
    def parse(cls, text: str) -> Result[JobStatus, Error]:
        """Reads the server's account of a job; an error of kind `INTERNAL` for one that says anything else."""
        try:
            return Ok(cls._of(json.loads(text)))
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            message = f"what the server tells of a job cannot be read: {type(error).__name__}: {error}"
            return Err(Error("INTERNAL", message, hint="use a client of the server's version"))

    @classmethod
    def _of(cls, told: Mapping[str, Any]) -> JobStatus:
        return cls(
            id=told["id"],
            sql=told["sql"],
            state=JobState(told["state"]),
            attempt=told["attempt"],
            submitted_at=_moment(told["submitted_at"]),
            ended_at=Option.of(told.get("ended_at")).map(_moment),
            error=Option.of(told.get("error")).map(error_kinds.told),
            outcome=Option.of(told.get("outcome")).map(_outcome),
            progress=Option.of(told.get("progress")).map(Progress.of),
        )


def _moment(millis: int) -> datetime.datetime:
    return _EPOCH + datetime.timedelta(milliseconds=millis)


def _outcome(told: Mapping[str, Any]) -> Outcome:
    if "table" in told:
        schema = {column["name"]: column["type"] for column in told["columns"]}
        return JobTable(told["table"], told["rows"], schema)
    if "files" in told:
        return Written(rows=told["count"], files=told["files"], bytes=told["bytes"])
    tag: str = told["status"]
    return tag
