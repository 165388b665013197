"""A real browser, and pages that fail their test when something on them goes wrong."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import sync_playwright
from server import CEILING, DATA, HTTP, send, sql

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, Page

#: A staged query of two stages over many files.
STAGED = "SELECT k % 10 AS g, count(*) AS c, sum(v) AS s FROM page_facts GROUP BY g ORDER BY g"


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The Chromium of this machine, without a window."""
    program = os.environ.get("POLARWAY_TEST_CHROMIUM") or shutil.which("chromium")
    assert program, "these tests need Chromium; scripts/setup.sh installs it"
    with sync_playwright() as driver:
        flags = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        browser = driver.chromium.launch(executable_path=program, args=flags)
        yield browser
        browser.close()


@pytest.fixture
def opened(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Opens pages. At the end of the test none of them has asked another server, or told of an error."""
    contexts: list[Any] = []
    faults: list[str] = []

    def watch(page: Page) -> None:
        def told(message: Any) -> None:
            # The answer to an address that is not there is one that is asked for.
            if message.type in {"error", "warning"} and "404 (Not Found)" not in message.text:
                faults.append(f"console: {message.text}")

        def asked(request: Any) -> None:
            if urlsplit(request.url).netloc != urlsplit(HTTP).netloc:
                faults.append(f"asked elsewhere: {request.url}")

        page.on("console", told)
        page.on("pageerror", lambda error: faults.append(f"script: {error}"))
        page.on("request", asked)

    def open_page(path: str = "/", **options: Any) -> Page:
        options.setdefault("viewport", {"width": 1280, "height": 800})
        context = browser.new_context(base_url=HTTP, **options)
        context.set_default_timeout(CEILING * 1000)
        contexts.append(context)
        page = context.new_page()
        watch(page)
        page.goto(path)
        return page

    # For tests in which something is to go wrong.
    open_page.faults = faults  # type: ignore[attr-defined]
    yield open_page
    for context in contexts:
        context.close()
    assert not faults


@pytest.fixture(scope="session")
def facts() -> str:
    """A table over enough files for a query of stages; gives the name of it."""
    place = DATA / "facts"
    place.mkdir(exist_ok=True)
    for part in range(4):
        sql(
            f"COPY (SELECT value AS k, value * 3 AS v FROM generate_series({part * 50000 + 1}, {part * 50000 + 50000})) "
            f"TO '{place}/part-{part}.parquet'"
        )
    sql(f"CREATE EXTERNAL TABLE page_facts STORED AS PARQUET LOCATION '{place}/'")
    return "page_facts"


@pytest.fixture(scope="session")
def stream() -> str:
    """A stream with some rows and one that it has refused."""
    sql("CREATE STREAM page_ticks (id BIGINT NOT NULL, at TIMESTAMP(3), price DOUBLE) WITH (event_time = 'at')")
    send("page_ticks", ['{"id": 1, "at": "2026-11-25T10:00:00", "price": 1.5}', '{"id": "three"}'])
    return "page_ticks"


@contextmanager
def shown(name: str, page: Page) -> Iterator[None]:
    """Keeps what the page looks like, where somebody wants to see it."""
    yield
    if place := os.environ.get("POLARWAY_TEST_SCREENSHOTS"):
        Path(place).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=f"{place}/{name}.png", full_page=True)
