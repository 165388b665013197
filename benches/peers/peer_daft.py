"""Daft as a peer: SQL over lazy scans, with its runner in this process."""

from __future__ import annotations

import argparse
import os

# Both are read when the package is loaded: no bar is drawn into the log, and nothing is reported to anyone.
os.environ |= {"DAFT_PROGRESS_BAR": "0", "DAFT_ANALYTICS_ENABLED": "0", "DO_NOT_TRACK": "1"}

import daft  # noqa: E402
from peer import Client, serve  # noqa: E402


class Daft:
    name = "daft"
    version = daft.__version__

    def __init__(self, partitions: int) -> None:
        daft.set_runner_native(num_threads=partitions)
        self._tables: dict[str, daft.DataFrame] = {}

    def table(self, name: str, path: str) -> None:
        self._tables[name] = daft.read_parquet(path)

    def client(self) -> Client:
        # Only the tables that are given are looked up: by default the caller's variables are tables too.
        return lambda sql: daft.sql(sql, register_globals=False, **self._tables).to_arrow().num_rows

    def read(self, paths: list[str], how: str) -> int:
        if how != "scan":
            raise ValueError(f"unknown way to read {how}")
        return daft.read_parquet(paths).to_arrow().num_rows


if __name__ == "__main__":
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--partitions", type=int, required=True)
    given = arguments.parse_args()
    serve(lambda: Daft(given.partitions))
