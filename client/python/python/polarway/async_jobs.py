"""`AsyncJob`: a statement that the cluster carries out whether somebody waits or not, for asyncio."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from polarway._calls import awaited_for
from polarway._job_results import reading
from polarway._polling import Ended, Polling
from polarway._submitted import Submitted
from polarway.job_status import JobStatus
from polarway.result import Err, Result

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from polarway.async_client import AsyncPolarwayClient
    from polarway.error import Error
    from polarway.option import Option
    from polarway.streams import AsyncRows, Progress
    from polarway.table import Table


class AsyncJob(Submitted):
    """A statement that was submitted: it runs on the cluster whatever becomes of this process.

    It is only a name for it: dropping it, or closing its client, leaves the job alone, and `client.job(id)` finds it
    again from any process. Once its outcome is not kept any more, everything of it is an error of kind `NOT_FOUND`.

    Attributes:
        id: The name of the job, `j_…`.
    """

    __slots__ = ("_client", "_clock", "_sleep")

    def __init__(
        self,
        client: AsyncPolarwayClient,
        id_: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        super().__init__(id_)
        self._client = client
        self._clock = clock
        self._sleep = sleep

    @classmethod
    def of(cls, client: AsyncPolarwayClient, status: JobStatus) -> AsyncJob:
        """The job of which this was told."""
        job = cls(client, status.id)
        job._see(status)
        return job

    async def status(self) -> Result[JobStatus, Error]:
        """How it is."""
        return (await self._client.status(self.id)).map(self._see)

    async def progress(self) -> Result[Option[Progress], Error]:
        """How far it is; nothing where its server does not know."""
        return (await self.status()).map(lambda status: status.progress)

    async def wait(self, timeout: float | None = None) -> Result[JobStatus, Error]:
        """Waits for its end, in whatever way, and gives how it is then.

        Asks again and again, after 50 ms at first and every 2 s later on. A cancelled await leaves the job alone.

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
            answer = await awaited_for(asking.unwrap(), polling.patience(self._clock()))
            told = answer.map(lambda text: text.and_then(JobStatus.parse).map(self._see))
            step = polling.after(told, self._clock())
            if isinstance(step, Ended):
                return step.outcome
            await self._sleep(step.seconds)

    async def result(self, timeout: float | None = None) -> Result[Table, Error]:
        """Waits for its end, as `wait` does, and gives all its rows; the error of a job that failed is the `Err`.

        A statement without rows gives the one row that `client.query` gives of it. `timeout` is for the wait alone. A
        job that was cancelled is an error of kind `CANCELLED`.
        """
        sql = (await self.wait(timeout)).and_then(reading)
        return sql if isinstance(sql, Err) else await self._client.query(sql.unwrap())

    async def stream(self, timeout: float | None = None) -> Result[AsyncRows, Error]:
        """As `result`, with the rows in batches, read no faster than they are taken."""
        sql = (await self.wait(timeout)).and_then(reading)
        return sql if isinstance(sql, Err) else await self._client.stream(sql.unwrap())

    async def cancel(self) -> Result[bool, Error]:
        """Ends it, with what it runs on the cluster; false if it had ended before."""
        return await self._client.cancel(self.id)

    def _repr_html_(self) -> str:
        """For notebooks."""
        return self._html("await job.status()", "await job.result()")
