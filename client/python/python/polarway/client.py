"""`PolarwayClient`: SQL on a Polarway cluster for code that blocks, with errors as values."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from polarway import _submitted, reading, statements, uploading, writing
from polarway._calls import Timed, waited, waited_each
from polarway._idle import idle_sync
from polarway._keeper import Keeper
from polarway._leases import leases, readable
from polarway._meter import collected, meter
from polarway._repeatable import changes_nothing
from polarway._session import Session, raised
from polarway._source import Source
from polarway._traffic import AWAY, CLOSING
from polarway.error import Error
from polarway.handles import Handle
from polarway.job_status import JobStatus
from polarway.jobs import Job
from polarway.option import Nothing, Option, Some
from polarway.result import Err, Ok, Result
from polarway.streams import Rows
from polarway.table import Table
from polarway.uploads import sending
from polarway.uploads._upload import TableUpload

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from typing_extensions import Self

    from polarway._calls import Cancels
    from polarway._leases import Lease, Opened
    from polarway._polarway import Done, NativeTable
    from polarway.error import Fault
    from polarway.handles import Frame
    from polarway.parameters import Parameters
    from polarway.reading import Path
    from polarway.streams import Progress
    from polarway.uploads._rejections import Rejections
    from polarway.uploads._upload import Upload
    from polarway.writing import Written

__all__ = ["Err", "Error", "Nothing", "Ok", "Option", "PolarwayClient", "RaisingClient", "Result", "Some"]


class PolarwayClient(
    Session,
    reading.Reads["Result[Handle, Error]"],
    uploading.Uploads["Result[Handle, Error]", "Result[int, Error]"],
    writing.Writes["Result[Written, Error]"],
):
    """A session with a cluster. Settings (`SET …`) hold for the session. Safe for any number of threads at once.

    Every method gives a `Result`; `client.raising` has the same methods, which raise `Error` instead. Entering the
    context connects, and raises `Error` if no server can be reached. Ctrl-C in a call cancels its query on
    the cluster.

        with PolarwayClient("localhost:50051") as client:
            match client.query("SELECT count(*) AS rows FROM logs").variant:
                case Ok(table):
                    print(table.to_dicts())
                case Err(error):
                    print(error.kind, error.hint)
    """

    _keeper: Keeper | None = None

    @property
    def raising(self) -> RaisingClient:
        """The same client, whose methods give values and raise `Error`."""
        return RaisingClient(self)

    def connect(self) -> Result[None, Error]:
        """Connects to the first server that answers; on a connected client it does nothing."""
        if self._native is not None:
            return Ok(None)
        traffic, connecting = self._connecting()
        return waited(connecting).map(partial(self._keep, traffic))

    def close(self, *, wait: bool = True, timeout: float = CLOSING) -> None:
        """Ends all calls, closes handles and streams, and lets the connections go.

        New calls are refused at once. With `wait` those of other threads, and iterations over streams, have `timeout`
        seconds to end by themselves; what is left, and without `wait` all, is cancelled on the cluster, and gives an
        error of kind `CANCELLED`. Handles are then closed in 2 s at most. Ctrl-C meanwhile is passed on once that is
        done.
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
                idle_sync(traffic, timeout)
        finally:
            traffic.stop()
            if keeper is not None:
                keeper.stop()

    def __enter__(self) -> Self:
        raised(self.connect())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(wait=error is None)

    def query(
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
            rows = waited(traffic.call(partial(native.collect, sql, values), repeatable))
        else:
            rows = collected(traffic, partial(native.stream, sql, values), repeatable, shown)
        return rows.map(lambda table: Table(table, time.perf_counter() - began))

    def stream(self, sql: str, parameters: Parameters | None = None) -> Result[Rows, Error]:
        """Runs one statement and gives its rows as the cluster makes them, with bounded memory."""
        ready = self._ready(parameters)
        if isinstance(ready, Err):
            return ready
        native, values = ready.unwrap()
        traffic, opening = self._traffic, partial(native.stream, sql, values)
        repeatable = partial(changes_nothing, sql)
        opened = waited(traffic.call(opening, repeatable))
        return opened.map(lambda native: Rows(Source(traffic, native, opening, repeatable)))

    def submit(
        self,
        sql: str,
        parameters: Parameters | None = None,
        *,
        key: str | None = None,
        keep: float = _submitted.KEEP,
    ) -> Result[Job, Error]:
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
        return waited(self._traffic.call(submitting)).map(partial(Job, self))

    def job(self, job_id: str) -> Result[Job, Error]:
        """A job that was submitted before, by whatever process; `NOT_FOUND` if its outcome is not kept any more."""
        return self.status(job_id).map(partial(Job.of, self))

    def status(self, job_id: str) -> Result[JobStatus, Error]:
        """How a job is; the same as `job.status()`."""
        return self._asking(job_id).and_then(waited).and_then(JobStatus.parse)

    def progress(self, job_id: str) -> Result[Option[Progress], Error]:
        """How far a job is; the same as `job.progress()`."""
        return self.status(job_id).map(lambda status: status.progress)

    def cancel(self, job_id: str) -> Result[bool, Error]:
        """Ends a job, with what it runs on the cluster; false if it had ended before. The same as `job.cancel()`."""
        return self._cancelling(job_id).and_then(waited)

    def explain(self, sql: str, *, analyze: bool = False) -> Result[str, Error]:
        """How a query would run, as text; with `analyze` it is run and measured."""
        return self.query(statements.explain(sql, analyze=analyze)).map(statements.explained)

    def tables(self) -> Result[list[str], Error]:
        """Names of all tables, views and streams, `schema.name`, in order."""
        return self.query(statements.TABLES).map(statements.names)

    def schema(self, table: str) -> Result[dict[str, str], Error]:
        """The columns of a table or view and their types."""
        return self.query(statements.describe(table)).map(statements.described)

    def ping(self) -> Result[float, Error]:
        """Seconds that the cluster takes for the smallest query."""
        connected = self._connected()
        if isinstance(connected, Err):
            return connected
        timed = Timed(partial(connected.unwrap().collect, statements.PING, []))
        return waited(self._traffic.call(timed)).map(lambda _: timed.took)

    def lease(self, query: Frame, ttl: float = reading.TTL) -> Result[Handle, Error]:
        """A handle of a query over handles; the same as `query.handle()`."""
        ready = readable(query.plan)
        return ready if isinstance(ready, Err) else self._open(query.to_sql(), ttl, leases(query.plan))

    def batch_read(
        self, paths: Iterable[Path], *, limit: int = 16, ttl: float = reading.TTL
    ) -> list[Result[Handle, Error]]:
        """Handles of many files, of formats that their endings tell: in order, an error for each that has none.

        At most `limit` are made at once, and paths are taken when there is room for one more. The message of each
        error names the path.
        """

        def start(path: Path, done: Done[Opened]) -> Cancels | None:
            sql, keeper = reading.any_file(path), self._keeping()
            failed = keeper if isinstance(keeper, Err) else sql
            if isinstance(failed, Err):
                done(None, failed.unwrap_err().fault())
                return None
            return keeper.unwrap().opening(sql.unwrap(), ttl, done)

        return [
            opened.map(partial(Handle, self)).map_err(partial(reading.named, path))
            for path, opened in waited_each(reading.many(paths), start, limit=self._at_once(limit))
        ]

    def batch_collect(self, handles: Iterable[Frame], *, limit: int = 8) -> list[Result[Table, Error]]:
        """All rows of many handles or queries, in order; at most `limit` run at once."""

        def start(handle: Frame, done: Done[Table]) -> Cancels | None:
            began = time.perf_counter()
            ready = readable(handle.plan).and_then(lambda _: self._connected())
            if isinstance(ready, Err):
                done(None, ready.unwrap_err().fault())
                return None

            def told(table: NativeTable | None, fault: Fault | None) -> None:
                done(None if table is None else Table(table, time.perf_counter() - began), fault)

            return self._traffic.call(partial(ready.unwrap().collect, handle.to_sql(), []))(told)

        return [collected for _, collected in waited_each(handles, start, limit=self._at_once(limit))]

    def _lease(self, sql: Result[str, Error], ttl: float) -> Result[Handle, Error]:
        return sql if isinstance(sql, Err) else self._open(sql.unwrap(), ttl, ())

    def _open(self, sql: str, ttl: float, parents: Iterable[Lease]) -> Result[Handle, Error]:
        keeper = self._keeping()
        if isinstance(keeper, Err):
            return keeper
        opened = waited(partial(keeper.unwrap().opening, sql, ttl, parents=parents))
        return opened.map(partial(Handle, self))

    def _keeping(self) -> Result[Keeper, Error]:
        connected = self._connected()
        if isinstance(connected, Err):
            return connected
        return Err(AWAY) if self._keeper is None else Ok(self._keeper)

    def _upload(self, upload: Result[Upload, Error]) -> Result[Handle, Error]:
        if isinstance(upload, Err):
            return upload
        rows = upload.unwrap()
        if isinstance(rows, TableUpload):
            sent = self._sent(rows)
            if isinstance(sent, Err):
                return sent
            count, rejections = sent.unwrap()
            leased = self._lease(Ok(rows.target.query()), rows.ttl).map_err(partial(rows.target.stored, count))
            return leased.map(lambda handle: handle.without(rejections))
        keeper = self._keeping()
        if isinstance(keeper, Err):
            return keeper
        opened = sending.to_handle(keeper.unwrap(), rows)
        return opened.map(lambda found: Handle(self, found[0]).without(found[1]))

    def _ingest(self, upload: Result[TableUpload, Error]) -> Result[int, Error]:
        return upload.and_then(self._sent).map(lambda sent: sent[0])

    def _sent(self, rows: TableUpload) -> Result[tuple[int, Rejections], Error]:
        return self._connected().and_then(lambda native: sending.to_table(native, self._traffic, self.query, rows))

    def _copy(self, statement: Result[str, Error]) -> Result[Written, Error]:
        return statement.and_then(self.query).map(writing.written)

    def _free(self, lease: Lease) -> None:
        # Without one they have been closed all at once.
        if self._keeper is not None and not self._traffic.is_forked():
            self._keeper.close(lease)

    def _kept(self) -> None:
        if self._native is not None:
            self._keeper = Keeper(self._native, self._traffic)


class RaisingClient(reading.Reads["Handle"], uploading.Uploads["Handle", int], writing.Writes["Written"]):
    """The methods of `PolarwayClient`, which give values and raise `Error`."""

    __slots__ = ("_client",)

    def __init__(self, client: PolarwayClient) -> None:
        self._client = client

    def query(self, sql: str, parameters: Parameters | None = None, *, progress: bool | None = None) -> Table:
        """As `PolarwayClient.query`."""
        return raised(self._client.query(sql, parameters, progress=progress))

    def stream(self, sql: str, parameters: Parameters | None = None) -> Rows:
        """As `PolarwayClient.stream`."""
        return raised(self._client.stream(sql, parameters))

    def submit(
        self,
        sql: str,
        parameters: Parameters | None = None,
        *,
        key: str | None = None,
        keep: float = _submitted.KEEP,
    ) -> Job:
        """As `PolarwayClient.submit`."""
        return raised(self._client.submit(sql, parameters, key=key, keep=keep))

    def job(self, job_id: str) -> Job:
        """As `PolarwayClient.job`."""
        return raised(self._client.job(job_id))

    def status(self, job_id: str) -> JobStatus:
        """As `PolarwayClient.status`."""
        return raised(self._client.status(job_id))

    def progress(self, job_id: str) -> Option[Progress]:
        """As `PolarwayClient.progress`."""
        return raised(self._client.progress(job_id))

    def cancel(self, job_id: str) -> bool:
        """As `PolarwayClient.cancel`."""
        return raised(self._client.cancel(job_id))

    def explain(self, sql: str, *, analyze: bool = False) -> str:
        """As `PolarwayClient.explain`."""
        return raised(self._client.explain(sql, analyze=analyze))

    def tables(self) -> list[str]:
        """As `PolarwayClient.tables`."""
        return raised(self._client.tables())

    def schema(self, table: str) -> dict[str, str]:
        """As `PolarwayClient.schema`."""
        return raised(self._client.schema(table))

    def ping(self) -> float:
        """As `PolarwayClient.ping`."""
        return raised(self._client.ping())

    def lease(self, query: Frame, ttl: float = reading.TTL) -> Handle:
        """As `PolarwayClient.lease`."""
        return raised(self._client.lease(query, ttl))

    def batch_read(self, paths: Iterable[Path], *, limit: int = 16, ttl: float = reading.TTL) -> list[Handle]:
        """As `PolarwayClient.batch_read`; raises the first error in order, once all have been tried."""
        return [raised(result) for result in self._client.batch_read(paths, limit=limit, ttl=ttl)]

    def batch_collect(self, handles: Iterable[Frame], *, limit: int = 8) -> list[Table]:
        """As `PolarwayClient.batch_collect`; raises the first error in order, once all have been tried."""
        return [raised(result) for result in self._client.batch_collect(handles, limit=limit)]

    def _lease(self, sql: Result[str, Error], ttl: float) -> Handle:
        return raised(self._client._lease(sql, ttl))  # pyright: ignore[reportPrivateUsage]

    def _upload(self, upload: Result[Upload, Error]) -> Handle:
        return raised(self._client._upload(upload))  # pyright: ignore[reportPrivateUsage]

    def _ingest(self, upload: Result[TableUpload, Error]) -> int:
        return raised(self._client._ingest(upload))  # pyright: ignore[reportPrivateUsage]

    def _copy(self, statement: Result[str, Error]) -> Written:
        return raised(self._client._copy(statement))  # pyright: ignore[reportPrivateUsage]
