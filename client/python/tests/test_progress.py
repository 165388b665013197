"""Progress bars: what they show, where, and that nothing is disturbed by them."""

from __future__ import annotations

import asyncio
import io
import json
import os
import pty
import select
import subprocess
import sys
import textwrap
import threading
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polarway import Error, Progress, _meter
from polarway._meter import Meter, watched, watched_async
from polarway._screens import Notebook, Terminal, line, page, screen
from strategies import patient

if TYPE_CHECKING:
    from collections.abc import Callable

    from polarway._polarway import Done

numbers = st.integers(0, 10**6)
progresses = st.builds(
    Progress, st.sampled_from(["queued", "running"]), st.integers(1, 3), numbers, numbers, numbers, numbers
)


@patient
@given(st.none() | progresses, st.floats(0, 1e6))
def test_any_progress_is_one_line_of_ascii_and_one_element(progress: Progress | None, seconds: float) -> None:
    text = line(progress, seconds)
    assert text.isascii()
    assert text.isprintable()
    assert len(text.partition("]")[0]) == 31
    assert page(progress, seconds).count("<") == 2


def test_progress_counts_stages() -> None:
    stages = [{"tasks": 4, "done": 4}, {"tasks": 2, "done": 1}]
    told = json.dumps({"state": "running", "attempt": 2, "stages": stages})
    progress = Progress.parse(told)
    assert progress == Progress("running", 2, tasks=6, done=5, stages=2, stages_done=1)
    assert line(progress, 3.0) == "[#########################.....] 5/6 tasks, 1/2 stages, attempt 2, 3.0 s"


class _Call:
    """Work in a thread, as the native module has it."""

    def __init__(self) -> None:
        self.cancelled = threading.Event()

    def cancel(self) -> None:
        self.cancelled.set()


def _later(outcome: object, after: Callable[[], bool]) -> Callable[[Done[Any]], Any]:
    """A call that is done once the condition holds."""

    def start(done: Done[Any]) -> _Call:
        call = _Call()

        def work() -> None:
            while not after() and not call.cancelled.is_set():
                call.cancelled.wait(0.005)
            if not call.cancelled.is_set():
                done(None, outcome.fault()) if isinstance(outcome, Error) else done(outcome, None)

        threading.Thread(target=work, daemon=True).start()
        return call

    return start


def _answer(done: Done[str | None]) -> Any:  # noqa: ANN401
    done(json.dumps({"state": "running", "attempt": 1, "stages": [{"tasks": 4, "done": 1}]}), None)
    return _Call()


@pytest.fixture
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_meter, "_SILENT", 0.02)
    monkeypatch.setattr(_meter, "_PAUSE", 0.02)


CLEARED = "\r\x1b[K"


@pytest.mark.usefixtures("_at_once")
@pytest.mark.parametrize("outcome", [5, Error("PLAN", "no")])
async def test_what_is_waited_for_is_what_comes(outcome: object) -> None:
    """Both ways of waiting, with answers and with errors, and the line is empty at the end."""
    for wait in (watched, watched_async):
        told = io.StringIO()
        meter = Meter(Terminal(told))
        start = _later(outcome, lambda told=told: "1/4 tasks" in told.getvalue())  # type: ignore[misc]
        if wait is watched:
            result = await asyncio.to_thread(watched, start, _answer, meter)
        else:
            result = await watched_async(start, _answer, meter)
        meter.close()
        assert result.ok().unwrap_or(None) == (None if isinstance(outcome, Error) else outcome)
        assert told.getvalue().endswith(CLEARED)
    assert not _meter._one.locked()  # pyright: ignore[reportPrivateUsage]


class _Broken(io.StringIO):
    """A terminal that is gone."""

    def write(self, text: str) -> int:
        raise OSError(5, f"Input/output error: {text}")


@pytest.mark.usefixtures("_at_once")
def test_a_screen_that_fails_disturbs_nothing() -> None:
    meter = Meter(Terminal(_Broken()))
    asked: list[object] = []

    def ask(done: Done[str | None]) -> Any:  # noqa: ANN401
        asked.append(done)
        done("no JSON", None)
        return _Call()

    assert watched(_later(5, lambda: len(asked) > 2), ask, meter).unwrap() == 5
    meter.close()


@pytest.mark.usefixtures("_at_once")
def test_of_several_queries_one_is_shown() -> None:
    first, second = io.StringIO(), io.StringIO()
    one, two = Meter(Terminal(first)), Meter(Terminal(second))
    one.draw()
    two.draw()
    assert first.getvalue()
    two.close()
    assert second.getvalue() == ""
    one.close()
    two = Meter(Terminal(second))
    two.draw()
    two.close()
    assert second.getvalue()


@pytest.mark.usefixtures("_at_once")
async def test_a_cancelled_wait_cancels_its_call_and_clears_the_line() -> None:
    told = io.StringIO()
    meter = Meter(Terminal(told))
    calls: list[_Call] = []

    def start(done: Done[Any]) -> Any:  # noqa: ANN401
        calls.append(_later(5, lambda: False)(done))
        return calls[0]

    waiting = asyncio.create_task(watched_async(start, _answer, meter))
    while not told.getvalue():  # noqa: ASYNC110 - a stream of text has no event
        await asyncio.sleep(0.005)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    meter.close()
    assert calls[0].cancelled.is_set()
    assert told.getvalue().endswith(CLEARED)


def test_without_a_terminal_there_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert screen(wanted=True) is None
    monkeypatch.setattr(sys, "stderr", None)
    assert screen(wanted=True) is None


def _in_a_terminal(program: str) -> str:
    """What a program writes whose standard error is a terminal."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", textwrap.dedent(program)]
    with subprocess.Popen(command, stderr=theirs, env={**os.environ, "TERM": "xterm", "COLUMNS": "60"}) as process:
        os.close(theirs)
        told = b""
        while select.select([ours], [], [], 60)[0]:
            try:
                piece = os.read(ours, 4096)
            except OSError:  # nobody has the other end any more
                break
            told += piece
        assert process.wait(60) == 0, told
    os.close(ours)
    return told.decode()


def test_in_a_terminal_it_is_a_line_that_fits() -> None:
    told = _in_a_terminal("""
        from polarway import Progress
        from polarway._meter import meter
        assert meter(None) is None
        shown = meter(True)
        shown._progress = Progress("running", 1, tasks=10**9, done=10**8, stages=10**6, stages_done=5)
        shown.draw()
        shown.close()
    """)
    first, cleared, rest = told.partition("\x1b[K" + CLEARED)
    assert (len(first), bool(cleared), rest) == (60, True, "")
    assert first.startswith("\r[###....")


def test_in_a_notebook_it_is_an_element_that_is_updated() -> None:
    program = """
        from IPython.core.interactiveshell import InteractiveShell
        from IPython.utils.capture import capture_output
        from polarway import Progress
        from polarway._meter import meter

        InteractiveShell.instance()
        with capture_output() as captured:
            shown = meter(None)
            shown.draw()
            shown._progress = Progress("running", 1, tasks=4, done=1, stages=2, stages_done=0)
            shown.draw()
            shown.close()
        assert meter(False) is None
        for output in captured.outputs:
            print(output.data["text/html"])
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    lines = ended.stdout.splitlines()
    assert [text.split("</progress>")[0] for text in lines] == [
        '<progress max="1" value="0.000">',
        '<progress max="1" value="0.250">',
        "",
    ], ended.stderr
    assert "1/4 tasks, 0/2 stages" in lines[1]


def test_a_shell_of_ipython_in_a_terminal_has_a_line() -> None:
    told = _in_a_terminal("""
        from IPython.terminal.interactiveshell import TerminalInteractiveShell
        from polarway._screens import Terminal, screen
        TerminalInteractiveShell.instance(simple_prompt=True)
        assert isinstance(screen(None), Terminal)
    """)
    assert "Traceback" not in told
    assert Notebook.__doc__
