"""What results and handles of real servers show in a notebook."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from IPython.core.formatters import HTMLFormatter

if TYPE_CHECKING:
    from polarway import AsyncPolarwayClient, PolarwayClient

ODD = """SELECT value AS "<b>", '<i>' || value || '</td>' AS "it's & so" FROM generate_series(1, 12)"""


def _html(view: object) -> str:
    shown: object = HTMLFormatter()(view)
    assert isinstance(shown, str)
    return shown


async def test_a_table_shows_schema_rows_route_and_time(client: AsyncPolarwayClient) -> None:
    table = await client.raising.query(f"{ODD} ORDER BY 1")
    shown = _html(table)
    assert "<th>&lt;b&gt;<br><small>Int64</small></th><th>it&#x27;s &amp; so<br><small>Utf8</small></th>" in shown
    assert [f"<td>{row}</td><td>&lt;i&gt;{row}&lt;/td&gt;</td>" in shown for row in range(1, 13)] == [True] * 10 + [
        False
    ] * 2
    assert re.search(rf"<p>12 rows, 2 columns; {table.route} route, \d+\.\d ms</p>", shown)
    assert f"{table.took * 1000:.1f} ms" in shown


async def test_a_handle_shows_its_schema(client: AsyncPolarwayClient) -> None:
    async with (await client.handle(ODD)).unwrap() as handle:
        shown = _html(handle)
        assert f"AsyncHandle {handle.id}" in shown
        assert "<td>&lt;b&gt;</td><td>Int64</td>" in shown
        assert "await handle.collect()" in shown
        assert "<code>await query.collect()</code>" in _html(handle.limit(3))


def test_a_handle_of_code_that_blocks_shows_the_same(blocking: PolarwayClient) -> None:
    with blocking.raising.handle(ODD) as handle:
        assert "<td>it&#x27;s &amp; so</td><td>Utf8</td>" in _html(handle)
        assert "<code>handle.collect()</code>" in _html(handle)
