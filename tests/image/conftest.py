"""One image for all tests: the Dockerfile's last stage around the binary that the other tests use."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from podman import Container, Podman

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REPOSITORY = Path(__file__).parents[2]
IMAGE = "localhost/polarway:test"
DEADLINE = 60


def until(what: str, holds: Callable[[], bool], told: Callable[[], str]) -> None:
    """Waits for a condition; `told` says why it does not come true."""
    deadline = time.monotonic() + DEADLINE
    while not holds():
        if time.monotonic() > deadline:
            pytest.fail(f"within {DEADLINE} s it did not happen that {what}: {told()}")
        time.sleep(0.1)


def lay_out(binary: Path, target: Path) -> None:
    """The files of the image, by the script that the Dockerfile runs."""
    script = REPOSITORY / "scripts/image-root.sh"
    done = subprocess.run([script, binary, target], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(scope="session")
def binary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The binary, without the symbols that one for daily work has: a release has none either."""
    given = os.environ.get("POLARWAY_BIN")
    assert given, "POLARWAY_BIN must name the binary that the image is to hold"
    stripped = tmp_path_factory.mktemp("binary") / "polarway"
    subprocess.run(["strip", "--strip-all", "-o", stripped, given], check=True)
    return stripped


@pytest.fixture(scope="session")
def podman() -> Iterator[Podman]:
    podman = Podman()
    yield podman
    podman.close()


@pytest.fixture(scope="session")
def files(binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory that stands for the stage `root`."""
    stage = tmp_path_factory.mktemp("stage")
    lay_out(binary, stage / "image")
    return stage


@pytest.fixture(scope="session")
def image(podman: Podman, files: Path) -> str:
    podman.build(REPOSITORY, files, IMAGE)
    return IMAGE


@pytest.fixture(scope="session")
def server(podman: Podman, image: str) -> Iterator[Container]:
    """What the image runs when it is told nothing, over a root that cannot be written."""
    container = podman.start(image, [], ["--read-only", "--read-only-tmpfs=false"])
    until("the server was ready", lambda: "polarway up ready: " in container.logs(), container.logs)
    yield container
    container.remove()
