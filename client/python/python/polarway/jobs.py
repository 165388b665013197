"""`Job`: a statement that the cluster carries out whether somebody waits or not, for code that blocks."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from polarway._calls import waited_for
from polarway._job_results import reading
from polarway._polling import Ended, Polling
from polarway._submitted import Submitted
from polarway.job_status import JobStatus
from polarway.result import Err, Result

if TYPE_CHECKING:
    from collections.abc import Callable

    from polarway.client import PolarwayClient
    from polarway.error import Error
    from polarway.option import Option
    from polarway.streams import Progress, Rows
    from polarway.table import Table


class Job(Submitted):
    """A statement that was submitted: it runs on the cluster whatever becomes of this process.

    It is only a name for it: dropping it, or closing its client, leaves the job alone, and `client.job(id)` finds it
    again from any process. Once its outcome is not kept any more, everything of it is an error of kind `NOT_FOUND`.

    Attributes:
        id: The name of the job, `j_…`.
    """

    __slots__ = ("_client", "_clock", "_sleep")

    def __init__(
        self,
        client: PolarwayClient,
        id_: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(id_)
        self._client = client
        self._clock = clock
        self._sleep = sleep

    @classmethod
    def of(cls, client: PolarwayClient, status: JobStatus) -> Job:
        """The job of which this was told."""
        job = cls(client, status.id)
        job._see(status)
        return job

    def status(self) -> Result[JobStatus, Error]:
        """How it is."""
        return self._client.status(self.id).map(self._see)

    def progress(self) -> Result[Option[Progress], Error]:
        """How far it is; nothing where its server does not know."""
        return self.status().map(lambda status: status.progress)

    def wait(self, timeout: float | None = None) -> Result[JobStatus, Error]:
        """Waits for its end, in whatever way, and gives how it is then.

        Asks again and again, after 50 ms at first and every 2 s later on. Ctrl-C ends the wait and leaves the job
        alone.

        A job that has not ended in time is `DEADLINE_EXCEEDED`, and goes on. So it does after an error of the
        connection, which ends the wait once the client's `retry_for` is over.

        Args:
            timeout: Seconds to wait, and at most one more if no server answers; 0 asks once. Without one it waits as
                long as the job takes.

        Raises:
            ValueError: the timeout is negative or no number.
        """
        polling = Polling(self.id, timeout, self._clock())
        while True:
            asking = self._client._asking(self.id)  # pyright: ignore[reportPrivateUsage]
            if isinstance(asking, Err):
                return asking
            answer = waited_for(asking.unwrap(), polling.patience(self._clock()))
            told = answer.map(lambda text: text.and_then(JobStatus.parse).map(self._see))
            step = polling.after(told, self._clock())
            if isinstance(step, Ended):
                return step.outcome
            self._sleep(step.seconds)

    def result(self, timeout: float | None = None) -> Result[Table, Error]:
        """Waits for its end, as `wait` does, and gives all its rows; the error of a job that failed is the `Err`.

        A statement without rows gives the one row that `client.query` gives of it. `timeout` is for the wait alone. A
        job that was cancelled is an error of kind `CANCELLED`.
        """
        return self.wait(timeout).and_then(reading).and_then(self._client.query)

    def stream(self, timeout: float | None = None) -> Result[Rows, Error]:
        """As `result`, with the rows in batches, read no faster than they are taken."""
        return self.wait(timeout).and_then(reading).and_then(self._client.stream)

    def cancel(self) -> Result[bool, Error]:
        """Ends it, with what it runs on the cluster; false if it had ended before."""
        return self._client.cancel(self.id)

    def _repr_html_(self) -> str:
        """For notebooks."""
        return self._html("job.status()", "job.result()")
