"""What `python_client.py` measures, one way in one process.

    python_ways.py JSON          # {"way": "fetch_arrow_ours", "server": "HOST:PORT", …}

A way connects and warms up before the clock starts, and its answer is looked at after the clock and the memory have
been read. Prints one JSON object: `seconds` of the clock, `cpu_seconds` that this process computed, `calls` in them,
`answer`, which all ways of a line have to agree on, `peak_bytes` of this process's memory, `base_bytes` of it before
the way began, and `more` figures that a way has.
"""

from __future__ import annotations

import asyncio
import contextlib
import glob
import importlib
import json
import resource
import sys
import threading
import time
from dataclasses import dataclass, field

# A tick of the event loop that is waited for, in seconds.
TICK = 0.001


@dataclass
class Measured:
    """What the clocks said, and a function that looks at what came out."""

    clocks: tuple[float, float]
    answer: object
    calls: int = 1
    more: dict = field(default_factory=dict)


class Clocks:
    """Seconds since it was made, and those that this process computed meanwhile on all cores."""

    def __init__(self):
        self._began = time.perf_counter(), time.process_time()

    def read(self):
        return time.perf_counter() - self._began[0], time.process_time() - self._began[1]


def timed(run, answer):
    """Runs it once by the clocks."""
    clocks = Clocks()
    found = run()
    return Measured(clocks.read(), lambda: answer(found))


# Fetching


def fetch_ours(form):
    from polarway import PolarwayClient

    def measure(job):
        with PolarwayClient(job["server"]) as client:
            give = {
                "arrow": lambda t: t.to_arrow(),
                "polars": lambda t: t.to_polars(),
                "pandas": lambda t: t.to_pandas(),
            }
            give[form](client.raising.query(f"{job['sql']} LIMIT 1"))
            return timed(lambda: give[form](client.raising.query(job["sql"])), fetched)

    return measure


def fetch_adbc(form):
    import adbc_driver_flightsql.dbapi as flightsql

    def measure(job):
        give = {"arrow": "fetch_arrow_table", "polars": "fetch_polars", "pandas": "fetch_df"}[form]

        def ask(sql):
            cursor.execute(sql)
            return getattr(cursor, give)()

        with flightsql.connect(f"grpc://{job['server']}", autocommit=True) as connection, connection.cursor() as cursor:
            ask(f"{job['sql']} LIMIT 1")
            return timed(lambda: ask(job["sql"]), fetched)

    return measure


def fetched(rows):
    """The number of rows, and the sum of their ids and the texts' length."""
    import pyarrow.compute

    if hasattr(rows, "to_arrow") or hasattr(rows, "combine_chunks"):
        table = rows.to_arrow() if hasattr(rows, "to_arrow") else rows
        texts = pyarrow.compute.sum(pyarrow.compute.utf8_length(table["word"].cast(pyarrow.large_string()))).as_py()
        return [table.num_rows, pyarrow.compute.sum(table["id"]).as_py(), texts]
    return [len(rows), int(rows["id"].sum()), int(rows["word"].str.len().sum())]


# Many files


def files(job):
    return sorted(glob.glob(f"{job['files']}/*.parquet"))


def files_ours(aggregate):
    """`batch_read` and `batch_collect`; of the aggregate, one query over each handle."""
    from polarway import AsyncPolarwayClient

    async def measure(job):
        paths = files(job)
        async with AsyncPolarwayClient(job["server"]) as client:
            (await client.raising.query(f"SELECT * FROM '{paths[0]}' LIMIT 1")).to_polars()
            clocks = Clocks()
            handles = await client.raising.batch_read(paths)
            asked = [grouped(handle) for handle in handles] if aggregate else handles
            frames = [table.to_polars() for table in await client.raising.batch_collect(asked)]
            if aggregate:
                frames = [merged(frames)]
            took = clocks.read()
            return Measured(took, lambda: counted(frames, aggregate))

    return lambda job: asyncio.run(measure(job))


def files_one_query(aggregate):
    """The same files as one pattern, in one query."""
    from polarway import PolarwayClient

    def measure(job):
        with PolarwayClient(job["server"]) as client:
            client.raising.query(f"SELECT * FROM '{files(job)[0]}' LIMIT 1").to_polars()

            def run():
                handle = client.raising.read_parquet(f"{job['files']}/*.parquet")
                asked = grouped(handle) if aggregate else handle
                frame = asked.collect().unwrap().to_polars()
                return [merged([frame])] if aggregate else [frame]

            return timed(run, lambda frames: counted(frames, aggregate))

    return measure


def files_polars_loop(aggregate):
    import polars

    def measure(job):
        paths = files(job)
        polars.scan_parquet(paths[0]).head(1).collect()

        def run():
            if not aggregate:
                return [polars.read_parquet(path) for path in paths]
            return [merged([grouped_by_polars(polars.scan_parquet(path)) for path in paths])]

        return timed(run, lambda frames: counted(frames, aggregate))

    return measure


def files_polars_scan(aggregate):
    import polars

    def measure(job):
        paths = files(job)
        polars.scan_parquet(paths[0]).head(1).collect()

        def run():
            scan = polars.scan_parquet(paths)
            return [merged([grouped_by_polars(scan)]) if aggregate else scan.collect()]

        return timed(run, lambda frames: counted(frames, aggregate))

    return measure


def grouped(handle):
    from polarway import col

    return handle.group_by("word").agg(rows="count(*)", total=col("id").sum())


def grouped_by_polars(scan):
    import polars

    return scan.group_by("word").agg(rows=polars.len().cast(polars.Int64), total=polars.col("id").sum()).collect()


def merged(frames):
    """One frame of the groups of several, in order."""
    import polars

    return polars.concat(frames).group_by("word").agg(polars.col("rows").sum(), polars.col("total").sum()).sort("word")


def counted(frames, aggregate):
    if aggregate:
        [frame] = frames
        return [frame.height, int(frame["rows"].sum()), int(frame["total"].sum())]
    return [sum(frame.height for frame in frames), sum(int(frame["id"].sum()) for frame in frames)]


# Many at once


class Ticker:
    """The longest time for which the event loop served nothing else, and the most that its thread computed meanwhile.

    The former has whatever else kept the thread from a core, such as a server on the same machine; the latter has not.
    """

    def __init__(self):
        self.longest = self.longest_cpu = 0.0

    async def run(self):
        while True:
            began, began_cpu = time.perf_counter(), time.thread_time()
            await asyncio.sleep(TICK)
            self.longest = max(self.longest, time.perf_counter() - began - TICK)
            self.longest_cpu = max(self.longest_cpu, time.thread_time() - began_cpu)


def many_ours(job):
    return asyncio.run(many_tasks(job))


async def many_tasks(job):
    """So many tasks at once, each of which awaits one query after the other."""
    from polarway import AsyncPolarwayClient

    async with AsyncPolarwayClient(job["server"]) as client:
        left = iter(range(job["calls"]))
        answers = set()

        async def task():
            for _ in left:
                answers.add(json.dumps((await client.query(job["sql"])).unwrap().texts()))

        (await client.query(job["sql"])).unwrap()
        ticker = Ticker()
        ticking = asyncio.create_task(ticker.run())
        clocks = Clocks()
        await asyncio.gather(*(task() for _ in range(job["at_once"])))
        took = clocks.read()
        ticking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await ticking
        more = {"longest_block_ms": ticker.longest * 1000, "longest_block_cpu_ms": ticker.longest_cpu * 1000}
        return Measured(took, lambda: sorted(answers), calls=job["calls"], more=more)


def many_adbc(job):
    """So many threads, each of which has a connection; all connect before the clock starts."""
    import adbc_driver_flightsql.dbapi as flightsql

    left = iter(range(job["calls"]))
    lock, answers, failures = threading.Lock(), set(), []
    ready = threading.Barrier(job["at_once"] + 1)

    def thread():
        try:
            with (
                flightsql.connect(f"grpc://{job['server']}", autocommit=True) as connection,
                connection.cursor() as cursor,
            ):
                cursor.execute(job["sql"])
                cursor.fetchall()
                ready.wait()
                while True:
                    with lock:
                        if next(left, None) is None:
                            break
                    cursor.execute(job["sql"])
                    answers.add(json.dumps([[str(value) for value in row] for row in cursor.fetchall()]))
        except BaseException as error:
            failures.append(error)
            ready.abort()
            raise

    threads = [threading.Thread(target=thread) for _ in range(job["at_once"])]
    for one in threads:
        one.start()
    with contextlib.suppress(threading.BrokenBarrierError):
        ready.wait()
    clocks = Clocks()
    for one in threads:
        one.join()
    took = clocks.read()
    if failures:
        raise failures[0]
    return Measured(took, lambda: sorted(answers), calls=job["calls"])


# Importing


def importing(job):
    """What this process has loaded already costs nothing more, so another one, which has loaded nothing, tells."""
    import subprocess

    program = (
        "import time\nbegan, computed = time.perf_counter(), time.process_time()\n"
        f"import {job['module']}\nprint(time.perf_counter() - began, time.process_time() - computed)\n"
        "try:\n    print(*[line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')])\n"
        "except OSError:\n    print()\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    seconds, computed, *peak = ended.stdout.split()
    more = {"peak_bytes": int(peak[0]) * 1024} if peak else {}
    return Measured((float(seconds), float(computed)), lambda: None, more=more)


def push(job):
    """The three ways of `python_push.py`, in turn."""
    import python_push

    rates = asyncio.run(python_push.measured(job["server"], job["ws"], job["rows"], job["repeats"]))
    return Measured((0.0, 0.0), lambda: rates)


# Data


def make(job):
    """Parquet files with a number, a float, a time and a short text in each row: one of all rows, and many of fewer."""
    import pathlib

    directory = pathlib.Path(job["data"])
    directory.mkdir(parents=True, exist_ok=True)
    clocks = Clocks()
    write(directory / "fetch.parquet", 0, job["rows"])
    write(directory / "small.parquet", 0, 1000)
    numbers = sorted(job["files"])
    for number in range(numbers[-1] if numbers else 0):
        rows, name = job["file_rows"], f"part-{number:04}.parquet"
        first = None
        for among in (among for among in numbers if number < among):
            target = directory / f"files-{among}" / name
            target.parent.mkdir(exist_ok=True)
            if first is None:
                write(target, number * rows, rows)
                first = target
            else:
                target.unlink(missing_ok=True)
                target.hardlink_to(first)
    return Measured(clocks.read(), lambda: None)


def write(path, start, rows):
    """In row groups of so many rows, so that what is held stays small."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    words = pa.array([f"sensor-{number}" for number in range(1000)])
    schema = pa.schema({"id": pa.int64(), "value": pa.float64(), "at": pa.timestamp("us"), "word": pa.string()})
    with pq.ParquetWriter(path, schema) as writer:
        for begin in range(start, start + rows, 1_000_000):
            ids = pa.array(range(begin, min(begin + 1_000_000, start + rows)), pa.int64())
            value = pc.multiply(ids.cast(pa.float64()), 0.37)
            at = pc.add(pc.multiply(ids, 1000), 1_700_000_000_000_000).cast(pa.timestamp("us"))
            # Neither sorted nor in the order of the ids, as what sensors send is not.
            picked = pc.bit_wise_and(pc.multiply(ids, 7919), 1023)
            word = words.take(pc.min_element_wise(picked, 999))
            writer.write_table(pa.table([ids, value, at, word], schema=schema))


WAYS = {
    **{f"fetch_{form}_ours": (fetch_ours, form) for form in ("arrow", "polars", "pandas")},
    **{f"fetch_{form}_adbc": (fetch_adbc, form) for form in ("arrow", "polars", "pandas")},
    **{
        f"{kind}_{name}": (way, kind == "aggregate")
        for kind in ("scan", "aggregate")
        for name, way in {
            "batch": files_ours,
            "one_query": files_one_query,
            "polars_loop": files_polars_loop,
            "polars_scan": files_polars_scan,
        }.items()
    },
    "many_ours": (lambda: many_ours,),
    "many_adbc": (lambda: many_adbc,),
    "import": (lambda: importing,),
    "push": (lambda: push,),
    "make": (lambda: make,),
}


def memory():
    """The most bytes that this process has held, and those that it holds, as far as the system tells.

    `ru_maxrss` counts what the parent held before this program was begun, so it is the second choice.
    """
    try:
        with open("/proc/self/status") as status:
            told = dict(line.split(":", 1) for line in status)
        return tuple(int(told[name].split()[0]) * 1024 for name in ("VmHWM", "VmRSS"))
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return (peak if sys.platform == "darwin" else peak * 1024), 0


def main():
    job = json.loads(sys.argv[1])
    for module in job.get("imports", ()):
        importlib.import_module(module)
    make_way, *arguments = WAYS[job["way"]]
    measure = make_way(*arguments)
    _, base = memory()
    measured = measure(job)
    peak, _ = memory()
    print(
        json.dumps(
            {
                "seconds": measured.clocks[0],
                "cpu_seconds": measured.clocks[1],
                "calls": measured.calls,
                "peak_bytes": measured.more.pop("peak_bytes", peak),
                "base_bytes": base,
                "more": measured.more,
                "answer": measured.answer(),
            }
        )
    )


if __name__ == "__main__":
    main()
