"""`AsyncPolarwayClient`: SQL on a Polarway cluster from asyncio, with errors as values."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from polarway import _submitted, reading, statements, uploading, writing
from polarway._calls import Timed, awaited
from polarway._idle import idle
from polarway._keeper_async import AsyncKeeper
from polarway._leases import leases, readable
from polarway._meter import collected_async, meter
from polarway._repeatable import changes_nothing
from polarway._session import Session, raised
from polarway._source import Source
from polarway._traffic import AWAY, CLOSING
from polarway.async_handles import AsyncHandle, HandleResult, RaisedHandle
from polarway.async_jobs import AsyncJob
from polarway.error import Error
from polarway.job_status import JobStatus
from polarway.option import Nothing, Option, Some
from polarway.result import Err, Ok, Result
from polarway.streams import AsyncRows
from polarway.table import Table
from polarway.traversal_async import traverse_async
from polarway.uploads import sending_async
from polarway.uploads._upload import TableUpload

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable
    from types import TracebackType

    from typing_extensions import Never, Self

    from polarway._calls import Start
    from polarway._leases import Lease
    from polarway._polarway import NativeTable
    from polarway.async_handles import AsyncFrame
    from polarway.parameters import Parameters
    from polarway.reading import Path
    from polarway.streams import Progress
    from polarway.uploads._rejections import Rejections
    from polarway.uploads._upload import Upload
    from polarway.writing import Written

__all__ = ["AsyncPolarwayClient", "AsyncRaisingClient", "Err", "Error", "Nothing", "Ok", "Option", "Result", "Some"]


_CountResult: TypeAlias = "Coroutine[object, object, Result[int, Error]]"
_RaisedCount: TypeAlias = "Coroutine[object, object, int]"
_WrittenResult: TypeAlias = "Coroutine[object, object, Result[Written, Error]]"
_RaisedWritten: TypeAlias = "Coroutine[object, object, Written]"


class AsyncPolarwayClient(
    Session,
    reading.Reads[HandleResult],
    uploading.Uploads[HandleResult, _CountResult],
    writing.Writes[_WrittenResult],
):
    """A session with a cluster. Settings (`SET …`) hold for the session. Safe for any number of concurrent awaits.

    Every method gives a `Result`; `client.raising` has the same methods, which raise `Error` instead. Entering the
    context connects, and raises `Error` if no server can be reached. A cancelled await cancels its query on the
    cluster.

        async with AsyncPolarwayClient("localhost:50051") as client:
            match (await client.query("SELECT count(*) AS rows FROM logs")).variant:
                case Ok(table):
                    print(table.to_dicts())
                case Err(error):
                    print(error.kind, error.hint)
    """

    _keeper: AsyncKeeper | None = None

    @property
    def raising(self) -> AsyncRaisingClient:
        """The same client, whose methods give values and raise `Error`."""
        return AsyncRaisingClient(self)

    async def connect(self) -> Result[None, Error]:
        """Connects to the first server that answers; on a connected client it does nothing."""
        if self._native is not None:
            return Ok(None)
        traffic, connecting = self._connecting()
        return (await awaited(connecting)).map(partial(self._keep, traffic))

    async def close(self, *, wait: bool = True, timeout: float = CLOSING) -> None:
        """Ends all calls, closes handles and streams, and lets the connections go.

        New calls are refused at once. With `wait` those of other tasks, and iterations over streams, have `timeout`
        seconds to end by themselves; what is left, and without `wait` all, is cancelled on the cluster, and gives an
        error of kind `CANCELLED`. Handles are then closed in 2 s at most. A cancellation meanwhile is passed on once
        that is done.
        """
        if self._native is None:
            return
        keeper, self._keeper, self._native = self._keeper, None, None
        if self._traffic.is_forked():
            return
        traffic = self._traffic
        traffic.shut()
        try:
            if wait:
                await idle(traffic, timeout)
        finally:
            traffic.stop()
            if keeper is not None:
                await keeper.stop()

    async def __aenter__(self) -> Self:
        raised(await self.connect())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close(wait=error is None)

    async def query(
        self, sql: str, parameters: Parameters | None = None, *, progress: bool | None = None
    ) -> Result[Table, Error]:
        """Runs one statement of any sort and gives all its rows; statements without rows give one with their tag.

        A sequence of parameters has the values for `?`, or `$1`, `$2` …; a mapping has those for `$name`.

        With `progress` a bar is shown after 1 s, and gone at the end: on standard error if that is a terminal, and in a
        notebook. `None` is what the client was made with, which unless given shows it in notebooks and interactive
        shells only.
        """
        began = time.perf_counter()
        ready = self._ready(parameters)
        if isinstance(ready, Err):
            return ready
        native, values = ready.unwrap()
        traffic, repeatable = self._traffic, partial(changes_nothing, sql)
        shown = meter(self._progress if progress is None else progress)
        if shown is None:
            rows = await awaited(traffic.call(partial(native.collect, sql, values), repeatable))
        else:
            rows = await collected_async(traffic, partial(native.stream, sql, values), repeatable, shown)
        return rows.map(lambda table: Table(table, time.perf_counter() - began))

    async def stream(self, sql: str, parameters: Parameters | None = None) -> Result[AsyncRows, Error]:
        """Runs one statement and gives its rows as the cluster makes them, with bounded memory."""
        ready = self._ready(parameters)
        if isinstance(ready, Err):
            return ready
        native, values = ready.unwrap()
        traffic, opening = self._traffic, partial(native.stream, sql, values)
        repeatable = partial(changes_nothing, sql)
        opened = await awaited(traffic.call(opening, repeatable))
        return opened.map(lambda native: AsyncRows(Source(traffic, native, opening, repeatable)))

    async def submit(
        self,
        sql: str,
        parameters: Parameters | None = None,
        *,
        key: str | None = None,
        keep: float = _submitted.KEEP,
    ) -> Result[AsyncJob, Error]:
        """Lets the cluster carry out one statement, whatever becomes of this process.

        It goes on when this client is closed, and when the scheduler that took it dies.

        Args:
            sql: The statement: a query, or one that changes something.
            parameters: Values for its placeholders, as `query` takes them.
            key: Names the submission: another one with the same key gives the same job, so that who does not know
                whether it was submitted submits it again. One is made up unless given.
            keep: Seconds for which the outcome, with the rows of a query, is kept after the end; enough for whoever
                waits to ask again, which is every 2 s.
        """
        ready = self._ready(parameters)
        if isinstance(ready, Err):
            return ready
        native, values = ready.unwrap()
        # The key is the same in all attempts, so that they are one submission.
        submitting = partial(native.submit, sql, values, _submitted.key() if key is None else key, keep)
        return (await awaited(self._traffic.call(submitting))).map(partial(AsyncJob, self))

    async def job(self, job_id: str) -> Result[AsyncJob, Error]:
        """A job that was submitted before, by whatever process; `NOT_FOUND` if its outcome is not kept any more."""
        return (await self.status(job_id)).map(partial(AsyncJob.of, self))

    async def status(self, job_id: str) -> Result[JobStatus, Error]:
        """How a job is; the same as `job.status()`."""
        asking = self._asking(job_id)
        return asking if isinstance(asking, Err) else (await awaited(asking.unwrap())).and_then(JobStatus.parse)

    async def progress(self, job_id: str) -> Result[Option[Progress], Error]:
        """How far a job is; the same as `job.progress()`."""
        return (await self.status(job_id)).map(lambda status: status.progress)

    async def cancel(self, job_id: str) -> Result[bool, Error]:
        """Ends a job, with what it runs on the cluster; false if it had ended before. The same as `job.cancel()`."""
        cancelling = self._cancelling(job_id)
        return cancelling if isinstance(cancelling, Err) else await awaited(cancelling.unwrap())

    async def explain(self, sql: str, *, analyze: bool = False) -> Result[str, Error]:
        """How a query would run, as text; with `analyze` it is run and measured."""
        return (await self.query(statements.explain(sql, analyze=analyze))).map(statements.explained)

    async def tables(self) -> Result[list[str], Error]:
        """Names of all tables, views and streams, `schema.name`, in order."""
        return (await self.query(statements.TABLES)).map(statements.names)

    async def schema(self, table: str) -> Result[dict[str, str], Error]:
        """The columns of a table or view and their types."""
        return (await self.query(statements.describe(table))).map(statements.described)

    async def ping(self) -> Result[float, Error]:
        """Seconds that the cluster takes for the smallest query."""
        return await self._ping(self._traffic.call)

    async def lease(self, query: AsyncFrame, ttl: float = reading.TTL) -> Result[AsyncHandle, Error]:
        """A handle of a query over handles; the same as `query.handle()`."""
        ready = readable(query.plan)
        return ready if isinstance(ready, Err) else await self._open(query.to_sql(), ttl, leases(query.plan))

    async def batch_read(
        self, paths: Iterable[Path], *, limit: int = 16, ttl: float = reading.TTL
    ) -> list[Result[AsyncHandle, Error]]:
        """Handles of many files, of formats that their endings tell: in order, an error for each that has none.

        At most `limit` are made at once, and paths are taken when there is room for one more. The message of each
        error names the path.
        """

        async def read(path: Path) -> Result[Result[AsyncHandle, Error], Never]:
            return Ok((await self._lease(reading.any_file(path), ttl)).map_err(partial(reading.named, path)))

        return (await traverse_async(reading.many(paths), read, limit=self._at_once(limit))).unwrap()

    async def batch_collect(self, handles: Iterable[AsyncFrame], *, limit: int = 8) -> list[Result[Table, Error]]:
        """All rows of many handles or queries, in order; at most `limit` run at once."""

        async def collect(handle: AsyncFrame) -> Result[Result[Table, Error], Never]:
            return Ok(await handle.collect())

        return (await traverse_async(handles, collect, limit=self._at_once(limit))).unwrap()

    async def _lease(self, sql: Result[str, Error], ttl: float) -> Result[AsyncHandle, Error]:
        return sql if isinstance(sql, Err) else await self._open(sql.unwrap(), ttl, ())

    async def _open(self, sql: str, ttl: float, parents: Iterable[Lease]) -> Result[AsyncHandle, Error]:
        keeper = self._keeping()
        if isinstance(keeper, Err):
            return keeper
        return (await keeper.unwrap().open(sql, ttl, parents)).map(partial(AsyncHandle, self))

    def _keeping(self) -> Result[AsyncKeeper, Error]:
        connected = self._connected()
        if isinstance(connected, Err):
            return connected
        return Err(AWAY) if self._keeper is None else Ok(self._keeper)

    async def _upload(self, upload: Result[Upload, Error]) -> Result[AsyncHandle, Error]:
        if isinstance(upload, Err):
            return upload
        rows = upload.unwrap()
        if isinstance(rows, TableUpload):
            sent = await self._sent(rows)
            if isinstance(sent, Err):
                return sent
            count, rejections = sent.unwrap()
            leased = (await self._lease(Ok(rows.target.query()), rows.ttl)).map_err(partial(rows.target.stored, count))
            return leased.map(lambda handle: handle.without(rejections))
        keeper = self._keeping()
        if isinstance(keeper, Err):
            return keeper
        opened = await sending_async.to_handle(keeper.unwrap(), rows)
        return opened.map(lambda found: AsyncHandle(self, found[0]).without(found[1]))

    async def _ingest(self, upload: Result[TableUpload, Error]) -> Result[int, Error]:
        return upload if isinstance(upload, Err) else (await self._sent(upload.unwrap())).map(lambda sent: sent[0])

    async def _sent(self, rows: TableUpload) -> Result[tuple[int, Rejections], Error]:
        native = self._connected()
        if isinstance(native, Err):
            return native
        return await sending_async.to_table(native.unwrap(), self._traffic, self.query, rows)

    async def _copy(self, statement: Result[str, Error]) -> Result[Written, Error]:
        return statement if isinstance(statement, Err) else (await self.query(statement.unwrap())).map(writing.written)

    async def _free(self, lease: Lease) -> None:
        # Without one they have been closed all at once.
        if self._keeper is not None and not self._traffic.is_forked():
            await self._keeper.close(lease)

    async def _beat(self) -> Result[float, Error]:
        """A ping that waits for no other call of this client and is not made again: how the cluster is now."""
        return await self._ping(self._traffic.once)

    async def _ping(self, through: Callable[[Start[NativeTable]], Start[NativeTable]]) -> Result[float, Error]:
        connected = self._connected()
        if isinstance(connected, Err):
            return connected
        timed = Timed(partial(connected.unwrap().collect, statements.PING, []))
        return (await awaited(through(timed))).map(lambda _: timed.took)

    def _kept(self) -> None:
        if self._native is not None:
            self._keeper = AsyncKeeper(self._native, self._traffic)


class AsyncRaisingClient(
    reading.Reads[RaisedHandle],
    uploading.Uploads[RaisedHandle, _RaisedCount],
    writing.Writes[_RaisedWritten],
):
    """The methods of `AsyncPolarwayClient`, which give values and raise `Error`."""

    __slots__ = ("_client",)

    def __init__(self, client: AsyncPolarwayClient) -> None:
        self._client = client

    async def query(self, sql: str, parameters: Parameters | None = None, *, progress: bool | None = None) -> Table:
        """As `AsyncPolarwayClient.query`."""
        return raised(await self._client.query(sql, parameters, progress=progress))

    async def stream(self, sql: str, parameters: Parameters | None = None) -> AsyncRows:
        """As `AsyncPolarwayClient.stream`."""
        return raised(await self._client.stream(sql, parameters))

    async def submit(
        self,
        sql: str,
        parameters: Parameters | None = None,
        *,
        key: str | None = None,
        keep: float = _submitted.KEEP,
    ) -> AsyncJob:
        """As `AsyncPolarwayClient.submit`."""
        return raised(await self._client.submit(sql, parameters, key=key, keep=keep))

    async def job(self, job_id: str) -> AsyncJob:
        """As `AsyncPolarwayClient.job`."""
        return raised(await self._client.job(job_id))

    async def status(self, job_id: str) -> JobStatus:
        """As `AsyncPolarwayClient.status`."""
        return raised(await self._client.status(job_id))

    async def progress(self, job_id: str) -> Option[Progress]:
        """As `AsyncPolarwayClient.progress`."""
        return raised(await self._client.progress(job_id))

    async def cancel(self, job_id: str) -> bool:
        """As `AsyncPolarwayClient.cancel`."""
        return raised(await self._client.cancel(job_id))

    async def explain(self, sql: str, *, analyze: bool = False) -> str:
        """As `AsyncPolarwayClient.explain`."""
        return raised(await self._client.explain(sql, analyze=analyze))

    async def tables(self) -> list[str]:
        """As `AsyncPolarwayClient.tables`."""
        return raised(await self._client.tables())

    async def schema(self, table: str) -> dict[str, str]:
        """As `AsyncPolarwayClient.schema`."""
        return raised(await self._client.schema(table))

    async def ping(self) -> float:
        """As `AsyncPolarwayClient.ping`."""
        return raised(await self._client.ping())

    async def lease(self, query: AsyncFrame, ttl: float = reading.TTL) -> AsyncHandle:
        """As `AsyncPolarwayClient.lease`."""
        return raised(await self._client.lease(query, ttl))

    async def batch_read(
        self, paths: Iterable[Path], *, limit: int = 16, ttl: float = reading.TTL
    ) -> list[AsyncHandle]:
        """As `AsyncPolarwayClient.batch_read`; raises the first error in order, once all have been tried."""
        return [raised(result) for result in await self._client.batch_read(paths, limit=limit, ttl=ttl)]

    async def batch_collect(self, handles: Iterable[AsyncFrame], *, limit: int = 8) -> list[Table]:
        """As `AsyncPolarwayClient.batch_collect`; raises the first error in order, once all have been tried."""
        return [raised(result) for result in await self._client.batch_collect(handles, limit=limit)]

    async def _lease(self, sql: Result[str, Error], ttl: float) -> AsyncHandle:
        return raised(await self._client._lease(sql, ttl))  # pyright: ignore[reportPrivateUsage]

    async def _upload(self, upload: Result[Upload, Error]) -> AsyncHandle:
        return raised(await self._client._upload(upload))  # pyright: ignore[reportPrivateUsage]

    async def _ingest(self, upload: Result[TableUpload, Error]) -> int:
        return raised(await self._client._ingest(upload))  # pyright: ignore[reportPrivateUsage]

    async def _copy(self, statement: Result[str, Error]) -> Written:
        return raised(await self._client._copy(statement))  # pyright: ignore[reportPrivateUsage]
