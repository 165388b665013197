"""Apache Spark as a peer: SQL over temporary views, in local mode with its JVM as a child process."""

from __future__ import annotations

import argparse
import os
import shutil

from peer import serve
from pyspark import __version__
from pyspark.sql import SparkSession
from spark_sql import SparkSql

MEBIBYTE = 1 << 20


class Spark(SparkSql):
    name = "spark"

    def __init__(self, partitions: int) -> None:
        if not has_java():
            raise RuntimeError("no Java runtime is installed, and Spark needs one")
        session = (
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
        super().__init__(session)
        java = session.sparkContext._jvm.java.lang.System.getProperty("java.version")
        self.version = f"{__version__} (Java {java})"


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
