"""The server under test, and what asks it for something other than its page."""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from websockets.sync.client import connect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

T = TypeVar("T")

#: Far longer than anything should take, however slow the machine is.
CEILING = 120.0

PROGRAM = os.environ["POLARWAY_TEST_PROGRAM"]
GRPC = os.environ["POLARWAY_TEST_SERVER"]
HTTP = f"http://{os.environ['POLARWAY_TEST_HTTP']}"
WS = os.environ["POLARWAY_TEST_WS"]
DATA = Path(os.environ["POLARWAY_TEST_DATA"])
EXECUTORS = int(os.environ["POLARWAY_TEST_EXECUTORS"])

#: The program takes variables with its name for settings.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("POLARWAY_")}

#: It takes as long as one lets it, in one process and without memory.
ENDLESS = "SELECT count(*) AS endless FROM generate_series(1, 1000000000000) WHERE value % 7 = 3"


def until(what: str, look: Callable[[], T | None]) -> T:
    """Look until there is something."""
    deadline = time.monotonic() + CEILING
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, f"{what}: not within {CEILING} s"
        time.sleep(0.05)


def started(*statements: str) -> subprocess.Popen[str]:
    """Start the shell with statements of one session."""
    command = [PROGRAM, "sql", "--endpoint", GRPC, "--format", "csv"]
    for statement in statements:
        command += ["-c", statement]
    return subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def sql(*statements: str) -> str:
    """Run statements that must succeed; gives what the shell printed."""
    shell = started(*statements)
    out, err = shell.communicate(timeout=CEILING)
    assert shell.returncode == 0, err
    return out


def failing(*statements: str) -> str:
    """Run statements of which one must fail; gives what the shell said of it."""
    shell = started(*statements)
    _, err = shell.communicate(timeout=CEILING)
    assert shell.returncode == 1, err
    return err


def script(statements: Iterable[str]) -> None:
    """Run many statements in one session."""
    file = DATA / "script.sql"
    file.write_text(";\n".join(statements) + ";\n")
    command = [PROGRAM, "sql", "--endpoint", GRPC, "--format", "csv", "-f", str(file)]
    limit = 3 * CEILING
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=limit, check=False)
    assert done.returncode == 0, done.stderr


def queries() -> list[dict[str, Any]]:
    """The queries that the server has."""
    with urllib.request.urlopen(f"{HTTP}/v1/queries", timeout=CEILING) as answer:
        return json.load(answer)


def find(text: str, *states: str) -> dict[str, Any]:
    """The latest query with a text in its statement, once it is in one of the states."""

    def look() -> dict[str, Any] | None:
        found = [query for query in queries() if text in query["sql"] and query["state"] in states]
        return found[0] if found else None

    return until(f"a query with {text!r} that is {states}", look)


def ask(path: str, *, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], str]:
    """Ask as no browser does; gives status, headers and body, and follows nothing."""
    request = urllib.request.Request(f"{HTTP}{path}", method=method)
    for name, value in headers.items():
        request.add_header(name.replace("_", "-"), value)
    opener = urllib.request.build_opener(NoRedirects())
    try:
        with opener.open(request, timeout=CEILING) as answer:
            return answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, {k.lower(): v for k, v in error.headers.items()}, error.read().decode()


class NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


def send(stream: str, frames: Iterable[str]) -> None:
    """Send frames into a stream, and wait until all are acknowledged."""
    with connect(f"ws://{WS}/v1/streams/{stream}") as socket:
        socket.recv(timeout=CEILING)
        last = 0
        for last, frame in enumerate(frames, 1):
            socket.send(frame)
        acknowledged = 0
        while acknowledged < last:
            acknowledged = json.loads(socket.recv(timeout=CEILING))["ack"]
