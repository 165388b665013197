"""DuckDB as a peer: SQL over Parquet views, a cursor a thread."""

from __future__ import annotations

import os

import duckdb
from peer import Client, serve


class DuckDb:
    name = "duckdb"
    version = duckdb.__version__

    def __init__(self) -> None:
        self._connection = duckdb.connect()

    def table(self, name: str, path: str) -> None:
        files = os.path.join(path, "*.parquet") if os.path.isdir(path) else path
        quoted = files.replace("'", "''")
        self._connection.execute(f"CREATE VIEW {name} AS SELECT * FROM read_parquet('{quoted}')")

    def client(self) -> Client:
        cursor = self._connection.cursor()
        return lambda sql: len(cursor.execute(sql).fetchall())

    def read(self, paths: list[str], how: str) -> int:
        raise NotImplementedError("this peer reads files by SQL only")


if __name__ == "__main__":
    serve(DuckDb)
