"""Sail as a peer: SQL over temporary views by Spark Connect, with Sail's server as a child process.

Started as `peer_sail.py server` this program is that server: it prints its port and ends with its standard input,
so that it never outlives the peer.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

from peer import serve
from pysail import __version__
from pysail.spark import SparkConnectServer
from pyspark.sql import SparkSession
from spark_sql import SparkSql

SERVER = "server"


class Sail(SparkSql):
    name = "sail"
    version = __version__

    def __init__(self, partitions: int, workers: int) -> None:
        self._server = subprocess.Popen(
            [sys.executable, __file__, SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | settings(partitions, workers),
            text=True,
        )
        port = self._server.stdout.readline().strip() if self._server.stdout else ""
        if not port:
            raise RuntimeError(f"Sail's server ended with code {self._server.wait()}")
        super().__init__(SparkSession.builder.remote(f"sc://127.0.0.1:{port}").getOrCreate())


def settings(partitions: int, workers: int) -> dict[str, str]:
    """Sail's configuration: its local mode, or with workers its cluster in one process."""
    local = {"SAIL_EXECUTION__DEFAULT_PARALLELISM": str(partitions)}
    if workers == 0:
        return local
    # A worker keeps as many slots as it has by default: Sail wants one for each stage that runs at the same time.
    count = {f"SAIL_CLUSTER__WORKER_{bound}_COUNT": str(workers) for bound in ("INITIAL", "MAX")}
    return local | count | {"SAIL_MODE": "local-cluster"}


def run_server() -> None:
    # The harness names a child process in its records by this.
    with open("/proc/self/comm", "w") as name:
        name.write(SERVER)
    server = SparkConnectServer()
    server.start(background=True)
    print(server.listening_address[1], flush=True)
    sys.stdin.read()
    server.stop()


if __name__ == "__main__":
    if sys.argv[1:] == [SERVER]:
        run_server()
    else:
        arguments = argparse.ArgumentParser()
        arguments.add_argument("--partitions", type=int, required=True)
        arguments.add_argument("--workers", type=int, default=0)
        given = arguments.parse_args()
        serve(lambda: Sail(given.partitions, given.workers))
