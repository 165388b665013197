#!/usr/bin/env python3
"""Many files at once, without exceptions: what can be read is counted, what cannot is named.

    polarway up --allow data --writable data &
    pip install 'polarway[arrow]'
    examples/batch_processing.py 'data/2026-11-*.parquet' --by symbol --value price --output data/summary/

Groups the rows of all files by a column and tells, for each of its values, in how many files it is, how many rows it
has, and sum, mean, least and greatest of another column. Patterns (`*`, `?`, `[…]`, and `**` for directories of any
depth) are looked up on this machine, so the servers have to see the same files; a path without them is taken as it is,
and may also be a URL.

A file that is missing or damaged, or lacks a column, is left out as a whole, and told on standard error with the
error's kind. Ends with 0 if all files were read, with 3 if some were left out, and with 1 if there is no result.
"""

from __future__ import annotations

import argparse
import asyncio
import glob
import os
import sys
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pyarrow

from polarway import AsyncPolarwayClient, Err, Error, Ok, Result, col

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from polarway import AsyncHandle, AsyncQuery, Table


@dataclass
class Outcomes:
    """What came of each file.

    Attributes:
        tables: The groups of each file that was read.
        errors: Path and error of each that was not.
    """

    tables: list[Table] = field(default_factory=list)
    errors: list[tuple[str, Error]] = field(default_factory=list)


def found(patterns: Iterable[str]) -> list[str]:
    """The paths that are meant, each once, in order. A pattern that fits no file stands for itself: it is an error."""
    paths: dict[str, None] = {}
    for pattern in patterns:
        if "://" in pattern:
            paths[pattern] = None
            continue
        # The server's directory is not this program's.
        whole = os.path.abspath(pattern)
        files = sorted(glob.glob(whole, recursive=True)) if glob.has_magic(whole) else []
        paths.update(dict.fromkeys(files or [whole]))
    return list(paths)


def groups(handle: AsyncHandle, by: str, value: str) -> AsyncQuery:
    """The groups of one file. Files may differ in their types, so both columns get one that fits all."""
    number = col(value).cast("DOUBLE")
    return (
        handle.select(col(by).cast("VARCHAR").alias("key"), number.alias("number"))
        .group_by("key")
        .agg(
            rows="count(*)",
            numbers=col("number").count(),
            total=col("number").sum(),
            least=col("number").min(),
            greatest=col("number").max(),
        )
    )


def merged(parts: AsyncHandle) -> AsyncQuery:
    """The groups of all files, of those of each."""
    return (
        parts.group_by("key")
        .agg(
            files="count(*)",
            # What sums integers is a wider type.
            rows=col("rows").sum().cast("BIGINT"),
            total=col("total").sum(),
            mean=col("total").sum() / col("numbers").sum(),
            least=col("least").min(),
            greatest=col("greatest").max(),
        )
        .sort("key")
    )


async def read(client: AsyncPolarwayClient, paths: Sequence[str], args: argparse.Namespace) -> Outcomes:
    """Opens all files, at most `--at-once` at a time, and then groups the rows of those that could be opened."""
    opened: list[tuple[str, AsyncHandle]] = []
    outcomes = Outcomes()
    for path, leased in zip(paths, await client.batch_read(paths, limit=args.at_once), strict=True):
        match leased.variant:
            case Ok(handle):
                opened.append((path, handle))
            case Err(error):
                outcomes.errors.append((path, error))
    queries = (groups(handle, args.by, args.value) for _, handle in opened)
    tables = await client.batch_collect(queries, limit=args.at_once)
    # A file whose rows are damaged, or that lacks a column, can be opened all the same.
    for (path, _), collected in zip(opened, tables, strict=True):
        match collected.variant:
            case Ok(table):
                outcomes.tables.append(table)
            case Err(error):
                outcomes.errors.append((path, error))
    return outcomes


async def summary(client: AsyncPolarwayClient, tables: Sequence[Table], output: str | None) -> Result[str, Error]:
    """The groups of all files as text; writes them as well if there is an output."""
    parts = await client.from_arrow(pyarrow.concat_tables(table.to_arrow() for table in tables))
    if isinstance(parts, Err):
        return parts
    async with parts.unwrap() as handle:
        query = merged(handle)
        result = (await query.collect()).map(repr)
        if output is None or isinstance(result, Err):
            return result
        written = await query.write_parquet(output)
        return written.map(lambda done: f"{result.unwrap()}\nwrote {done.rows:,} rows to {output}")


def tell(errors: Sequence[tuple[str, Error]]) -> None:
    """Each file that was left out, and how many there are of each kind."""
    for path, error in errors:
        print(f"{error.kind} {path}: {error.message}", file=sys.stderr)
    for kind, count in sorted(Counter(error.kind for _, error in errors).items()):
        print(f"left out: {count} with {kind}", file=sys.stderr)


async def run(args: argparse.Namespace) -> int:
    """The status that the program ends with."""
    paths = found(args.paths)
    client = AsyncPolarwayClient(args.server)
    connected = await client.connect()
    if isinstance(connected, Err):
        print(connected.unwrap_err(), file=sys.stderr)
        return 1
    try:
        outcomes = await read(client, paths, args)
        tell(outcomes.errors)
        print(f"{len(outcomes.tables)} of {len(paths)} files read")
        if not outcomes.tables:
            return 1
        match (await summary(client, outcomes.tables, args.output)).variant:
            case Ok(text):
                print(text)
                return 3 if outcomes.errors else 0
            case Err(error):
                print(error, file=sys.stderr)
                return 1
    finally:
        await client.close()


def arguments() -> argparse.Namespace:
    """Of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="+", help="files, or patterns in quotes")
    parser.add_argument("--by", required=True, help="column whose values make the groups")
    parser.add_argument("--value", required=True, help="column with numbers")
    parser.add_argument("--output", help="directory (with a slash at its end) or file for the result, as Parquet")
    parser.add_argument("--server", default="localhost:50051", help="HOST:PORT")
    parser.add_argument("--at-once", type=int, default=16, help="files that are read at a time")
    args = parser.parse_args()
    if args.at_once < 1:
        parser.error("--at-once has to be 1 or more")
    if args.output is not None and "://" not in args.output:
        # A slash at its end says that it is a directory.
        args.output = os.path.abspath(args.output) + ("/" if args.output.endswith("/") else "")
    return args


if __name__ == "__main__":
    sys.exit(asyncio.run(run(arguments())))
