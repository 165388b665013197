"""Where the progress of a query is shown: a terminal's line, or a cell of a notebook."""

from __future__ import annotations

import html
import importlib
import os
import shutil
import sys
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from polarway.streams import Progress

_BAR = 30


class Screen(ABC):
    """One of them."""

    @abstractmethod
    def show(self, progress: Progress | None, seconds: float) -> None:
        """How far the query is, as far as is known, after so many seconds."""

    @abstractmethod
    def clear(self) -> None:
        """Leaves nothing of it."""


class Terminal(Screen):
    """The last line of standard error."""

    def __init__(self, stream: Any) -> None:  # noqa: ANN401 - a text stream
        self._stream = stream

    def show(self, progress: Progress | None, seconds: float) -> None:
        """Over what stood there."""
        room = shutil.get_terminal_size().columns - 1
        self._write(f"\r{line(progress, seconds)[:room]}\x1b[K")

    def clear(self) -> None:
        """The line is as empty as before."""
        self._write("\r\x1b[K")

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


class Notebook(Screen):
    """An element in the output of the cell that runs."""

    def __init__(self, display: Any) -> None:  # noqa: ANN401 - the module IPython.display
        self._display = display
        self._shown: Any = None

    def show(self, progress: Progress | None, seconds: float) -> None:
        """In place of what it showed before."""
        element = self._display.HTML(page(progress, seconds))
        if self._shown is None:
            self._shown = self._display.display(element, display_id=True)
        else:
            self._shown.update(element)

    def clear(self) -> None:
        """An empty element is left."""
        if self._shown is not None:
            self._shown.update(self._display.HTML(""))


def screen(wanted: bool | None) -> Screen | None:
    """The one that there is, if progress is wanted; `None` wants it where somebody types the statements."""
    shell = _shell()
    if wanted is False or (wanted is None and shell is None and not hasattr(sys, "ps1")):
        return None
    if shell is not None and type(shell).__name__ != "TerminalInteractiveShell":
        return Notebook(importlib.import_module("IPython.display"))
    stream = sys.stderr
    is_terminal = stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"
    return Terminal(stream) if is_terminal else None


def line(progress: Progress | None, seconds: float) -> str:
    """One line of ASCII.

    >>> from polarway import Progress
    >>> line(Progress("running", 1, tasks=40, done=10, stages=3, stages_done=1), 4.24)
    '[#######.......................] 10/40 tasks, 1/3 stages, 4.2 s'
    >>> line(None, 1.0)
    '[..............................] 1.0 s'
    """
    full = int(_BAR * _share(progress))
    return f"[{'#' * full}{'.' * (_BAR - full)}] {_words(progress)}{seconds:.1f} s"


def page(progress: Progress | None, seconds: float) -> str:
    """An element of HTML.

    >>> page(None, 1.0)
    '<progress max="1" value="0.000"></progress> 1.0 s'
    """
    words = html.escape(_words(progress))
    return f'<progress max="1" value="{_share(progress):.3f}"></progress> {words}{seconds:.1f} s'


def _share(progress: Progress | None) -> float:
    return min(1.0, progress.done / progress.tasks) if progress is not None and progress.tasks else 0.0


def _words(progress: Progress | None) -> str:
    if progress is None:
        return ""
    again = f"attempt {progress.attempt}, " if progress.attempt > 1 else ""
    if not progress.tasks:
        return f"{progress.state}, {again}"
    return f"{progress.done}/{progress.tasks} tasks, {progress.stages_done}/{progress.stages} stages, {again}"


def _shell() -> Any:  # noqa: ANN401
    """The shell of IPython that runs in this process."""
    ipython: Any = sys.modules.get("IPython")
    found = getattr(ipython, "get_ipython", None)
    return found() if found is not None else None
