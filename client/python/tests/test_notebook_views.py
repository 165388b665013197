"""What handles, queries and jobs show of themselves in a notebook."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from IPython.core.formatters import HTMLFormatter

from polarway import AsyncHandle, AsyncJob, AsyncPolarwayClient, Handle, Job, JobStatus, PolarwayClient, col
from polarway._leases import Lease, Opened
from strategies import patient
from submitted import ID, account

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ODD = {"<b>": "Utf8", "a\"&'b": "List(Int64)", "</table><script>": 'Timestamp(Microsecond, Some("<i>"))'}


class Shown(HTMLParser):
    """The elements of a text in HTML, and the words in them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del attrs
        self.open.append(tag)
        self.tags.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def _html(view: object) -> str:
    """What a notebook asks of a cell's last value."""
    shown: object = HTMLFormatter()(view)
    assert isinstance(shown, str)
    return shown


def _opened(columns: Mapping[str, str]) -> Opened:
    return Opened(Lease("h_1", 60.0, 0.0), list(columns.items()))


def _handle(columns: Mapping[str, str]) -> Handle:
    return Handle(PolarwayClient(), _opened(columns))


def _async_handle(columns: Mapping[str, str]) -> AsyncHandle:
    return AsyncHandle(AsyncPolarwayClient(), _opened(columns))


@pytest.mark.parametrize(
    ("view", "call"),
    [(_handle(ODD), "handle.collect()"), (_async_handle(ODD), "await handle.collect()")],
    ids=["blocking", "asyncio"],
)
def test_a_handle_shows_its_columns_and_how_to_collect_it(view: Handle | AsyncHandle, call: str) -> None:
    shown = Shown(_html(view))
    assert shown.words[0] == f"{type(view).__name__} h_1"
    for column, type_ in ODD.items():
        assert shown.words[shown.words.index(column) + 1] == type_
    assert call in shown.words
    assert "3 columns; " in "".join(shown.words)
    assert not shown.tags & {"b", "i", "script"}


@pytest.mark.parametrize(
    ("handle", "call"),
    [(_handle(ODD), "query.collect()"), (_async_handle(ODD), "await query.collect()")],
    ids=["blocking", "asyncio"],
)
def test_a_query_shows_its_columns_and_its_sql(handle: Handle | AsyncHandle, call: str) -> None:
    query = handle.filter(col("<b>") == "</pre><script>").select("*", col("<b>").alias("it's"))
    shown = Shown(_html(query))
    assert shown.words[0] == type(query).__name__
    assert {*ODD, "it's", query.to_sql(), call} <= {*shown.words}
    assert not shown.tags & {"b", "i", "script"}


def test_columns_that_the_client_does_not_know_are_not_shown() -> None:
    shown = Shown(_html(_handle({"a": "Int64"}).select("a + 1, a + 2")))
    assert "table" not in shown.tags
    assert "nothing has been read" in "".join(shown.words)


def test_of_many_columns_the_first_are_shown() -> None:
    handle = _handle({f"column_{number}": "Int64" for number in range(5_000)})
    for view in (_html(handle), _html(handle.limit(1))):
        words = "".join(Shown(view).words)
        assert "5,000 columns, the first 50 shown" in words
        assert "column_49" in words
    assert "column_50" not in _html(handle)


@patient
@given(st.dictionaries(st.text(min_size=1), st.text(), min_size=1, max_size=5))
def test_whatever_columns_are_called_is_text(columns: dict[str, str]) -> None:
    shown = Shown(_html(_handle(columns)))
    assert shown.tags == {"p", "table", "thead", "tbody", "tr", "th", "td", "code"}


def _job(told: str) -> Job:
    return Job.of(PolarwayClient(), JobStatus.parse(told).unwrap())


def _async_job(told: str) -> AsyncJob:
    return AsyncJob.of(AsyncPolarwayClient(), JobStatus.parse(told).unwrap())


@pytest.mark.parametrize(
    ("of", "calls"),
    [(_job, {"job.status()", "job.result()"}), (_async_job, {"await job.status()", "await job.result()"})],
    ids=["blocking", "asyncio"],
)
def test_a_job_shows_its_statement_and_how_it_was(of: Callable[[str], Job | AsyncJob], calls: set[str]) -> None:
    sql = "SELECT '</pre><script>' AS \"<b>\" -- it's & so"
    progress = {"state": "running", "attempt": 2, "stages": [{"tasks": 1200, "done": 3}]}
    running = Shown(_html(of(account("running", sql=sql, attempt=2, progress=progress))))
    assert running.words[0].endswith(f"Job {ID}")
    assert {sql, "running, attempt 2, 3 of 1,200 tasks done when last asked", *calls} <= {*running.words}
    error = {"kind": "EXECUTION", "message": "no <i>", "hint": "<script>"}
    failed = Shown(_html(of(account("failed", sql=sql, error=error))))
    assert "failed when last asked: EXECUTION: no <i>\nHint: <script>" in failed.words
    assert running.tags == failed.tags == {"p", "pre", "code"}


def test_a_job_of_which_nothing_was_told_shows_its_id() -> None:
    shown = Shown(_html(Job(PolarwayClient(), "<b>")))
    assert shown.words[0] == "Job <b>"
    assert shown.tags == {"p", "code"}
