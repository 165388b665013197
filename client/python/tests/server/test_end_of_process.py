"""The end of a process that has asked something."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

# Without the wait for the client's threads, 4 to 6 of 10 processes ended with SIGSEGV or SIGABRT.
PROCESSES = 12
PATIENCE = 60.0


def _end(program: str, *arguments: str) -> tuple[int, str, str]:
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    return ended.returncode, ended.stdout, ended.stderr


@pytest.mark.parametrize("statement", ["SELECT 1", "SELECT count(*) FROM generate_series(1, 100000)"])
def test_a_process_ends_well_right_after_its_last_answer(servers: list[str], statement: str) -> None:
    """The thread that told the answer is still on its way back then."""
    program = """
        import asyncio
        import sys

        from polarway import AsyncPolarwayClient

        async def main():
            async with AsyncPolarwayClient(sys.argv[1]) as client:
                await asyncio.gather(*(client.query(sys.argv[2]) for _ in range(16)))

        asyncio.run(main())
    """
    assert [_end(program, servers[0], statement) for _ in range(PROCESSES)] == [(0, "", "")] * PROCESSES


def test_a_process_ends_well_with_calls_that_nobody_waits_for(servers: list[str]) -> None:
    """A daemon thread is left in one, a forked process starts none, and what comes later is an error."""
    program = """
        import atexit
        import os
        import sys
        import threading

        def later():
            try:
                client.query("SELECT 1")
            except RuntimeError as error:
                print("later:", error)

        # It runs after what polarway does at the end, since it was there before.
        atexit.register(later)

        from polarway import PolarwayClient

        client = PolarwayClient(sys.argv[1])
        client.connect().unwrap()
        child = os.fork()
        if child != 0:
            assert os.waitpid(child, 0)[1] == 0
            endless = "SELECT count(*) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b"
            threading.Thread(target=client.query, args=(endless,), daemon=True).start()
            client.query("SELECT 1").unwrap()
    """
    for _ in range(3):
        status, told, complained = _end(program, servers[0])
        assert (status, complained) == (0, "")
        # By the parent: to the forked process the client is one of another process.
        assert told.count("later: the interpreter is at its end") == 1
