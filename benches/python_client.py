#!/usr/bin/env python3
"""Measures the Python client beside others on the same running server: ours and the others in turn, so many times.

    benches/python_client.py --server HOST:PORT --data DIRECTORY [--out RESULTS.json] [--rows 10000000] [--repeats 5]

The server is a `polarway up --allow DIRECTORY …` on this machine; Parquet files are made in the directory. It takes
the package `polarway` as it is installed or on PYTHONPATH, pyarrow, pandas, polars, and adbc-driver-flightsql in the
version of tests/python/adbc-requirements.txt. Another version is an error, and so are ways of one line that differ in
their answer.

    fetch      --rows rows of four columns to Arrow, Polars and pandas: ours, ADBC for Flight SQL
    files      10, 50, 100 Parquet files, all rows or groups: batch_read and batch_collect, one query over a pattern,
               Polars in a loop, Polars in one scan
    many       --at-once queries at once: tasks of one event loop, ADBC in as many threads, and in 32
    import     the time of `import polarway`, beside that of others
    push       rows of a live table, with --ws: the ways of python_push.py

Each measurement has a process of its own, which is connected and has asked once before the clock starts. A first
round, of which nothing is kept, warms the system's caches. Prints a line a way: the median, the smallest and the
largest time, how many times the first way of its line the median is (above 1: the first is faster), the median of
what the client's process computed on all cores, and its largest resident memory. --out gets all samples and the facts
of the machine.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
import re
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
PINS = HERE.parent / "tests" / "python" / "adbc-requirements.txt"
LINES = ("fetch", "files", "many", "import", "push")
PACKAGES = ("polarway", "pyarrow", "polars", "pandas", "adbc-driver-flightsql", "adbc-driver-manager", "websockets")
# Of an import, which takes milliseconds.
IMPORTS = 10


def child(job, timeout):
    """What one process measured."""
    command = [sys.executable, str(HERE / "python_ways.py"), json.dumps(job)]
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=timeout)
    return json.loads(ended.stdout)


def fetches(args):
    for form in ("arrow", "polars", "pandas"):
        jobs = {
            "ours": {"way": f"fetch_{form}_ours"},
            "adbc": {"way": f"fetch_{form}_adbc"},
        }
        sql = f"SELECT * FROM '{args.data}/fetch.parquet'"
        yield f"{args.rows:,} rows to {form}", {name: {**job, "sql": sql} for name, job in jobs.items()}


def many_files(args):
    for kind in ("scan", "aggregate"):
        for number in args.files:
            jobs = {
                "ours: batch": {"way": f"{kind}_batch"},
                "ours: one query": {"way": f"{kind}_one_query"},
                "polars in a loop": {"way": f"{kind}_polars_loop"},
                "polars, one scan": {"way": f"{kind}_polars_scan"},
            }
            title = f"{number} files of {args.file_rows:,} rows, {'all rows' if kind == 'scan' else 'groups'}"
            yield title, {name: {**job, "files": f"{args.data}/files-{number}"} for name, job in jobs.items()}


def many_calls(args):
    common = {"sql": f"SELECT count(*) AS n, max(id) AS last FROM '{args.data}/small.parquet'", "calls": args.calls}
    yield (
        f"{args.calls:,} small queries",
        {
            f"ours: {args.at_once} tasks": {"way": "many_ours", "at_once": args.at_once, **common},
            f"adbc: {args.at_once} threads": {"way": "many_adbc", "at_once": args.at_once, **common},
            "adbc: 32 threads": {"way": "many_adbc", "at_once": 32, **common},
        },
    )


def imports(_):
    modules = {"polarway": "polarway", "adbc": "adbc_driver_flightsql.dbapi", "pyarrow": "pyarrow", "polars": "polars"}
    yield "import", {name: {"way": "import", "module": module} for name, module in modules.items()}


KINDS = {"fetch": fetches, "files": many_files, "many": many_calls, "import": imports}


def compare(title, jobs, repeats, args):
    """Samples of each way, taken in turn.

    Raises:
        ValueError: the ways differ in their answer.
    """
    samples = {name: [] for name in jobs}
    answers = {}
    for round_ in range(repeats + 1):
        for name, job in jobs.items():
            sample = child({"server": args.server, **job}, args.timeout)
            answers[name] = sample.pop("answer")
            if answers[name] != next(iter(answers.values())):
                raise ValueError(f"{title}: the answers differ: {answers}")
            if round_ > 0:
                samples[name].append(sample)
    return [{"line": title, "way": name, "samples": samples[name]} for name in jobs]


def figures(ways):
    """Adds to each way its median, and the ratio to the first one's."""
    for way in ways:
        each = [sample["seconds"] / sample["calls"] for sample in way["samples"]]
        way["median_seconds"], way["min_seconds"], way["max_seconds"] = statistics.median(each), min(each), max(each)
        way["cpu_seconds"] = statistics.median(sample["cpu_seconds"] / sample["calls"] for sample in way["samples"])
        way["ratio"] = way["median_seconds"] / ways[0]["median_seconds"]
        way["peak_bytes"] = max(sample["peak_bytes"] for sample in way["samples"])
        for name in way["samples"][0]["more"]:
            way[name] = max(sample["more"][name] for sample in way["samples"])


def time_text(seconds):
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.3g} ms"


def show(way):
    spread = f"({time_text(way['min_seconds'])} to {time_text(way['max_seconds'])})"
    told = f"{way['line']:38} {way['way']:20} {time_text(way['median_seconds']):>9} {spread:24}"
    told += f" {way['ratio']:6.2f}x, CPU {time_text(way['cpu_seconds']):>7}, {way['peak_bytes'] / 2**20:,.0f} MiB"
    if way["samples"][0]["calls"] > 1:
        told += f"  {1 / way['median_seconds']:,.0f} queries/s"
    if "longest_block_ms" in way:
        told += f"  longest block of the loop {way['longest_block_ms']:.1f} ms"
        told += f", of which it computed {way['longest_block_cpu_ms']:.1f} ms at most"
    print(told, flush=True)


def show_push(rates):
    base = statistics.median(next(iter(rates.values())))
    for way, each in rates.items():
        median = statistics.median(each)
        spread = f"({min(each):,.0f} to {max(each):,.0f})"
        print(f"{'push':38} {way:28} {median:10,.0f} rows/s {spread}, {median / base:.1f}x", flush=True)


def read(path):
    try:
        return pathlib.Path(path).read_text()
    except OSError:
        return ""


def version(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def commit():
    def git(*arguments):
        return subprocess.run(["git", *arguments], cwd=HERE, capture_output=True, text=True).stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no")
    return f"{git('rev-parse', 'HEAD')}{'-dirty' if changed else ''}"


def machine():
    """Without these a figure says nothing. What the system does not tell is None."""
    model = re.search(r"^model name\s*:\s*(.*)$", read("/proc/cpuinfo"), re.MULTILINE)
    memory = re.search(r"^MemTotal:\s*(\d+) kB", read("/proc/meminfo"), re.MULTILINE)
    return {
        "cpu": model[1] if model else platform.processor() or None,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_bytes": int(memory[1]) * 1024 if memory else None,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "packages": {package: version(package) for package in PACKAGES},
        "commit": commit(),
        "load": list(os.getloadavg()),
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }


def check_pins():
    """Raises:
    SystemExit: a version is not the one that the tests have.
    """
    for line in PINS.read_text().splitlines():
        package, _, wanted = line.partition("==")
        if package.startswith("adbc") and version(package) != wanted:
            raise SystemExit(f"{package} is {version(package)}, and has to be {wanted}: pip install -r {PINS}")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", required=True, help="where SQL is taken, HOST:PORT")
    parser.add_argument("--data", required=True, type=pathlib.Path, help="directory that the server may read")
    parser.add_argument("--ws", help="where rows of live tables are taken, HOST:PORT")
    parser.add_argument("--lines", default=",".join(LINES), help=f"what to measure, of {','.join(LINES)}")
    parser.add_argument("--rows", type=int, default=10_000_000, help="that are fetched")
    parser.add_argument("--files", default="10,50,100", help="how many files")
    parser.add_argument("--file-rows", type=int, default=100_000, help="in each of them")
    parser.add_argument("--at-once", type=int, default=500, help="queries")
    parser.add_argument("--calls", type=int, default=5_000, help="queries in all")
    parser.add_argument("--push-rows", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds for one measurement")
    parser.add_argument("--artifact", type=pathlib.Path, help="wheel or native module, whose size is told")
    parser.add_argument("--note", help="kept with the results, such as how the server was built")
    parser.add_argument("--out", type=pathlib.Path, help="file for all samples, as JSON")
    args = parser.parse_args()
    args.data = args.data.resolve()
    args.files = [int(number) for number in args.files.split(",") if number]
    args.lines = args.lines.split(",")
    if unknown := set(args.lines) - set(LINES):
        parser.error(f"there are no lines {', '.join(sorted(unknown))}")
    if args.repeats < 1:
        parser.error("--repeats has to be 1 or more")
    return args


def main():
    args = arguments()
    check_pins()
    # The load is told for both ends, since other work of the machine slows all down.
    facts = machine()
    made = {"way": "make", "data": str(args.data), "rows": args.rows, "files": args.files, "file_rows": args.file_rows}
    child(made, args.timeout)
    results = {"machine": facts, "arguments": {name: str(value) for name, value in vars(args).items()}, "results": []}
    for kind in (kind for kind in KINDS if kind in args.lines):
        for title, jobs in KINDS[kind](args):
            ways = compare(title, jobs, max(args.repeats, IMPORTS) if kind == "import" else args.repeats, args)
            figures(ways)
            results["results"] += ways
            for way in ways:
                show(way)
    if "push" in args.lines and args.ws:
        job = {"way": "push", "server": args.server, "ws": args.ws, "rows": args.push_rows, "repeats": args.repeats}
        results["push_rows_per_second"] = child(job, args.timeout)["answer"]
        show_push(results["push_rows_per_second"])
    if args.artifact:
        results["artifact_bytes"] = args.artifact.stat().st_size
        print(f"{args.artifact.name}: {results['artifact_bytes'] / 2**20:.1f} MiB")
    facts["load_after"] = list(os.getloadavg())
    print(json.dumps(facts))
    if args.out:
        args.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
