"""The example that reads many files, of which some are missing or damaged."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

EXAMPLE = Path(__file__).parents[4] / "examples" / "batch_processing.py"
PATIENCE = 120.0
FILES = 30
ROWS = 200

# It tells its types in part only.
pa: Any = pyarrow


@pytest.fixture
def ticks(data: Path) -> Path:
    """Files whose types differ, and among them three that are damaged, and one that lacks a column."""
    directory = data / "it's ticks"
    directory.mkdir()
    for number in range(FILES):
        price = [None if row == 0 else (number * ROWS + row) / 4 for row in range(ROWS)]
        symbols = [f"S{row % 2}" for row in range(ROWS)]
        table = pa.table({"Symbol": symbols, "price": pa.array(price, pa.float32() if number % 2 else pa.float64())})
        pyarrow.parquet.write_table(table, directory / f"day-{number:02}.parquet")
    whole = (directory / "day-00.parquet").read_bytes()
    (directory / "bad-cut.parquet").write_bytes(whole[: len(whole) // 2])
    (directory / "bad-empty.parquet").write_bytes(b"")
    (directory / "bad-pages.parquet").write_bytes(_with_damaged_pages(directory / "day-00.parquet"))
    pyarrow.parquet.write_table(pa.table({"Symbol": ["S0"]}), directory / "bad-columns.parquet")
    return directory


def _with_damaged_pages(path: Path) -> bytes:
    """The file with its end, which tells the columns, as it was: it can be opened."""
    whole = path.read_bytes()
    end = int.from_bytes(whole[-8:-4], "little") + 8
    return whole[:4] + b"\xff" * (len(whole) - end - 4) + whole[-end:]


def _run(server: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLE), f"--server={server}", "--by=Symbol", "--value=price", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)


def _left_out(ended: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """The kind of each path's error."""
    told = (line.split(" ", 1) for line in ended.stderr.splitlines() if not line.startswith("left out: "))
    return {rest.split(": ")[0]: kind for kind, rest in told}


def test_files_that_cannot_be_read_are_named_and_the_others_counted(
    servers: list[str], data: Path, ticks: Path
) -> None:
    missing = ticks / "missing.parquet"
    ended = _run(servers[0], f"{ticks}/*.parquet", str(missing), "--at-once=4", f"--output={data}/out/")
    assert ended.returncode == 3, (ended.stdout, ended.stderr)
    bad = _left_out(ended)
    assert set(bad) == {str(path) for path in (*ticks.glob("bad-*"), missing)}
    assert bad[str(missing)] == "FILE_NOT_FOUND"
    # The empty file counts as none, whose kind is the server's to say.
    for name in ("cut", "pages"):
        assert bad[str(ticks / f"bad-{name}.parquet")] == "CORRUPT_FILE", ended.stderr
    assert bad[str(ticks / "bad-columns.parquet")] == "COLUMN_NOT_FOUND", ended.stderr
    assert f"{FILES} of {FILES + 5} files read" in ended.stdout
    [out] = (data / "out").iterdir()
    values = {symbol: [n / 4 for n in range(FILES * ROWS) if n % ROWS != 0 and n % 2 == symbol] for symbol in (0, 1)}
    assert pyarrow.parquet.read_table(out).to_pylist() == [
        {
            "key": f"S{symbol}",
            "files": FILES,
            "rows": FILES * ROWS // 2,
            "total": sum(numbers),
            "mean": sum(numbers) / len(numbers),
            "least": min(numbers),
            "greatest": max(numbers),
        }
        for symbol, numbers in values.items()
    ]


def test_all_files_are_well(servers: list[str], ticks: Path) -> None:
    ended = _run(servers[0], f"{ticks}/day-*.parquet")
    assert (ended.returncode, ended.stderr) == (0, ""), ended
    assert f"{FILES} of {FILES} files read" in ended.stdout
    assert "S1" in ended.stdout
    assert "wrote" not in ended.stdout


def test_no_file_and_no_server(servers: list[str], ticks: Path) -> None:
    none = _run(servers[0], f"{ticks}/none-*.parquet")
    assert none.returncode == 1
    assert "0 of 1 files read" in none.stdout
    assert _left_out(none) == {f"{ticks}/none-*.parquet": "FILE_NOT_FOUND"}
    nobody = _run("127.0.0.1:1", f"{ticks}/day-*.parquet")
    assert (nobody.returncode, nobody.stdout) == (1, "")
    assert "127.0.0.1:1" in nobody.stderr


def test_its_help_needs_no_server() -> None:
    ended = subprocess.run(
        [sys.executable, str(EXAMPLE), "--help"], capture_output=True, text=True, timeout=PATIENCE, check=True
    )
    assert "--output" in ended.stdout
