"""Polarway: the Python client of a SQL query cluster."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from polarway.async_client import AsyncPolarwayClient, AsyncRaisingClient
from polarway.async_handles import AsyncHandle, AsyncQuery
from polarway.async_jobs import AsyncJob
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
from polarway.job_status import JobState, JobStatus, JobTable
from polarway.jobs import Job
from polarway.option import Nothing, Option, Some, is_none, is_some
from polarway.option_traversal import collect_option, partition_option, sequence_option, traverse_option
from polarway.result import Err, Ok, Result, is_err, is_ok
from polarway.retry import Retry
from polarway.streams import AsyncRows, Progress, Rows
from polarway.table import Batch, Table
from polarway.traversal import collect, partition, sequence, traverse
from polarway.traversal_async import sequence_async, traverse_async
from polarway.unavailable import CircuitOpen, is_unavailable
from polarway.unwrapping import UnwrapError
from polarway.uploads._rejections import Rejected
from polarway.verbs import Grouped
from polarway.writing import Written

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
    from polarway.kafka import KafkaConsumer, consume_kafka
    from polarway.kafka_messages import KafkaBatch, KafkaMessage
    from polarway.live_counts import Acknowledged, Pushed, SinkCounts
    from polarway.live_table import LiveTableSink
    from polarway.mqtt import MqttSubscription, subscribe_mqtt
    from polarway.mqtt_messages import Message, MessageBatch
    from polarway.parsing import Unread
    from polarway.pumping import Pumped, pump

# What few need is loaded when it is asked for.
_LAZY = {
    **dict.fromkeys(
        (
            "Backoff",
            "Counts",
            "Feed",
            "Merged",
            "Resume",
            "Tagged",
            "Trade",
            "TradeFeed",
            "WebSocketDataStream",
            "connect_exchange",
            "merge_streams",
        ),
        "polarway.feeds",
    ),
    "Acknowledged": "polarway.live_counts",
    "KafkaBatch": "polarway.kafka_messages",
    "KafkaConsumer": "polarway.kafka",
    "KafkaMessage": "polarway.kafka_messages",
    "LiveTableSink": "polarway.live_table",
    "Message": "polarway.mqtt_messages",
    "MessageBatch": "polarway.mqtt_messages",
    "MqttSubscription": "polarway.mqtt",
    "Pumped": "polarway.pumping",
    "Pushed": "polarway.live_counts",
    "SinkCounts": "polarway.live_counts",
    "Unread": "polarway.parsing",
    "consume_kafka": "polarway.kafka",
    "pump": "polarway.pumping",
    "subscribe_mqtt": "polarway.mqtt",
}

__all__ = [
    "Acknowledged",
    "AsyncHandle",
    "AsyncJob",
    "AsyncPolarwayClient",
    "AsyncQuery",
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
    "Expr",
    "Feed",
    "Grouped",
    "Handle",
    "Heartbeat",
    "Job",
    "JobState",
    "JobStatus",
    "JobTable",
    "KafkaBatch",
    "KafkaConsumer",
    "KafkaMessage",
    "LiveTableSink",
    "Merged",
    "Message",
    "MessageBatch",
    "MqttSubscription",
    "Nothing",
    "Ok",
    "Option",
    "PolarwayClient",
    "Progress",
    "Pumped",
    "Pushed",
    "Query",
    "RaisingClient",
    "Rejected",
    "Result",
    "Resume",
    "Retry",
    "Rows",
    "SinkCounts",
    "Some",
    "Table",
    "Tagged",
    "Trade",
    "TradeFeed",
    "Unread",
    "UnwrapError",
    "WebSocketDataStream",
    "Written",
    "as_result",
    "bind",
    "bind_async",
    "col",
    "collect",
    "collect_option",
    "connect_exchange",
    "consume_kafka",
    "do",
    "do_async",
    "heartbeat",
    "is_err",
    "is_none",
    "is_ok",
    "is_some",
    "is_unavailable",
    "lit",
    "merge_streams",
    "partition",
    "partition_option",
    "pump",
    "sequence",
    "sequence_async",
    "sequence_option",
    "subscribe_mqtt",
    "traverse",
    "traverse_async",
    "traverse_option",
]

if not TYPE_CHECKING:  # for a type checker it would be a name for every typing error

    def __getattr__(name: str) -> object:
        """What is loaded when it is first asked for: who only queries waits for less."""
        if name not in _LAZY:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value: object = getattr(importlib.import_module(_LAZY[name]), name)
        globals()[name] = value
        return value
