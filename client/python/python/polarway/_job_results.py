"""What a job that has ended gives: the statement that reads its outcome, or its error."""

from __future__ import annotations

from polarway import sql_text
from polarway.error import Error
from polarway.job_status import JobState, JobStatus, JobTable, Outcome
from polarway.result import Err, Ok, Result
from polarway.writing import Written


def reading(status: JobStatus) -> Result[str, Error]:
    """The query whose rows are the result: of a statement, the row that it would have given had it been waited for."""
    if status.state is JobState.FINISHED:
        return status.outcome.map(_select).unwrap_or(Err(_untold(status)))
    if status.state is JobState.CANCELLED:
        return Err(status.error.unwrap_or(_cancelled(status)))
    return Err(status.error.unwrap_or(_untold(status)))


def _select(outcome: Outcome) -> Result[str, Error]:
    try:
        return Ok(_written(outcome))
    except ValueError as error:
        return Err(Error("INTERNAL", f"the outcome of the job cannot be read: {error}"))


def _written(outcome: Outcome) -> str:
    if isinstance(outcome, JobTable):
        return f"SELECT * FROM {sql_text.table(outcome.name)}"
    if isinstance(outcome, Written):
        counts = {"count": outcome.rows, "files": outcome.files, "bytes": outcome.bytes}
        return f"SELECT {', '.join(f'{_unsigned(value)} AS {name}' for name, value in counts.items())}"
    return f"SELECT {sql_text.literal(outcome)} AS status"


def _unsigned(value: int) -> str:
    # What COPY and INSERT give has this type.
    return f"arrow_cast({sql_text.literal(value)}, 'UInt64')"


def _cancelled(status: JobStatus) -> Error:
    hint = "submit the statement again if its end was not intended"
    return Error("CANCELLED", f"the job `{status.id}` was cancelled", hint=hint)


def _untold(status: JobStatus) -> Error:
    return Error("INTERNAL", f"the job `{status.id}` is {status.state}, and the server does not tell with what")
