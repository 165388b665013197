"""The line protocol of the benchmark's peers, for engines in Python.

A peer prints one JSON answer that says it is ready, then reads one JSON request a line from standard input and
prints one JSON answer a line until its input ends. It times its own work. The Rust side is `benches/src/peers`.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Protocol

Client = Callable[[str], int]
"""Runs an SQL text, reads the whole answer, and returns its number of rows."""

PAUSE_AFTER_FAILURE = 0.02
MESSAGE_LENGTH = 300


class Engine(Protocol):
    """What a peer does; requests that it has no meaning for raise."""

    name: str
    version: str

    def table(self, name: str, path: str) -> None:
        """Makes a Parquet file, or a directory of them, known as `name`."""

    def client(self) -> Client:
        """A client for one thread."""

    def read(self, paths: list[str], how: str) -> int:
        """Reads whole files, one after another (`each`) or as one (`scan`), and returns the number of rows."""


def serve(start: Callable[[], Engine]) -> None:
    """Starts the engine and answers requests until standard input ends. If it does not start, the answer says why."""
    try:
        engine = start()
    except Exception as error:  # noqa: BLE001 - whatever it is, it belongs into the record
        answer({"answer": "error", "message": short(error)})
        sys.exit(1)
    answer({"answer": "ready", "engine": engine.name, "version": engine.version})
    for line in sys.stdin:
        try:
            answer(perform(engine, json.loads(line)))
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs into the record
            answer({"answer": "error", "message": short(error)})


def perform(engine: Engine, ask: dict[str, Any]) -> dict[str, Any]:
    match ask["ask"]:
        case "table":
            engine.table(ask["name"], ask["path"])
            return {"answer": "done"}
        case "query":
            client, sql = engine.client(), ask["sql"]
            return sample(lambda: client(sql), ask["patience_seconds"])
        case "load":
            clients = [engine.client() for _ in range(ask["clients"])]
            return load(clients, ask["sql"], ask["seconds"], ask["patience_seconds"])
        case "read":
            return sample(lambda: engine.read(ask["paths"], ask["how"]))
        case other:
            raise ValueError(f"unknown request {other}")


def sample(work: Callable[[], int], patience: float | None = None) -> dict[str, Any]:
    """Times one piece of work. It cannot be broken off here, so what took too long fails when it is over."""
    begin = time.perf_counter()
    rows = work()
    elapsed = time.perf_counter() - begin
    if patience is not None and elapsed > patience:
        raise TimeoutError(f"no answer in {patience:g} s")
    return {"answer": "sample", "millis": round(elapsed * 1000, 3), "rows": rows}


def load(clients: list[Client], sql: str, seconds: float, patience: float) -> dict[str, Any]:
    """Lets every client, in a thread of its own, send `sql` back to back; requests under way at the end are
    waited for."""
    samples: list[list[float]] = [[] for _ in clients]
    failures: Counter[str] = Counter()
    rows: list[int] = []
    lock = threading.Lock()
    begin = time.perf_counter()

    def run(client: Client, mine: list[float]) -> None:
        while time.perf_counter() < begin + seconds:
            try:
                timed = sample(lambda: client(sql), patience)
            except Exception as error:  # noqa: BLE001 - counted by its text
                with lock:
                    failures[short(error)] += 1
                time.sleep(PAUSE_AFTER_FAILURE)
            else:
                mine.append(timed["millis"])
                rows[:] = [timed["rows"]]

    threads = [threading.Thread(target=run, args=pair) for pair in zip(clients, samples, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {
        "answer": "load",
        "seconds": time.perf_counter() - begin,
        "samples_ms": [one for mine in samples for one in mine],
        "rows": rows[0] if rows else None,
        "failures": [{"message": message, "count": count} for message, count in failures.items()],
    }


def answer(what: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def short(error: BaseException) -> str:
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= MESSAGE_LENGTH else text[:MESSAGE_LENGTH] + "…"
