"""Files that queries are written into, read by others."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pyarrow
import pyarrow.csv
import pyarrow.dataset
import pyarrow.parquet
import pytest

from polarway import Error, Written

if TYPE_CHECKING:
    from pathlib import Path

    from polarway import AsyncPolarwayClient, PolarwayClient

# It tells its types in part only.
pa: Any = pyarrow

ROWS = pa.table(
    {
        "n": range(1000),
        "Day": [f"2026-11-{1 + number % 3:02}" for number in range(1000)],
        "word": [["it's", "ü/=x", "b"][number % 7 % 3] for number in range(1000)],
        "price": [number / 4 for number in range(1000)],
    }
)


def _rows(table: Any) -> list[dict[str, Any]]:  # noqa: ANN401
    rows: list[dict[str, Any]] = table.to_pylist()
    return sorted(rows, key=lambda row: int(row["n"]))


def _files(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file()]


def _as_said(written: Written, directory: Path) -> None:
    """Files and bytes are those that lie there."""
    files = _files(directory)
    assert written.files == len(files)
    assert written.bytes == sum(path.stat().st_size for path in files)


async def test_row_39_partitioned_parquet_is_a_dataset_of_hive(client: AsyncPolarwayClient, data: Path) -> None:
    """Read by pyarrow.dataset, which takes the directories for columns."""
    out = data / "out"
    async with (await client.from_arrow(ROWS)).unwrap() as handle:
        written = (await handle.write_parquet(f"{out}/", partition_by=["Day", "word"])).unwrap()
    assert written.rows == 1000
    _as_said(written, out)
    assert {path.name for path in out.iterdir()} == {"Day=2026-11-01", "Day=2026-11-02", "Day=2026-11-03"}
    partitioning = pyarrow.dataset.partitioning(pa.schema([("Day", pa.string()), ("word", pa.string())]), flavor="hive")
    dataset: Any = pyarrow.dataset.dataset(str(out), format="parquet", partitioning=partitioning)
    assert _rows(dataset.to_table().select(ROWS.column_names)) == _rows(ROWS)
    one = dataset.to_table(filter=pyarrow.dataset.field("Day") == "2026-11-02")
    assert one.num_rows == 333
    with (next(out.rglob("*.parquet"))).open("rb") as file:
        assert pyarrow.parquet.ParquetFile(file).schema_arrow.names == ["n", "price"]
    again = (await client.raising.read_parquet(f"{out}/")).group_by('"Day"').agg(rows="count(*)").sort('"Day"')
    assert [row[1] for row in (await again.collect()).unwrap().texts()] == ["334", "333", "333"]


def test_row_39_partitioned_parquet_for_code_that_blocks(blocking: PolarwayClient, data: Path) -> None:
    """By a handle, a query with verbs, and SQL; one column's name may stand alone."""
    handle = blocking.raising.from_arrow(ROWS)
    query = handle.filter("n < 100").with_columns(twice="n * 2")
    written = query.write_parquet(f"{data}/a/", partition_by="Day").unwrap()
    assert written.rows == 100
    _as_said(written, data / "a")
    found: Any = pyarrow.dataset.dataset(f"{data}/a", format="parquet", partitioning="hive")
    assert found.count_rows() == 100
    assert sorted(found.schema.names) == ["Day", "n", "price", "twice", "word"]
    sql = f"SELECT n FROM handle.{handle.id} -- all of it"
    written = blocking.raising.write_parquet(sql, f"{data}/b/", options={"format.compression": "zstd(3)"})
    assert written.rows == 1000
    _as_said(written, data / "b")
    with next((data / "b").rglob("*.parquet")).open("rb") as file:
        assert pyarrow.parquet.ParquetFile(file).metadata.row_group(0).column(0).compression == "ZSTD"


def test_row_39_text_formats(blocking: PolarwayClient, data: Path) -> None:
    """CSV has a header, JSON an object a line."""
    handle = blocking.raising.from_arrow(ROWS.select(["n", "word"]))
    written = handle.sort("n").write_csv(data / "rows.csv").unwrap()
    assert (written.rows, written.files) == (1000, 1)
    options = pyarrow.csv.ConvertOptions(strings_can_be_null=True)
    read: Any = pyarrow.csv.read_csv(data / "rows.csv", convert_options=options)
    assert _rows(read) == _rows(ROWS.select(["n", "word"]))
    written = handle.write_json(f"{data}/rows.json").unwrap()
    lines = [json.loads(line) for line in (data / "rows.json").read_text().splitlines()]
    assert sorted(row["n"] for row in lines) == list(range(1000))
    assert written.bytes == (data / "rows.json").stat().st_size


async def test_row_39_what_cannot_be_written_is_told(client: AsyncPolarwayClient, data: Path) -> None:
    """And leaves no file."""
    out = f"{data}/out/"
    assert (await client.write_parquet("SELECT missing", out)).unwrap_err().kind == "COLUMN_NOT_FOUND"
    assert (await client.write_parquet("SELECT 1 AS a", out, partition_by="b")).unwrap_err().kind in {
        "COLUMN_NOT_FOUND",
        "PLAN",
    }
    null = await client.write_parquet("SELECT 1 AS a, CAST(NULL AS VARCHAR) AS b", out, partition_by="b")
    assert null.unwrap_err().kind == "PLAN"
    assert (await client.write_parquet("SELECT 1 AS a", "/etc/nowhere/")).unwrap_err().kind == "PATH_NOT_ALLOWED"
    with pytest.raises(Error):
        await client.raising.write_csv("SELECT 1/0 AS a", out)
    assert _files(data) == []
    handle = await client.raising.from_arrow(ROWS)
    await handle.close()
    assert (await handle.write_json(out)).unwrap_err().kind == "NOT_FOUND"
