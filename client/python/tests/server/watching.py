"""What the servers, and this process, still have of what a test has left."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import textwrap
import time
import urllib.request
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

# Longer than any test waits.
ENDLESS = """
    SELECT count(*)
    FROM generate_series(1, 3000000) a JOIN generate_series(1, 3000000) b ON a.value % 7 < b.value % 11"""


def endless() -> tuple[str, str]:
    """A query that does not end, and what it is known by."""
    marker = f"{time.time_ns()} AS marker"
    return ENDLESS.replace("count(*)", f"count(*), {marker}"), marker


def queries() -> list[dict[str, object]]:
    """What the servers know of running and ended queries."""
    found: list[dict[str, object]] = []
    for server in os.environ["POLARWAY_TEST_HTTP"].split(","):
        with urllib.request.urlopen(f"http://{server}/v1/queries", timeout=30) as answer:
            found += json.load(answer)
    return found


async def running(marker: str) -> int:
    """How many queries with this in their text run."""
    known = await asyncio.to_thread(queries)
    return sum(marker in str(query["sql"]) and query["state"] == "running" for query in known)


async def until(condition: Callable[[], Awaitable[object]], what: str) -> None:
    """Waits until it is true; a minute is enough for anything on a busy machine."""
    deadline = time.monotonic() + 60
    while not await condition():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.05)


async def runs(marker: str, many: int = 1) -> None:
    """Waits until so many of them run."""

    async def there() -> bool:
        return await running(marker) == many

    await until(there, f"{many} of them run")


async def sockets_are(count: int) -> None:
    """Waits until this process has no more sockets."""

    async def closed() -> bool:
        return sockets() <= count

    await until(closed, f"there are no more than {count} sockets")


def sockets() -> int:
    """Sockets of this process."""
    links: list[str] = []
    for fd in os.listdir("/proc/self/fd"):
        path = f"/proc/self/fd/{fd}"
        if os.path.islink(path):
            links.append(os.readlink(path))
    return sum(link.startswith("socket:") for link in links)


def script(servers: list[str], body: str) -> subprocess.Popen[str]:
    """A process of its own that runs this with all names of the package."""
    program = "import asyncio, os, sys, threading, time\nfrom polarway import *\n" + textwrap.dedent(body)
    environment = {**os.environ, "POLARWAY_TEST_SERVERS": ",".join(servers)}
    return subprocess.Popen(
        [sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
