"""Writes TPC-DS tables as Parquet, and the 99 queries as text: tpcds.py SCALE_FACTOR DIRECTORY."""

import pathlib
import sys

import duckdb
import duckdb_extension_tpcds


def main(scale_factor: str, directory: str) -> None:
    out = pathlib.Path(directory)
    package = pathlib.Path(next(iter(duckdb_extension_tpcds.__path__)))
    [extension] = package.glob("extensions/*/tpcds.duckdb_extension")
    connection = duckdb.connect()
    connection.execute(f"LOAD '{extension}'")
    connection.execute(f"CALL dsdgen(sf = {float(scale_factor)})")
    tables = connection.execute("SELECT table_name FROM information_schema.tables").fetchall()
    for (table,) in tables:
        path = out / "tables" / table
        path.mkdir(parents=True)
        connection.execute(f"COPY {table} TO '{path}/data.parquet' (FORMAT parquet)")
    (out / "queries").mkdir()
    for number, text in connection.execute("SELECT query_nr, query FROM tpcds_queries()").fetchall():
        (out / "queries" / f"q{number:02}.sql").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
