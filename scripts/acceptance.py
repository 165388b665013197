"""Turns a nextest log and a list of tests into docs/acceptance.md: one line for each acceptance row.

usage: acceptance.py LOG LIST OUT

LOG is what `cargo nextest run` printed, LIST what `cargo nextest list --message-format json` did.
"""

import json
import re
import sys

ROWS = {
    1: "Distributed SQL", 2: "Routing", 3: "Streaming results", 4: "Files", 5: "DDL, catalog",
    6: "Prepared statements, parameters", 7: "Cancel, deadline", 8: "Admission, backpressure",
    9: "Bigger than memory", 10: "Concurrency", 11: "Path and URL policy",
    12: "etcd membership", 13: "Scheduler failover", 14: "Executor loss", 15: "Network partition",
    16: "S3 shuffle", 17: "Store faults", 18: "Scale out", 19: "Drain", 20: "Faults for an hour",
    21: "Retry, idempotent submit", 22: "Push feed", 23: "Pull feed", 24: "No loss", 25: "Freshness",
    26: "Flush by size or time", 27: "Dedicated role", 28: "Hot and cold are one", 29: "Memory",
    30: "Windows, time series", 31: "Result, Option", 32: "traverse, sequence", 33: "Connect, close",
    34: "batch_read", 35: "batch_collect, stream", 36: "Uploads", 37: "Named tables, append",
    38: "query", 39: "write_parquet partitioned", 40: "ping, heartbeat", 41: "CircuitBreaker",
    42: "Handle lease", 43: "Streams in clients", 44: "Examples", 45: "Rust client", 46: "Helm",
    49: "Web page",
}

LINE = re.compile(r"\s*(PASS|FAIL|TIMEOUT|SIG[A-Z]+|ABORT|LEAK-FAIL)\s+\[.*?\]\s+(?:\(.*?\)\s+)?(\S+)\s+(\S+)")

Tests = dict[int, set[str]]


def add(tests: Tests, name: str) -> None:
    row = re.search(r"row_(\d+)", name)
    if row:
        tests.setdefault(int(row.group(1)), set()).add(name)


def outcomes(log: str) -> tuple[Tests, Tests]:
    """The tests of each row that passed, and those that did not."""
    passed: Tests = {}
    failed: Tests = {}
    for line in open(log, encoding="utf-8"):
        found = LINE.match(line)
        if found:
            add(passed if found.group(1) == "PASS" else failed, found.group(3))
    return passed, failed


def ignored(listed: str) -> Tests:
    """The tests of each row that no run includes."""
    tests: Tests = {}
    with open(listed, encoding="utf-8") as file:
        suites = json.load(file)["rust-suites"]
    for suite in suites.values():
        for name, case in suite["testcases"].items():
            if case["ignored"]:
                add(tests, name)
    return tests


def state(good: set[str], bad: set[str], left_out: set[str]) -> str:
    if bad:
        return "fails"
    if left_out:
        return "incomplete"
    return "passes" if good else "no test yet"


def summary(good: set[str], bad: set[str], left_out: set[str]) -> str:
    parts = [f"{len(good)} passed"] if good or bad or left_out else []
    for what, names in (("failed", bad), ("ignored", left_out)):
        if names:
            parts.append(f"{len(names)} {what}: {', '.join(sorted(names))}")
    return ", ".join(parts)


def main(log: str, listed: str, out: str) -> None:
    passed, failed = outcomes(log)
    left_out = ignored(listed)
    lines = [
        "# Acceptance rows", "",
        "Written by `make acceptance`. A row is true when all tests that carry its number run and pass; with an ignored one",
        "it is incomplete. Rows without a test belong to parts of Polarway that do not exist yet.", "",
        "| row | feature | state | tests |", "|---|---|---|---|",
    ]
    for number in sorted(set(ROWS) | set(passed) | set(failed) | set(left_out)):
        row = [tests.get(number, set()) for tests in (passed, failed, left_out)]
        lines.append(f"| {number} | {ROWS.get(number, '')} | {state(*row)} | {summary(*row)} |")
    with open(out, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:4])
