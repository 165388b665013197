"""Podman with a storage of its own, so that nothing is left on the machine and nothing on it is touched."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence

# Where Debian has runtimes; an ordinary user's path may lack it.
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
LIMIT = 60


class Podman:
    """Builds and runs as root, since what is inside is checked from outside; an ordinary user becomes it by sudo."""

    def __init__(self) -> None:
        missing = [tool for tool in ("podman", "runc") if shutil.which(tool, path=PATH) is None]
        if missing:
            pytest.fail(f"the image cannot be tested: {' and '.join(missing)} not found; `make setup` installs them")
        self._root = () if os.geteuid() == 0 else ("sudo", "-n")
        # Short: paths of sockets are below it.
        self._storage = Path(tempfile.mkdtemp(prefix="polarway-image-"))
        self._command = [
            *(*self._root, "env", f"PATH={PATH}"),
            # Health checks are asked for by the test: the timers of systemd are not there in a sandbox.
            "DISABLE_HC_SYSTEMD=true",
            *("podman", "--log-level", "error"),
            *("--root", f"{self._storage}/root", "--runroot", f"{self._storage}/run"),
            *("--tmpdir", f"{self._storage}/of-podman"),
            *("--storage-driver", "overlay", "--cgroup-manager", "cgroupfs", "--events-backend", "none"),
            *("--runtime", "runc"),
        ]

    def ask(self, *arguments: str, limit: float = LIMIT) -> subprocess.CompletedProcess[str]:
        """Runs it, whatever comes of it."""
        return subprocess.run([*self._command, *arguments], capture_output=True, text=True, check=False, timeout=limit)

    def do(self, *arguments: str, limit: float = LIMIT) -> str:
        """Runs it and returns what it wrote. It must end well."""
        done = self.ask(*arguments, limit=limit)
        if done.returncode != 0:
            pytest.fail(
                f"podman {' '.join(arguments)} ended with {done.returncode}. If it may not make namespaces or mounts "
                f"here, the image cannot be tested on this machine.\n{done.stdout}{done.stderr}"
            )
        return done.stdout

    def inspect(self, kind: str, name: str) -> dict[str, Any]:
        return json.loads(self.do(kind, "inspect", name))[0]

    def build(self, repository: Path, root: Path, tag: str) -> None:
        """Builds the last stage of the Dockerfile over files that were laid out before, without a network."""
        with tempfile.TemporaryDirectory() as nothing:
            self.do(
                *("build", "--quiet", "--no-cache", "--network", "none", "--format", "docker", "--timestamp", "0"),
                *("--build-context", f"root={root}", "--build-arg", "TARGETARCH=any"),
                *("--file", f"{repository}/Dockerfile", "--tag", tag, nothing),
                limit=120,
            )

    def context(self, repository: Path) -> list[str]:
        """The files that a build gets to see: what `.dockerignore` leaves of the repository."""
        listed = self._storage / "context.tar"
        with tempfile.TemporaryDirectory() as directory:
            dockerfile = Path(directory) / "Dockerfile"
            dockerfile.write_text("FROM scratch\nCOPY . /\n", encoding="utf-8")
            tag = "localhost/polarway:context"
            given = ("--file", str(dockerfile), "--ignorefile", f"{repository}/.dockerignore")
            self.do("build", "--quiet", "--network", "none", *given, "--tag", tag, str(repository))
            container = self.do("create", tag, "none").strip()
            self.do("export", "--output", str(listed), container)
        with tarfile.open(listed) as files:
            return [entry.name for entry in files if entry.isfile()]

    def run(self, image: str, command: Sequence[str], options: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Runs a container without a network and capabilities to its end."""
        return self.ask("run", "--rm", *self._confined(), *options, image, *command)

    def start(self, image: str, command: Sequence[str], options: Sequence[str]) -> Container:
        """The same, in the background."""
        return Container(self, self.do("run", "--detach", *self._confined(), *options, image, *command).strip())

    def close(self) -> None:
        self.ask("rm", "--force", "--all", "--volumes", "--time", "0")
        self.ask("rmi", "--force", "--all")
        # Podman leaves its directory mounted on itself.
        subprocess.run([*self._root, "umount", f"{self._storage}/root/overlay"], capture_output=True, check=False)
        subprocess.run([*self._root, "rm", "--recursive", "--one-file-system", str(self._storage)], check=True)

    @staticmethod
    def _confined() -> list[str]:
        # Podman would raise limits, which not every machine's root may do.
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        files = 65536 if files == resource.RLIM_INFINITY else min(files, 65536)
        return [
            *("--network", "none", "--cap-drop", "all", "--security-opt", "no-new-privileges"),
            *("--ulimit", f"nofile={files}:{files}", "--ulimit", "nproc=4096:4096"),
        ]


class Container:
    """A container that runs until it is removed."""

    def __init__(self, podman: Podman, name: str) -> None:
        self._podman = podman
        self.name = name

    def ask(self, *command: str, user: str | None = None) -> subprocess.CompletedProcess[str]:
        """Runs a command in it, as its own user unless told otherwise."""
        options = ["--user", user] if user else []
        return self._podman.ask("exec", *options, self.name, *command)

    def state(self) -> dict[str, Any]:
        return self._podman.inspect("container", self.name)["State"]

    def process(self) -> dict[str, str]:
        """What the kernel says about its first process."""
        status = Path(f"/proc/{self.state()['Pid']}/status").read_text(encoding="utf-8")
        return {name: value.strip() for name, _, value in (line.partition(":") for line in status.splitlines())}

    def check_health(self) -> str:
        """Asks by the health check of the image, and says what the container counts as then."""
        self._podman.ask("healthcheck", "run", self.name)
        return self.state()["Health"]["Status"]

    def logs(self) -> str:
        told = self._podman.ask("logs", self.name)
        return told.stdout + told.stderr

    def stop(self) -> int:
        """Stops it by its own signal, and returns the exit code."""
        self._podman.do("stop", "--time", "60", self.name, limit=90)
        return self.state()["ExitCode"]

    def start(self) -> None:
        self._podman.do("start", self.name)

    def remove(self) -> None:
        self._podman.do("rm", "--force", "--volumes", "--time", "0", self.name)
