"""Waiting for conditions, not for time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from podman import Container

DEADLINE = 60


def until(what: str, container: Container, holds: Callable[[], bool]) -> None:
    """Waits until something holds of a container, as long as that runs."""
    deadline = time.monotonic() + DEADLINE
    while not holds():
        state = container.state()
        if not state["Running"]:
            pytest.fail(f"before {what}, the container ended with {state['ExitCode']}: {container.logs()}")
        if time.monotonic() > deadline:
            pytest.fail(f"within {DEADLINE} s it did not happen that {what}: {state}, {container.logs()}")
        time.sleep(0.1)


def until_ready(container: Container, starts: int = 1) -> None:
    """Waits for the line that a server writes at each start when it takes requests."""
    until("the server was ready", container, lambda: container.logs().count(" ready: grpc=") == starts)


def until_healthy(container: Container) -> None:
    """Asks by the image's own health check until the container counts as healthy."""
    until("the container was healthy", container, lambda: container.check_health() == "healthy")
