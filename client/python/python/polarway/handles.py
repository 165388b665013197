"""`Handle` and `Query`: rows that are on the cluster, for code that blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from polarway import _notebook, plans, statements
from polarway._leases import readable
from polarway.result import Err, Result
from polarway.sql_text import identifier
from polarway.verbs import Verbs

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from polarway._leases import Opened
    from polarway.client import PolarwayClient
    from polarway.error import Error
    from polarway.joins import Names
    from polarway.plans import Plan
    from polarway.reading import Path
    from polarway.streams import Rows
    from polarway.table import Table
    from polarway.uploads._rejections import Rejected, Rejections
    from polarway.writing import Options, Written


class Frame(Verbs["Query"]):
    """What handles and queries have in common: verbs, which run nothing, and methods that run them as one statement."""

    __slots__ = ("_client", "_plan")

    def __init__(self, client: PolarwayClient, plan: Plan) -> None:
        self._client = client
        self._plan = plan

    @property
    def plan(self) -> Plan:
        """The steps so far."""
        return self._plan

    def collect(self, *, progress: bool | None = None) -> Result[Table, Error]:
        """All rows; with a progress bar as `client.query` shows it."""
        ready = readable(self._plan)
        return ready if isinstance(ready, Err) else self._client.query(self.to_sql(), progress=progress)

    def stream(self) -> Result[Rows, Error]:
        """The rows as the cluster makes them, with bounded memory."""
        ready = readable(self._plan)
        return ready if isinstance(ready, Err) else self._client.stream(self.to_sql())

    def count(self) -> Result[int, Error]:
        """How many rows there are."""
        counted = Query(self._client, plans.count(self._plan)).collect()
        return counted.map(statements.number)

    def explain(self, *, analyze: bool = False) -> Result[str, Error]:
        """How it would run, as text; with `analyze` it is run and measured."""
        ready = readable(self._plan)
        return ready if isinstance(ready, Err) else self._client.explain(self.to_sql(), analyze=analyze)

    def write_parquet(
        self, url: Path, *, partition_by: Names = (), options: Options | None = None
    ) -> Result[Written, Error]:
        """Writes them into Parquet files; the same as `client.write_parquet`."""
        return self._client.write_parquet(self, url, partition_by=partition_by, options=options)

    def write_csv(
        self, url: Path, *, partition_by: Names = (), options: Options | None = None
    ) -> Result[Written, Error]:
        """Writes them into CSV files; the same as `client.write_csv`."""
        return self._client.write_csv(self, url, partition_by=partition_by, options=options)

    def write_json(
        self, url: Path, *, partition_by: Names = (), options: Options | None = None
    ) -> Result[Written, Error]:
        """Writes them into JSON files, one object a line; the same as `client.write_json`."""
        return self._client.write_json(self, url, partition_by=partition_by, options=options)

    def _query(self, plan: Plan) -> Query:
        return Query(self._client, plan)


class Query(Frame):
    """Steps over handles. It holds their leases."""

    __slots__ = ()

    def handle(self, *, ttl: float = 60.0) -> Result[Handle, Error]:
        """A handle of it. The handles that it is made of live until it is closed, also if they are closed before."""
        return self._client.lease(self, ttl)

    def __repr__(self) -> str:
        return f"Query({self.to_sql()!r})"

    def _repr_html_(self) -> str:
        """For notebooks."""
        return _notebook.query("Query", self._plan.columns, self.to_sql(), "query.collect()")


class Handle(Frame):
    """A query that the server keeps under a name, for any scheduler of the cluster, and runs when rows are asked for.

    The client renews its lease. Closed, also as a context, it is gone from the server; dropped without that, it goes by
    itself when its lease runs out. Used after that it is an error of kind `NOT_FOUND`.

    Attributes:
        id: The name of its table in the schema `handle`: `SELECT * FROM handle.h_…`.
        columns: The names of its columns.
        schema: Its columns and their types, as Arrow names them.
        rejected: Of an upload, the first rows that did not fit and were left out.
        rejected_count: How many they are in all.
    """

    __slots__ = ("_lease", "columns", "id", "rejected", "rejected_count", "schema")

    def __init__(self, client: PolarwayClient, opened: Opened) -> None:
        self.id: str = opened.lease.id
        self.columns: list[str] = [name for name, _ in opened.columns]
        self.schema: dict[str, str] = dict(opened.columns)
        self.rejected: tuple[Rejected, ...] = ()
        self.rejected_count: int = 0
        self._lease = opened.lease
        super().__init__(client, plans.table(f"handle.{identifier(self.id)}", self.columns, (self._lease,)))

    def without(self, rejections: Rejections) -> Self:
        """The same, of rows of which these were left out."""
        self.rejected, self.rejected_count = rejections.kept(), rejections.count
        return self

    def close(self) -> None:
        """Frees it on the server, in 2 s at most and without errors: at worst it goes when its lease runs out."""
        self._client._free(self._lease)  # pyright: ignore[reportPrivateUsage]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Handle({self.id}: {', '.join(f'{name} {type_}' for name, type_ in self.schema.items())})"

    def _repr_html_(self) -> str:
        """For notebooks."""
        return _notebook.handle(f"Handle {self.id}", self.schema, "handle.collect()")
