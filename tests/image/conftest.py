"""One image for all tests: the Dockerfile's last stage around the binary that the other tests use."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from podman import Container, Podman
from wait import until_ready

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY = Path(__file__).parents[2]
IMAGE = "localhost/polarway:test"


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
    until_ready(container)
    yield container
    container.remove()
