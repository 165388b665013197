"""Turns a nextest log into docs/acceptance.md: one line for each acceptance row."""

import re
import sys

ROWS = {
    1: "Distributed SQL", 2: "Routing", 3: "Streaming results", 4: "Files", 5: "DDL, catalog",
    6: "Prepared statements, parameters", 7: "Cancel, deadline", 8: "Admission, backpressure",
    9: "Bigger than memory", 10: "Concurrency", 11: "Path and URL policy",
}


def main(log: str, out: str) -> None:
    passed: dict[int, set[str]] = {}
    failed: dict[int, set[str]] = {}
    for line in open(log, encoding="utf-8"):
        found = re.match(r"\s*(PASS|FAIL|TIMEOUT|SIGKILL|SIGABRT|SIGSEGV)\s+\[.*?\]\s+(?:\(.*?\)\s+)?(\S+)\s+(\S+)", line)
        row = found and re.search(r"row_(\d+)", found.group(3))
        if not row:
            continue
        table = passed if found.group(1) == "PASS" else failed
        table.setdefault(int(row.group(1)), set()).add(found.group(3))
    lines = [
        "# Acceptance rows", "",
        "Written by `make acceptance`. A row is true when all tests that carry its number pass; rows without a test",
        "belong to parts of Polarway that do not exist yet.", "",
        "| row | feature | state | tests |", "|---|---|---|---|",
    ]
    for number in sorted(set(ROWS) | set(passed) | set(failed)):
        good, bad = passed.get(number, set()), failed.get(number, set())
        state = "fails" if bad else "passes" if good else "no test yet"
        tests = f"{len(good)} passed" + (f", {len(bad)} failed: {', '.join(sorted(bad))}" if bad else "")
        lines.append(f"| {number} | {ROWS.get(number, '')} | {state} | {tests if good or bad else ''} |")
    with open(out, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
