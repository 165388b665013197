"""Polars as a peer: SQL over lazy scans, and its own readers."""

from __future__ import annotations

import polars as pl
from peer import Client, serve


class Polars:
    name = "polars"
    version = pl.__version__

    def __init__(self) -> None:
        self._tables: dict[str, str] = {}

    def table(self, name: str, path: str) -> None:
        pl.scan_parquet(path).collect_schema()
        self._tables[name] = path

    def client(self) -> Client:
        context = pl.SQLContext({name: pl.scan_parquet(path) for name, path in self._tables.items()})
        return lambda sql: context.execute(sql, eager=True).height

    def read(self, paths: list[str], how: str) -> int:
        match how:
            case "each":
                # All frames are kept, as a caller does who wants the data.
                return sum(frame.height for frame in [pl.read_parquet(path) for path in paths])
            case "scan":
                return pl.scan_parquet(paths).collect().height
            case _:
                raise ValueError(f"unknown way to read {how}")


if __name__ == "__main__":
    serve(Polars)
