"""Polarway: the Python client of a SQL query cluster."""

from typing import TYPE_CHECKING

from polarway.async_client import AsyncPolarwayClient, AsyncRaisingClient
from polarway.attempt import Attempt
from polarway.breaker import CircuitBreaker
from polarway.capture import as_result
from polarway.circuit import CircuitState
from polarway.client import PolarwayClient, RaisingClient
from polarway.do_notation import Do, DoAsync, DoAsyncOption, DoOption, bind, bind_async, do, do_async
from polarway.error import Error
from polarway.option import Nothing, Option, Some, is_none, is_some
from polarway.option_traversal import collect_option, partition_option, sequence_option, traverse_option
from polarway.result import Err, Ok, Result, is_err, is_ok
from polarway.streams import AsyncRows, Progress, Rows
from polarway.table import Batch, Table
from polarway.traversal import collect, partition, sequence, traverse
from polarway.traversal_async import sequence_async, traverse_async
from polarway.unavailable import CircuitOpen, is_unavailable
from polarway.unwrapping import UnwrapError

if TYPE_CHECKING:
    from polarway.feeds import (
        Backoff,
        Counts,
        Feed,
        Merged,
        Resume,
        Tagged,
        Trade,
        TradeFeed,
        WebSocketDataStream,
        connect_exchange,
        merge_streams,
    )

__all__ = [
    "AsyncPolarwayClient",
    "AsyncRaisingClient",
    "AsyncRows",
    "Attempt",
    "Backoff",
    "Batch",
    "CircuitBreaker",
    "CircuitOpen",
    "CircuitState",
    "Counts",
    "Do",
    "DoAsync",
    "DoAsyncOption",
    "DoOption",
    "Err",
    "Error",
    "Feed",
    "Merged",
    "Nothing",
    "Ok",
    "Option",
    "PolarwayClient",
    "Progress",
    "RaisingClient",
    "Result",
    "Resume",
    "Rows",
    "Some",
    "Table",
    "Tagged",
    "Trade",
    "TradeFeed",
    "UnwrapError",
    "WebSocketDataStream",
    "as_result",
    "bind",
    "bind_async",
    "collect",
    "collect_option",
    "connect_exchange",
    "do",
    "do_async",
    "is_err",
    "is_none",
    "is_ok",
    "is_some",
    "is_unavailable",
    "merge_streams",
    "partition",
    "partition_option",
    "sequence",
    "sequence_async",
    "sequence_option",
    "traverse",
    "traverse_async",
    "traverse_option",
]

if not TYPE_CHECKING:  # for a type checker it would be a name for every typing error

    def __getattr__(name: str) -> object:
        """The names of `polarway.feeds`, which is imported for the first of them: who only queries waits for less."""
        if name in __all__:
            from polarway import feeds  # noqa: PLC0415

            return getattr(feeds, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
