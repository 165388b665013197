"""The page, as somebody sees it who looks at it."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING

import pytest
from axe_playwright_python.sync_playwright import Axe
from conftest import STAGED, shown
from playwright.sync_api import expect
from server import CEILING, ENDLESS, EXECUTORS, HTTP, ask, failing, find, queries, script, send, sql, started, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from subprocess import Popen
    from typing import Any

    #: Opens a page at a path; its options are those of a browser context.
    Opened = Any

EXPECTED_MS = CEILING * 1000


@contextlib.contextmanager
def endless(mark: str) -> Iterator[tuple[Popen[str], str]]:
    """A query that runs until somebody ends it; gives its shell and id."""
    shell = started(f"{ENDLESS} AND '{mark}' = '{mark}'")
    try:
        yield shell, find(mark, "running")["id"]
    finally:
        shell.kill()
        shell.communicate()


def test_row_49_the_cluster_is_shown(opened: Opened) -> None:
    page = opened("/")
    expect(page).to_have_title("Cluster – Polarway")
    table = page.get_by_role("region", name="Processes")
    rows = table.locator("tbody tr")
    expect(rows.filter(has_text="executor").filter(has_text="ready")).to_have_count(EXECUTORS, timeout=EXPECTED_MS)
    expect(rows.filter(has_text="this one").filter(has_text="scheduler")).to_have_count(1)
    executor = rows.filter(has_text="executor").first
    # Slots in use of all, and memory of what there may be.
    assert re.search(r"\d+ / \d+\D", executor.inner_text()), executor.inner_text()
    assert re.search(r"\d+ B / [\d.]+ [MG]iB", executor.inner_text()), executor.inner_text()
    with shown("cluster", page):
        expect(page.locator("footer")).to_contain_text("Scheduler")


def test_row_49_queries_are_listed_searched_and_sorted(opened: Opened) -> None:
    sql("SELECT '<script>document.title = ''owned''</script>' AS first_of_three")
    sql("SELECT value AS second_of_three FROM generate_series(1, 2500)")
    failing("SELECT 1 / (value - value) AS third_of_three FROM generate_series(1, 10)")
    page = opened("/queries?q=of_three")
    rows = page.locator("table.queries tbody tr")
    expect(rows).to_have_count(3)
    expect(page).to_have_title("Queries – Polarway")
    expect(rows.nth(0)).to_contain_text("EXECUTION")
    expect(rows.nth(1)).to_contain_text("2\u202f500")
    expect(rows.nth(2)).to_contain_text("<script>document.title")
    page.get_by_role("link", name="Rows").click()
    expect(rows.nth(0)).to_contain_text("second_of_three")
    expect(page.locator("th[aria-sort=descending]")).to_have_text("Rows")
    page.get_by_label("State").select_option("failed")
    expect(rows).to_have_count(1)
    assert "state=failed" in page.url
    page.get_by_label("Search").fill("no such thing")
    expect(page.get_by_text("No query matches.")).to_be_visible()
    page.get_by_label("Search").fill("third_of")
    rows.get_by_role("link").click()
    expect(page.locator(".fault")).to_contain_text("EXECUTION")
    expect(page.get_by_role("region", name="Statement")).to_contain_text("third_of_three")


def test_row_49_a_query_is_cancelled_from_the_page(opened: Opened) -> None:
    with endless("cancel_me") as (shell, query):
        page = opened("/queries?q=cancel_me")
        row = page.locator("table.queries tbody tr").filter(has_text="running")
        row.get_by_role("link").click()
        assert page.url.endswith(query)
        expect(page.locator("[data-live=facts] .state")).to_have_text("running")
        with shown("running", page):
            expect(page.get_by_role("button", name=f"Cancel query {query}")).to_be_visible()
        page.get_by_role("button", name=f"Cancel query {query}").click()
        # Without being loaded again: the page renews itself.
        expect(page.locator("[data-live=facts] .state")).to_have_text("cancelled", timeout=EXPECTED_MS)
        expect(page.get_by_role("button", name="Cancel")).to_have_count(0)
        _, told = shell.communicate(timeout=CEILING)
        assert shell.returncode == 1
        assert "cancelled" in told


def test_row_49_nobody_else_cancels_a_query() -> None:
    with endless("leave_me") as (shell, query):
        path = f"/queries/{query}/cancel"
        origin = {"Sec_Fetch_Site": "same-origin", "Origin": HTTP}
        for headers in (
            {},
            {"Origin": "http://elsewhere.example"},
            {"Origin": "null"},
            origin | {"Sec_Fetch_Site": "cross-site"},
            origin | {"Origin": "http://elsewhere.example"},
        ):
            assert ask(path, method="POST", **headers)[0] == 403, headers
        assert ask(path, **origin)[0] == 405
        # Ballista's own way to cancel is not for pages of other sites either.
        for site in ("http://localhost:8080", "https://nightlies.apache.org"):
            asked = {"Origin": site, "Access_Control_Request_Method": "PATCH"}
            answer = ask("/api/job/x", method="OPTIONS", **asked)[1]
            assert answer.get("access-control-allow-origin") != site
        assert shell.poll() is None
        assert find("leave_me", "running")["id"] == query
        status, headers, _ = ask(path, method="POST", **origin)
        assert (status, headers["location"]) == (303, f"/queries/{query}?cancelled")
        assert find("leave_me", "cancelled")["id"] == query


def test_row_49_a_staged_query_has_a_graph(opened: Opened, facts: str) -> None:
    sql("SET polarway.route = 'staged'", STAGED)
    query = find(facts, "finished")
    assert query["route"] == "staged"
    page = opened(f"/queries/{query['id']}")
    graph = page.get_by_role("img", name="Stages")
    expect(graph).to_be_visible()
    boxes = graph.locator("g.stage")
    stages = boxes.count()
    assert stages >= 2
    expect(graph.locator("path.edge")).to_have_count(stages - 1)
    table = page.get_by_role("region", name="Stages", exact=True)
    expect(table.locator("tbody tr")).to_have_count(stages)
    expect(table).to_contain_text("the result")
    # The rows that the last stage put out are the result's.
    expect(table.locator("tbody tr").filter(has_text="the result").locator("td").nth(3)).to_have_text("10")
    expect(page.locator("dl.facts div").filter(has_text="Rows")).to_contain_text("10")
    tasks = page.get_by_role("region", name="Tasks by executor")
    names = tasks.locator("tbody th").all_inner_texts()
    assert 1 <= len(names) <= EXECUTORS
    done = sum(int(text) for text in tasks.locator("tbody tr td:last-child").all_inner_texts())
    shown_tasks = table.locator("tbody tr").evaluate_all("rows => rows.map(row => row.cells[3].textContent)")
    assert done == sum(int(text.split("/")[0]) for text in shown_tasks)
    plan = page.locator("details", has_text="Stage 1")
    plan.locator("summary").click()
    expect(plan).to_contain_text("output_rows")
    expect(page.get_by_role("region", name="Statement")).to_contain_text("GROUP BY g")
    with shown("query", page):
        expect(page.locator("[data-live=facts] .state")).to_have_text("finished")


def test_row_49_a_stream_has_a_rate_a_lag_and_dead_letters(opened: Opened, stream: str) -> None:
    page = opened("/streams")
    row = page.locator("tbody tr").filter(has_text=stream)
    expect(row).to_have_count(1)
    cells = row.locator("td")
    # Rate, time since the last row, lag, gaps, dead letters, rows so far.
    expect(cells.nth(4)).to_have_text("1")
    before = int(cells.nth(5).inner_text().replace("\u202f", ""))
    # Rows that come are seen on a page that is open.
    send(stream, [f'{{"id": {n}, "at": "2026-11-25T10:00:01", "price": 2}}' for n in range(1000)])
    expect(cells.nth(5)).to_have_text(f"{before + 1000:,}".replace(",", "\u202f"), timeout=EXPECTED_MS)

    def rate() -> bool:
        send(stream, [f'{{"id": {n}}}' for n in range(100)])
        page.reload()
        return float(cells.nth(0).inner_text().replace("\u202f", "")) > 0

    assert until("a rate", rate)
    with shown("streams", page):
        # The latest event is of a day that is over.
        assert re.search(r"\d+ d", cells.nth(2).inner_text())


def test_row_49_the_page_works_without_a_script(opened: Opened) -> None:
    with endless("no_script") as (shell, query):
        page = opened("/", java_script_enabled=False)
        expect(page.get_by_role("button", name="Live")).to_have_count(0)
        page.get_by_role("navigation", name="Pages").get_by_role("link", name="Queries").click()
        page.get_by_label("Search").fill("no_script")
        page.get_by_role("button", name="Show").click()
        page.get_by_role("button", name=f"Cancel query {query}").click()
        expect(page.get_by_role("heading", level=1)).to_contain_text(query)
        assert find("no_script", "cancelled")
        page.reload()
        expect(page.locator("[data-live=facts] .state")).to_have_text("cancelled")
        shell.communicate(timeout=CEILING)


def pages_of(facts: str, stream: str) -> list[str]:
    assert facts
    assert stream
    sql("SET polarway.route = 'staged'", STAGED)
    failing("SELECT 1 / (value - value) AS looked_at FROM generate_series(1, 10)")
    staged, failed = find(facts, "finished")["id"], find("looked_at", "failed")["id"]
    return ["/", "/queries", f"/queries/{staged}", f"/queries/{failed}", "/queries/q-nobody", "/streams"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_row_49_the_page_is_accessible(opened: Opened, facts: str, stream: str, scheme: str) -> None:
    for path in pages_of(facts, stream):
        page = opened(path, color_scheme=scheme, reduced_motion="reduce")
        found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa", "best-practice"]})
        assert found.violations_count == 0, f"{path}\n{found.generate_report()}"
        expect(page.get_by_role("heading", level=1)).to_have_count(1)
        with shown(f"{scheme}-{path.strip('/').replace('/', '-') or 'cluster'}"[:24], page):
            expect(page.get_by_role("main")).to_be_visible()


def test_row_49_the_page_fits_a_telephone(opened: Opened, facts: str, stream: str) -> None:
    for path in pages_of(facts, stream):
        page = opened(path, viewport={"width": 390, "height": 844}, device_scale_factor=2, is_mobile=True)
        wide = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert wide[0] <= wide[1], path
        found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"]})
        assert found.violations_count == 0, f"{path}\n{found.generate_report()}"
        with shown(f"phone-{path.strip('/').replace('/', '-') or 'cluster'}"[:24], page):
            expect(page.get_by_role("main")).to_be_visible()


def test_row_49_everything_can_be_done_with_keys(opened: Opened) -> None:
    sql("SELECT 1 AS with_keys")
    page = opened("/", color_scheme="light")
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to content")
    expect(skip).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("main")).to_be_focused()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()
    with shown("keys", page):
        expect(page.get_by_role("checkbox", name="Single keys do something")).to_be_checked()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.keyboard.press("g")
    page.keyboard.press("q")
    page.wait_for_url("**/queries")
    page.keyboard.press("/")
    expect(page.get_by_label("Search")).to_be_focused()
    page.keyboard.type("with_keys")
    page.wait_for_url("**/queries?q=with_keys")
    expect(page.locator("table.queries tbody tr")).to_have_count(1)
    page.keyboard.press("Enter")
    page.get_by_label("Search").blur()
    page.keyboard.press("j")
    expect(page.locator(".statement a").first).to_be_focused()
    # What has the focus keeps it while the page renews itself.
    with page.expect_response(lambda answer: "queries" in answer.url):
        pass
    expect(page.locator(".statement a").first).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("region", name="Statement")).to_contain_text("with_keys")


def test_row_49_colours_are_chosen_and_remembered(opened: Opened) -> None:
    page = opened("/", color_scheme="light")
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.keyboard.press("t")
    page.keyboard.press("t")
    expect(page.get_by_role("button", name="Theme: dark")).to_be_visible()
    dark = page.evaluate(ground)
    assert dark != light
    page.goto("/queries")
    assert page.evaluate(ground) == dark
    # It is in what the server sends, so that nothing flashes.
    assert 'data-theme="dark"' in page.content()
    page.keyboard.press("t")
    expect(page.get_by_role("button", name="Theme: system")).to_be_visible()
    page.reload()
    assert page.evaluate(ground) == light
    page.emulate_media(color_scheme="dark")
    assert page.evaluate(ground) == dark


def test_row_49_the_page_renews_itself_until_it_is_told_not_to(opened: Opened) -> None:
    page = opened("/queries?q=came_later")
    expect(page.get_by_text("No query matches.")).to_be_visible()
    sql("SELECT 1 AS came_later")
    expect(page.locator("table.queries tbody tr")).to_have_count(1, timeout=EXPECTED_MS)
    page.get_by_role("button", name="Live").click()
    expect(page.get_by_role("button", name="Paused")).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_role("status")).to_have_text("The page is not renewed any more.")
    sql("SELECT 2 AS came_later")
    page.reload()
    expect(page.locator("table.queries tbody tr")).to_have_count(2)
    expect(page.get_by_role("button", name="Paused")).to_be_visible()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    # Longer than the page would wait: that it does not ask is what is to be seen.
    page.wait_for_timeout(3000)
    assert not asked
    page.keyboard.press("p")
    expect(page.get_by_role("button", name="Live")).to_be_visible()
    until("a request", lambda: bool(page.wait_for_timeout(50)) or bool(asked))


def test_row_49_browsers_are_told_to_be_strict(opened: Opened) -> None:
    for path in ("/", "/queries", "/queries/nobody", "/streams", "/assets/page.css", "/assets/nothing"):
        _, headers, body = ask(path)
        policy = headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert not re.search(r"<script(?![^>]* src=)|<style|\sstyle=|\son[a-z]+=", body), path
    assert ask("/queries/nobody")[0] == 404
    page = opened("/")
    for address in page.locator("link[href], script[src]").evaluate_all("all => all.map(one => one.href || one.src)"):
        path = address.removeprefix(HTTP)
        status, headers, _ = ask(path)
        assert status == 200
        assert "immutable" in headers["cache-control"]
        assert ask(path, If_None_Match=headers["etag"])[0] == 304
        assert ask(path.split("?")[0])[1]["cache-control"] == "no-cache"
    # What a script would have to get past.
    page.evaluate("fetch('http://192.0.2.1/').catch(() => 0)")
    assert any("Content Security Policy" in fault for fault in opened.faults)
    opened.faults.clear()


def test_row_49_a_long_history_is_painted_at_once(opened: Opened) -> None:
    script(f"SELECT {n} AS one_of_many" for n in range(1000))
    until("a full history", lambda: len(queries()) >= 1000)
    times = []
    for _ in range(5):
        page = opened("/queries")
        expect(page.locator("table.queries tbody tr")).to_have_count(100)
        # Not by a function that waits in the page: the page's policy does not let texts become code.
        until("a first paint", lambda page=page: page.evaluate("performance.getEntriesByName('first-paint').length"))
        times.append(
            page.evaluate("""[
            performance.getEntriesByName('first-paint')[0].startTime,
            performance.getEntriesByType('navigation')[0].responseStart,
            performance.getEntriesByType('navigation')[0].responseEnd,
        ]""")
        )
        page.context.close()
    for paint, begun, ended in times:
        print(f"first paint after {paint:.0f} ms, of which the answer of the server {begun:.0f} to {ended:.0f} ms")
    page = opened("/queries")
    page.get_by_role("link", name="Older").click()
    expect(page.get_by_text("Page 2 of 10")).to_be_visible()
