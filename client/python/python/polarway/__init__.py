"""Polarway: the Python client of a SQL query cluster."""

from polarway.async_client import AsyncPolarwayClient, AsyncRaisingClient
from polarway.async_handles import AsyncHandle, AsyncQuery
from polarway.attempt import Attempt
from polarway.breaker import CircuitBreaker
from polarway.capture import as_result
from polarway.circuit import CircuitState
from polarway.client import PolarwayClient, RaisingClient
from polarway.do_notation import Do, DoAsync, DoAsyncOption, DoOption, bind, bind_async, do, do_async
from polarway.error import Error
from polarway.expressions import Expr, col, lit
from polarway.handles import Handle, Query
from polarway.heartbeat import Heartbeat, heartbeat
from polarway.option import Nothing, Option, Some, is_none, is_some
from polarway.option_traversal import collect_option, partition_option, sequence_option, traverse_option
from polarway.result import Err, Ok, Result, is_err, is_ok
from polarway.streams import AsyncRows, Progress, Rows
from polarway.table import Batch, Table
from polarway.traversal import collect, partition, sequence, traverse
from polarway.traversal_async import sequence_async, traverse_async
from polarway.unavailable import CircuitOpen, is_unavailable
from polarway.unwrapping import UnwrapError
from polarway.verbs import Grouped

__all__ = [
    "AsyncHandle",
    "AsyncPolarwayClient",
    "AsyncQuery",
    "AsyncRaisingClient",
    "AsyncRows",
    "Attempt",
    "Batch",
    "CircuitBreaker",
    "CircuitOpen",
    "CircuitState",
    "Do",
    "DoAsync",
    "DoAsyncOption",
    "DoOption",
    "Err",
    "Error",
    "Expr",
    "Grouped",
    "Handle",
    "Heartbeat",
    "Nothing",
    "Ok",
    "Option",
    "PolarwayClient",
    "Progress",
    "Query",
    "RaisingClient",
    "Result",
    "Rows",
    "Some",
    "Table",
    "UnwrapError",
    "as_result",
    "bind",
    "bind_async",
    "col",
    "collect",
    "collect_option",
    "do",
    "do_async",
    "heartbeat",
    "is_err",
    "is_none",
    "is_ok",
    "is_some",
    "is_unavailable",
    "lit",
    "partition",
    "partition_option",
    "sequence",
    "sequence_async",
    "sequence_option",
    "traverse",
    "traverse_async",
    "traverse_option",
]
