"""Apache Spark as a peer: SQL over temporary views, in local mode with its JVM as a child process."""

from __future__ import annotations

import argparse
import os
import shutil

from peer import Client, serve
from pyspark import __version__
from pyspark.sql import SparkSession

MEBIBYTE = 1 << 20


class Spark:
    name = "spark"

    def __init__(self, partitions: int) -> None:
        if not has_java():
            raise RuntimeError("no Java runtime is installed, and Spark needs one")
        self._session = (
            SparkSession.builder.master(f"local[{partitions}]")
            .appName("peer")
            # A JVM takes no more than its heap's limit, a gigabyte by default.
            .config("spark.driver.memory", f"{memory_limit() // MEBIBYTE}m")
            # By default an answer of more than a gigabyte is refused.
            .config("spark.driver.maxResultSize", "0")
            # 200 by default, which is meant for a cluster.
            .config("spark.sql.shuffle.partitions", str(partitions))
            .config("spark.driver.bindAddress", "127.0.0.1")
            .config("spark.driver.host", "127.0.0.1")
            .config("spark.ui.enabled", "false")
            .config("spark.ui.showConsoleProgress", "false")
            .getOrCreate()
        )
        java = self._session.sparkContext._jvm.java.lang.System.getProperty("java.version")
        self.version = f"{__version__} (Java {java})"

    def table(self, name: str, path: str) -> None:
        self._session.read.parquet(path).createOrReplaceTempView(name)

    def client(self) -> Client:
        return lambda sql: self._session.sql(sql).toArrow().num_rows

    def read(self, paths: list[str], how: str) -> int:
        if how != "scan":
            raise ValueError(f"unknown way to read {how}")
        return self._session.read.parquet(*paths).toArrow().num_rows


def has_java() -> bool:
    """Looked for where Spark looks for it."""
    home = os.environ.get("JAVA_HOME")
    return shutil.which("java", path=home and os.path.join(home, "bin")) is not None


def memory_limit() -> int:
    """The part of the machine's memory that Polarway's queries have by default."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 10 * 7


if __name__ == "__main__":
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--partitions", type=int, required=True)
    given = arguments.parse_args()
    serve(lambda: Spark(given.partitions))
