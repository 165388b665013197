"""What peers have in common that are asked by a session of Spark's, whichever server is behind it."""

from __future__ import annotations

from peer import Client
from pyspark.sql import SparkSession


class SparkSql:
    def __init__(self, session: SparkSession) -> None:
        self._session = session

    def table(self, name: str, path: str) -> None:
        self._session.read.parquet(path).createOrReplaceTempView(name)

    def client(self) -> Client:
        return lambda sql: self._session.sql(sql).toArrow().num_rows

    def read(self, paths: list[str], how: str) -> int:
        if how != "scan":
            raise ValueError(f"unknown way to read {how}")
        return self._session.read.parquet(*paths).toArrow().num_rows
