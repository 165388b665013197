"""Progress bars of queries that real servers run."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import textwrap

import pytest

LONG = "SELECT count(*) FROM range(0, 100000) AS a CROSS JOIN range(0, 4000) AS b WHERE (a.value * b.value) % 7 = 3"


@pytest.mark.parametrize("way", ["client", "asyncio"])
def test_a_long_query_shows_its_progress_in_a_terminal(servers: list[str], way: str) -> None:
    """And gives the result that it gives without; at the end the line is empty."""
    blocking = f"""
        from polarway import PolarwayClient
        with PolarwayClient({servers!r}, progress=True) as client:
            print(client.raising.query("SELECT 1").texts())
            print(client.query({LONG!r}).unwrap().texts())
            print(client.query("SELECT missing").unwrap_err().kind)
    """
    of_asyncio = f"""
        import asyncio
        from polarway import AsyncPolarwayClient
        async def main():
            async with AsyncPolarwayClient({servers!r}, progress=True) as client:
                print((await client.raising.query("SELECT 1")).texts())
                print((await client.query({LONG!r})).unwrap().texts())
                print((await client.query("SELECT missing")).unwrap_err().kind)
        asyncio.run(main())
    """
    program = blocking if way == "client" else of_asyncio
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", textwrap.dedent(program)]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, env=environment, text=True) as process:
        os.close(theirs)
        told = b""
        while select.select([ours], [], [], 120)[0]:
            try:
                told += os.read(ours, 4096)
            except OSError:  # nobody has the other end any more
                break
        assert process.stdout is not None
        found = process.stdout.read().splitlines()
    os.close(ours)
    assert found[0] == "[['1']]", told
    assert int(found[1].strip("[']")) > 0
    assert found[2] == "COLUMN_NOT_FOUND"
    shown = told.decode()
    assert shown.startswith("\r[")
    assert " s\x1b[K" in shown
    assert shown.endswith("\r\x1b[K")
    assert shown.replace("\x1b[K", "").isascii()
