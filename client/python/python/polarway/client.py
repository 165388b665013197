"""`PolarwayClient`: SQL on a Polarway cluster for code that blocks, with errors as values."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from polarway import statements
from polarway._calls import waited
from polarway._session import Session, raised
from polarway.error import Error
from polarway.option import Nothing, Option, Some
from polarway.result import Err, Ok, Result
from polarway.streams import Rows
from polarway.table import Table

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from polarway.parameters import Parameters

__all__ = ["Err", "Error", "Nothing", "Ok", "Option", "PolarwayClient", "RaisingClient", "Result", "Some"]


class PolarwayClient(Session):
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

    @property
    def raising(self) -> RaisingClient:
        """The same client, whose methods give values and raise `Error`."""
        return RaisingClient(self)

    def connect(self) -> Result[None, Error]:
        """Connects to the first server that answers; on a connected client it does nothing."""
        if self._native is not None:
            return Ok(None)
        connected = waited(self._connecting())
        return connected.map(self._keep)

    def close(self) -> None:
        """Lets the connections go. Calls that other threads are in go on to their end."""
        self._native = None

    def __enter__(self) -> Self:
        raised(self.connect())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def query(self, sql: str, parameters: Parameters | None = None) -> Result[Table, Error]:
        """Runs one statement of any sort and gives all its rows; statements without rows give one with their tag.

        A sequence of parameters has the values for `?`, or `$1`, `$2` …; a mapping has those for `$name`.
        """
        began = time.perf_counter()
        ready = self._ready(parameters)
        if isinstance(ready, Err):
            return ready
        native, values = ready.unwrap()
        collected = waited(partial(native.collect, sql, values))
        return collected.map(lambda table: Table(table, time.perf_counter() - began))

    def stream(self, sql: str, parameters: Parameters | None = None) -> Result[Rows, Error]:
        """Runs one statement and gives its rows as the cluster makes them, with bounded memory."""
        ready = self._ready(parameters)
        if isinstance(ready, Err):
            return ready
        native, values = ready.unwrap()
        opened = waited(partial(native.stream, sql, values))
        return opened.map(Rows)

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
        return self.query(statements.PING).map(lambda table: table.took)


class RaisingClient:
    """The methods of `PolarwayClient`, which give values and raise `Error`."""

    __slots__ = ("_client",)

    def __init__(self, client: PolarwayClient) -> None:
        self._client = client

    def query(self, sql: str, parameters: Parameters | None = None) -> Table:
        """As `PolarwayClient.query`."""
        return raised(self._client.query(sql, parameters))

    def stream(self, sql: str, parameters: Parameters | None = None) -> Rows:
        """As `PolarwayClient.stream`."""
        return raised(self._client.stream(sql, parameters))

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
