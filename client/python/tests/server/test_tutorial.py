"""docs/tutorial.md: its blocks of Python run one after the other, and print what stands below them."""

from __future__ import annotations

import ast
import asyncio
import inspect
import io
import re
import sys
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from polarway import AsyncPolarwayClient

TUTORIAL = Path(__file__).parents[4] / "docs" / "tutorial.md"
# Of all blocks together; they take seconds.
PATIENCE = 300


@dataclass(frozen=True)
class Block:
    """Code, what stands below it, and the line of the page on which it begins."""

    code: str
    printed: str
    line: int


def _blocks(page: str) -> list[Block]:
    pattern = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.DOTALL | re.MULTILINE)
    return [Block(found[1], found[2] or "", page[: found.start(1)].count("\n")) for found in pattern.finditer(page)]


def _matches(printed: str, wanted: str) -> bool:
    """Whether it is the same, where `…` stands for anything on one line."""
    pattern = ".*".join(re.escape(part) for part in wanted.split("…"))
    return re.fullmatch(pattern, printed) is not None


async def _run(block: Block, names: dict[str, object]) -> str:
    """Runs a block as Python's prompt for asyncio does, and gives what it printed."""
    # As many lines down as on the page, so that a traceback names them.
    module = ast.parse("\n" * block.line + block.code, TUTORIAL.name)
    printed = io.StringIO()
    with redirect_stdout(printed):
        for statement in module.body:
            step = ast.Interactive([statement])
            code = compile(step, TUTORIAL.name, "single", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            running = eval(code, names)  # noqa: S307 - the page's own code
            if inspect.isawaitable(running):
                await running
    return printed.getvalue()


def _placed(servers: list[str], takers: list[str], data: Path) -> Callable[[str], str]:
    """Code with the addresses of the tests' servers, and paths that they can read, in place of a user's."""
    placed = {'"localhost:50051"': repr(servers), '"ws://localhost:8081"': repr(takers)}

    def place(code: str) -> str:
        for ours, theirs in placed.items():
            code = code.replace(ours, theirs)
        return re.sub(r"""(?<=["'])data/""", f"{data}/data/", code)

    return place


async def test_the_tutorial_does_what_it_says(
    client: AsyncPolarwayClient, servers: list[str], takers: list[str], data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def show(value: object) -> None:
        if value is not None:
            print(repr(value))

    # The prompt's own keeps the last value in a name of all modules.
    monkeypatch.setattr(sys, "displayhook", show)
    page = TUTORIAL.read_text()
    blocks = _blocks(page)
    assert len(blocks) == page.count("```python")
    assert sum(bool(block.printed) for block in blocks) == page.count("```text")
    place = _placed(servers, takers, data)
    names: dict[str, object] = {"__name__": "__main__"}

    async def all_of_them() -> None:
        for block in blocks:
            printed = await _run(Block(place(block.code), block.printed, block.line), names)
            assert _matches(printed, block.printed), f"line {block.line} prints\n{printed}and not\n{block.printed}"

    try:
        await asyncio.wait_for(all_of_them(), PATIENCE)
    finally:
        await client.query("DROP STREAM IF EXISTS live_trades")


async def test_a_block_that_prints_something_else_is_told() -> None:
    """The checks above can fail."""
    page = "```python\nasync def one():\n    return 1\n\nawait one()\n```\n\n```text\n…\n```\n\n```python\nx = 1\n```\n"
    first, second = _blocks(page)
    assert (first.line, second.line, second.printed) == (1, 12, "")
    assert await _run(first, {}) == "1\n"
    assert _matches("took 1.25 ms\n", "took … ms\n")
    assert not _matches("took 1.25 ms\nand more\n", "took … ms\n")
    assert not _matches("1\n", "2\n")
    assert not _matches("1\n", "")
    with pytest.raises(ZeroDivisionError):
        await _run(Block("1 / 0\n", "", 0), {})
