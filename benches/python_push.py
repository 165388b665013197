#!/usr/bin/env python3
"""Rows a second into a live table: a hand-written loop over `websockets`, and `LiveTableSink`.

    benches/python_push.py --server HOST:PORT --ws HOST:PORT [--rows 100000] [--repeats 3]

The server is a `polarway up --ws-listen …`. The loop sends one row a message with `json.dumps` and waits for the
acknowledgements after every thousand; the sink sends as it does by itself. Each time ends with the last acknowledgement
(`wal`), and the rows in the table are counted after it. Prints one line a way: the median, the smallest and the largest
of the repeats, and how many times the loop's median that is.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time

from websockets.asyncio.client import connect

from polarway import AsyncPolarwayClient
from polarway.live_table import LiveTableSink

COLUMNS = "id BIGINT NOT NULL, at TIMESTAMP(6), sensor VARCHAR NOT NULL, value DOUBLE"


def rows(count):
    return [
        {
            "id": i,
            "at": f"2026-11-25T10:{i // 60000 % 60:02}:{i // 1000 % 60:02}.{i % 1000:03}",
            "sensor": f"sensor-{i % 100}",
            "value": i * 0.37,
        }
        for i in range(count)
    ]


async def by_hand(ws, stream, data):
    async with connect(f"ws://{ws}/v1/streams/{stream}?producer=hand-{time.time_ns()}") as socket:
        await socket.recv()
        sent = 0
        for begin in range(0, len(data), 1000):
            for row in data[begin : begin + 1000]:
                await socket.send(json.dumps(row))
                sent += 1
            while json.loads(await socket.recv())["ack"] < sent:
                pass


async def list_push(ws, stream, data):
    async with LiveTableSink(ws, stream) as sink:
        (await sink.push(data)).unwrap()
        (await sink.flush()).unwrap()


async def row_pushes(ws, stream, data):
    async with LiveTableSink(ws, stream) as sink:
        for row in data:
            (await sink.push(row)).unwrap()
        (await sink.flush()).unwrap()


async def measured(server, ws, count, repeats):
    """Rows a second of each way, the one that the others are compared with first."""
    data = rows(count)
    ways = {
        "by hand, one row a message": by_hand,
        "sink, push of all rows": list_push,
        "sink, push row by row": row_pushes,
    }
    rates = {way: [] for way in ways}
    async with AsyncPolarwayClient(server) as client:
        for _ in range(repeats):
            for number, (way, run) in enumerate(ways.items()):
                stream = f"python_push_{number}"
                await client.raising.query(f"DROP STREAM IF EXISTS {stream}")
                await client.raising.query(f"CREATE STREAM {stream} ({COLUMNS})")
                began = time.perf_counter()
                await run(ws, stream, data)
                rates[way].append(len(data) / (time.perf_counter() - began))
                (found,) = await client.raising.query(f"SELECT count(*) AS n, count(DISTINCT id) AS ids FROM {stream}")
                assert found == {"n": len(data), "ids": len(data)}, found
                await client.raising.query(f"DROP STREAM {stream}")
    return rates


def main(args):
    rates = asyncio.run(measured(args.server, args.ws, args.rows, args.repeats))
    base = statistics.median(rates["by hand, one row a message"])
    for way, each in rates.items():
        median = statistics.median(each)
        print(f"{way:28} {median:10,.0f} rows/s ({min(each):,.0f} to {max(each):,.0f}), {median / base:.1f}x")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", required=True, help="where SQL is taken, HOST:PORT")
    parser.add_argument("--ws", required=True, help="where rows are taken, HOST:PORT")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=3)
    main(parser.parse_args())
