"""What jobs for asyncio and for code that blocks have in common: their id, and what was last seen of them."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from polarway import _notebook
from polarway.option import Nothing, Option, Some

if TYPE_CHECKING:
    from polarway.job_status import JobStatus

KEEP = 3600.0
"""Seconds for which the outcome of a job is kept after its end, unless asked for otherwise."""


def key() -> str:
    """A name for one submission that no other has."""
    return secrets.token_hex(16)


class Submitted:
    """A statement that was submitted."""

    __slots__ = ("_seen", "id")

    def __init__(self, id_: str) -> None:
        self.id: str = id_
        self._seen: Option[JobStatus] = Nothing()

    def _see(self, status: JobStatus) -> JobStatus:
        # Answers may come in another order than they were asked for; the end is the last of them.
        if not any(seen.is_over for seen in self._seen):
            self._seen = Some(status)
        return status

    def __repr__(self) -> str:
        seen = self._seen.map(lambda status: f": {status.state} when last asked").unwrap_or("")
        return f"{type(self).__name__}({self.id}{seen})"

    def _html(self, asked: str, result: str) -> str:
        sql = self._seen.map(lambda status: status.sql).unwrap_or(None)
        return _notebook.job(
            f"{type(self).__name__} {self.id}", sql, self._seen.map(_words).unwrap_or(None), asked, result
        )


def _words(status: JobStatus) -> str:
    tasks = status.progress.map(lambda progress: f", {progress.done:,} of {progress.tasks:,} tasks done").unwrap_or("")
    again = f", attempt {status.attempt}" if status.attempt > 1 else ""
    failed = status.error.map(lambda error: f": {error}").unwrap_or("")
    return f"{status.state}{again}{tasks} when last asked{failed}"
