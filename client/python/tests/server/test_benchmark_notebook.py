"""examples/polarway_vs_polars.ipynb runs from top to bottom, and its answers are compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
import psutil
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

if TYPE_CHECKING:
    from collections.abc import Callable

NOTEBOOK = Path(__file__).parents[4] / "examples" / "polarway_vs_polars.ipynb"
# For one cell; all take seconds.
PATIENCE = 300


@pytest.fixture
def notebook(servers: list[str], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:  # noqa: ANN401
    """The notebook, with the tests' servers and little data."""
    settings = {
        "POLARWAY_SERVERS": ",".join(servers),
        "POLARWAY_BENCH_DATA": str(data / "it's bench"),
        "POLARWAY_BENCH_ROWS": "20000",
        "POLARWAY_BENCH_REPEATS": "2",
        "POLARWAY_BENCH_SMALL": "20",
        # What the kernel writes goes away with the test.
        "IPYTHONDIR": str(tmp_path / "ipython"),
        "JUPYTER_DATA_DIR": str(tmp_path / "jupyter"),
        "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime"),
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("POLARWAY_SERVER_PIDS", raising=False)
    return _read()


def _read() -> Any:  # noqa: ANN401
    return nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]


async def _run(notebook: Any) -> None:  # noqa: ANN401
    await NotebookClient(notebook, timeout=PATIENCE, kernel_name="python3").async_execute()


def _cell(notebook: Any, id_: str) -> Any:  # noqa: ANN401
    [found] = [cell for cell in notebook.cells if cell.id == id_]
    return found


def _printed(cell: Any) -> str:  # noqa: ANN401
    return "".join(output.text for output in cell.outputs if output.output_type == "stream")


async def _results(notebook: Any) -> list[dict[str, Any]]:  # noqa: ANN401
    """The rows of its table, once it has run."""
    asked = nbformat.v4.new_code_cell("print(results.write_json())")  # type: ignore[no-untyped-call]
    notebook.cells.append(asked)
    await _run(notebook)
    found: list[dict[str, Any]] = json.loads(_printed(asked))
    return found


def _listening(servers: list[str]) -> list[int]:
    """Ids of the processes that listen there."""
    ports = {int(server.rpartition(":")[2]) for server in servers}
    listening = [found for found in psutil.net_connections("tcp") if found.status == psutil.CONN_LISTEN]
    return sorted({found.pid for found in listening if found.laddr and found.laddr.port in ports and found.pid})


async def test_it_runs_and_all_answers_are_equal(
    notebook: Any,  # noqa: ANN401
    servers: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pids = _listening(servers)
    assert pids
    monkeypatch.setenv("POLARWAY_SERVER_PIDS", ",".join(map(str, pids)))
    rows = await _results(notebook)
    wanted = ["scan and aggregate", "filter", "join", "top 10", "many groups", "20 small queries, 16 at once"]
    assert [row["query"] for row in rows] == wanted
    for row in rows:
        assert row["equal"] is True
        assert row["polars ms"] > 0
        assert row["polarway ms"] > 0
        assert row["ratio"] == pytest.approx(row["polarway ms"] / row["polars ms"], rel=0.1, abs=0.02)
        # A process of Python with Polars, and one of a server, hold more.
        assert min(row["polars MiB"], row["client MiB"]) > 20
        assert row["server MiB"] > 5
    assert "All answers are equal." in _printed(_cell(notebook, "checked"))
    [shown] = [output for output in _cell(notebook, "results").outputs if output.output_type == "execute_result"]
    assert "many groups" in shown.data["text/html"]
    assert "left out" not in _printed(_cell(notebook, "results"))


@pytest.mark.parametrize(
    "wrong",
    [
        lambda source: source.replace("price > 9000", "price > 9500"),
        lambda source: source.replace("max(price)", "min(price)"),
        lambda source: source.replace("sum(size) AS size FROM", "sum(size) + 1 AS size FROM"),
    ],
    ids=["other rows", "another value", "other values of groups"],
)
async def test_another_answer_is_told(
    notebook: Any,  # noqa: ANN401
    wrong: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("POLARWAY_BENCH_REPEATS", "1")
    queries = _cell(notebook, "queries")
    assert wrong(queries.source) != queries.source
    queries.source = wrong(queries.source)
    with pytest.raises(CellExecutionError, match="the answers differ"):
        await _run(notebook)
    assert "left out" in _printed(_cell(notebook, "results"))


def test_it_is_kept_without_what_it_gave() -> None:
    notebook = _read()
    nbformat.validate(notebook)
    codes = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert codes
    assert not [cell.id for cell in codes if cell.outputs or cell.execution_count is not None]
