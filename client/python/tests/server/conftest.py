"""Tests against server processes, which whoever runs them has started.

`POLARWAY_TEST_SERVERS` names where they take SQL, `POLARWAY_TEST_HTTP` where they tell of themselves,
`POLARWAY_TEST_WS` where they take rows of streams, `POLARWAY_TEST_DATA` a directory that they may read and the tests
may write into.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from polarway import AsyncPolarwayClient, PolarwayClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

# What the tests that need no server have to help them.
sys.path.append(str(Path(__file__).parents[1]))


@pytest.fixture
def servers() -> list[str]:
    """Addresses of servers of one cluster."""
    return os.environ["POLARWAY_TEST_SERVERS"].split(",")


@pytest.fixture
def takers() -> list[str]:
    """Addresses of processes that take rows of streams."""
    return [f"ws://{address}" for address in os.environ["POLARWAY_TEST_WS"].split(",")]


@pytest.fixture
def data() -> Iterator[Path]:
    """An empty directory that the servers can read."""
    with tempfile.TemporaryDirectory(dir=os.environ["POLARWAY_TEST_DATA"]) as directory:
        yield Path(directory)


@pytest.fixture
async def client(servers: list[str]) -> AsyncIterator[AsyncPolarwayClient]:
    """A client with a session of its own."""
    async with AsyncPolarwayClient(servers) as client:
        yield client


@pytest.fixture
def blocking(servers: list[str]) -> Iterator[PolarwayClient]:
    """The same, for code that blocks."""
    with PolarwayClient(servers) as client:
        yield client
