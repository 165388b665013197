#!/usr/bin/env python3
"""What copies of shuffle output cost, and what a death costs with them.

Starts an etcd, two schedulers and two executors of one slot, and runs TPC-H staged, the modes of the shuffle in turn; then a query
of several stages, undisturbed, with the death of an executor, and with the death of its scheduler. Prints one line a measurement.

    benches/survival.py --polarway PATH --data TPCH_DIRECTORY [--repeats 3] [--queries 3,5,9] [--part modes]
"""

import argparse
import csv
import json
import os
import pathlib
import re
import signal
import statistics
import subprocess
import tempfile
import threading
import time
import urllib.request

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
TABLES = ["lineitem", "orders", "customer", "supplier", "nation", "region", "part", "partsupp"]
TTL = 5
# Its first three stages are done soon, and its fourth takes its time.
LONG = """
SELECT count(*), sum(a.c + b.c)
FROM (SELECT l_orderkey % 30000 AS k, count(*) AS c FROM lineitem GROUP BY 1) a
JOIN (SELECT l_partkey % 60000 AS k, count(*) AS c FROM lineitem GROUP BY 1) b
  ON a.k * 3 + b.k * 7 + a.c > b.c * 11 + 40000"""
MODES = ["local", "write-behind", "durable"]


class Cluster:
    def __init__(self, binary, data, store, slots, more):
        self.binary, self.data, self.slots = binary, data, str(slots)
        self.home = tempfile.TemporaryDirectory(prefix="polarway-survival-")
        self.port = 20000 + os.getpid() % 10000
        self.processes = {}
        url = f"http://127.0.0.1:{self.port}"
        peer = f"http://127.0.0.1:{self.port + 1}"
        self.spawn("etcd", ["etcd", "--data-dir", self.path("etcd"), "--listen-client-urls", url,
                            "--advertise-client-urls", url, "--listen-peer-urls", peer,
                            "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}",
                            "--log-level", "error"])
        time.sleep(1)
        self.common = ["--allow", str(data), "--set", f"metastore.etcd={url}", "--set", f"metastore.lease_ttl={TTL}s",
                       "--set", f"shuffle.url={store or self.path('shuffle')}", *more]
        for number in (0, 1):
            self.scheduler(number)
        for number in (0, 1):
            self.executor(number)
        time.sleep(2)
        for table in TABLES:
            self.ask(f"CREATE EXTERNAL TABLE {table} STORED AS PARQUET LOCATION '{data}/{table}/'")

    def path(self, name):
        return os.path.join(self.home.name, name)

    def spawn(self, name, command):
        log = open(self.path(f"{name}.log"), "w")
        self.processes[name] = subprocess.Popen(command, stdout=log, stderr=log)

    def scheduler(self, number):
        at = self.port + 10 + 2 * number
        self.spawn(f"scheduler-{number}", [self.binary, "scheduler", "--listen", f"127.0.0.1:{at}", "--http-listen",
                                           f"127.0.0.1:{at + 1}", "--data-dir", self.path(f"s{number}"), *self.common])

    def executor(self, number):
        at = self.port + 20 + 2 * number
        self.spawn(f"executor-{number}", [self.binary, "executor", "--name", f"e{number}", "--slots", self.slots, "--listen",
                                          f"127.0.0.1:{at}", "--http-listen", f"127.0.0.1:{at + 1}", "--data-dir",
                                          self.path(f"e{number}"), *self.common])

    def ask(self, sql, first=0):
        ports = [self.port + 10 + 2 * first, self.port + 12 - 2 * first]
        endpoints = ",".join(f"127.0.0.1:{port}" for port in ports)
        command = [self.binary, "sql", "--endpoint", endpoints, "--format", "csv", "--quiet", "-c", sql]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"{sql}\n{done.stderr}")
        return done.stdout

    def metric(self, name, executors=(0, 1)):
        total = 0.0
        for number in executors:
            url = f"http://127.0.0.1:{self.port + 21 + 2 * number}/metrics"
            text = urllib.request.urlopen(url, timeout=5).read().decode()
            total += sum(float(value) for value in re.findall(rf"^{name} (\S+)$", text, re.M))
        return total

    def requests(self):
        return {name: self.metric(f"polarway_shuffle_store_{name}_total") for name in ("puts", "gets", "put_bytes")}

    def kill(self, name):
        process = self.processes.pop(name)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def rss(self, name):
        status = open(f"/proc/{self.processes[name].pid}/status").read()
        return int(re.search(r"VmHWM:\s+(\d+) kB", status).group(1)) / 1024

    def cpu(self):
        """Seconds that executors have computed for, in user and in system mode."""
        fields = [open(f"/proc/{process.pid}/stat").read().rsplit(")", 1)[1].split()
                  for name, process in self.processes.items() if name.startswith("executor")]
        tick = os.sysconf("SC_CLK_TCK")
        return [sum(int(field[index]) for field in fields) / tick for index in (11, 12)]

    def stop(self):
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            process.wait()


def timed(work):
    began = time.monotonic()
    result = work()
    return time.monotonic() - began, result


def numbers(text):
    ranges = [part.partition("-") for part in text.split(",")]
    return [number for first, _, last in ranges for number in range(int(first), int(last or first) + 1)]


def modes(cluster, queries, repeats):
    def all_queries(mode):
        for number in queries:
            text = (REPOSITORY / f"examples/tpch/q{number:02}.sql").read_text()
            cluster.ask(f"SET polarway.route = 'staged'; SET polarway.shuffle = '{mode}'; {text}")

    all_queries("local")
    times = {mode: [] for mode in MODES}
    cpu = {mode: [0.0, 0.0] for mode in MODES}
    counts = {}
    for _ in range(repeats):
        for mode in MODES:
            before = cluster.requests()
            computed = cluster.cpu()
            took, _ = timed(lambda: all_queries(mode))
            times[mode].append(took)
            time.sleep(2)
            cpu[mode] = [sum_ + now - was for sum_, was, now in zip(cpu[mode], computed, cluster.cpu())]
            counts[mode] = {name: count - before[name] for name, count in cluster.requests().items()}
    local = statistics.median(times["local"])
    for mode in MODES:
        median = statistics.median(times[mode])
        print(json.dumps({"what": f"TPC-H staged, {mode}", "queries": len(queries), "seconds": [round(took, 2) for took in times[mode]],
                          "of local": round(median / local, 3),
                          "CPU of executors, user and system": [round(took / repeats, 1) for took in cpu[mode]], "requests of the last run": counts[mode]}))
    print(json.dumps({"what": "largest resident size, MiB",
                      **{name: round(cluster.rss(name)) for name in sorted(cluster.processes) if name != "etcd"}}))


def requests(cluster, queries):
    """How many objects are written and read, and how many there would be with one for each pair of map and reduce task."""
    for mode in MODES[1:]:
        pairs, before = 0, cluster.requests()
        for number in queries:
            text = (REPOSITORY / f"examples/tpch/q{number:02}.sql").read_text()
            told = cluster.ask(f"SET polarway.route = 'staged'; SET polarway.shuffle = '{mode}'; EXPLAIN ANALYZE {text}")
            plan = {row[0]: row[1] for row in csv.reader(told.splitlines(keepends=True)) if len(row) == 2}
            for stage, tasks in plan.items():
                if stage.endswith("_tasks"):
                    hashed = re.search(r"Hash\(.*?\], (\d+)\)", plan[stage.removesuffix("_tasks")].splitlines()[0])
                    pairs += int(tasks.split()[0]) * int(hashed.group(1) if hashed else 1)
        asked = {name: count - before[name] for name, count in cluster.requests().items()}
        print(json.dumps({"what": f"requests, {mode}", "queries": len(queries), "slots": int(cluster.slots), **asked,
                          "pairs": pairs, "pairs an object": round(pairs / max(1, asked["puts"]), 1)}))


def deaths(cluster, repeats):
    sql = f"SET polarway.route = 'staged'; SET polarway.shuffle = 'write-behind'; {LONG}"

    def undisturbed():
        return cluster.ask(sql)

    def with_death(victim, first, restart):
        """The answer, the time, and how many finished tasks ran again."""
        stored = cluster.metric("polarway_shuffle_outputs_stored_total")
        answer = []
        asking = threading.Thread(target=lambda: answer.append(cluster.ask(sql, first)))
        began = time.monotonic()
        asking.start()
        # All outputs of the stages before the long one.
        while cluster.metric("polarway_shuffle_outputs_stored_total") < stored + 6:
            if not asking.is_alive():
                raise RuntimeError("the query was done before its first stages were stored")
            time.sleep(0.02)
        left = (1,) if victim == "executor-0" else (0, 1)
        started = cluster.metric("polarway_executor_tasks_started_total", left)
        reused = cluster.metric("polarway_executor_tasks_reused_total", left)
        cluster.kill(victim)
        killed = time.monotonic()
        asking.join()
        took = time.monotonic() - began
        ran = cluster.metric("polarway_executor_tasks_started_total", left) - started
        taken_over = cluster.metric("polarway_executor_tasks_reused_total", left) - reused
        restart()
        time.sleep(TTL + 3)
        return answer[0], took, {"after the kill": round(time.monotonic() - killed - TTL - 3, 2), "tasks begun after it": ran,
                                 "of them taken over": taken_over}

    expected = undisturbed()
    base = [timed(undisturbed)[0] for _ in range(repeats)]
    print(json.dumps({"what": "the long query, undisturbed", "seconds": [round(took, 2) for took in base]}))
    cases = [("an executor", "executor-0", 0, lambda: cluster.executor(0)),
             ("its scheduler", "scheduler-0", 0, lambda: cluster.scheduler(0))]
    for what, victim, first, restart in cases:
        for _ in range(repeats):
            answer, took, more = with_death(victim, first, restart)
            print(json.dumps({"what": f"with the death of {what}", "seconds": round(took, 2),
                              "of undisturbed": round(took / statistics.median(base), 2), "right": answer == expected, **more}))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--polarway", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--queries", default="1-22", help="those of TPC-H: numbers and ranges (default: %(default)s)")
    parser.add_argument("--store", help="where copies go, a directory or a URL (default: beside all else)")
    parser.add_argument("--part", choices=["modes", "requests", "deaths"], help="only this part")
    parser.add_argument("--slots", type=int, default=1, help="of each of the two executors (default: %(default)s)")
    arguments = parser.parse_args()
    queries, data = numbers(arguments.queries), pathlib.Path(arguments.data).resolve()
    parts = {"modes": lambda cluster: modes(cluster, queries, arguments.repeats),
             "requests": lambda cluster: requests(cluster, queries),
             "deaths": lambda cluster: deaths(cluster, arguments.repeats)}
    for name, part in parts.items():
        if arguments.part in (None, name):
            # The query that meets a death takes two seconds, and is to have copies by then.
            more = ["--set", "shuffle.upload_after=500ms"] if name == "deaths" else []
            cluster = Cluster(arguments.polarway, data, arguments.store, arguments.slots, more)
            try:
                part(cluster)
            finally:
                cluster.stop()


if __name__ == "__main__":
    main()
