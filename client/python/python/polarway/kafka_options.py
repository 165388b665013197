"""How to consume topics of a Kafka cluster."""

from __future__ import annotations

import math
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

Mechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]
Start = Literal["earliest", "latest"]

_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
_STARTS = ("earliest", "latest")
_HIGHEST_PORT = 65_535


@dataclass(frozen=True)
class KafkaOptions:
    """What a consumer keeps to; `consume_kafka` explains each.

    Raises:
        ValueError: a value that cannot be kept to.
    """

    topics: tuple[str, ...]
    bootstrap_servers: tuple[str, ...] = ("localhost:9092",)
    group_id: str = "polarway"
    client_id: str = "polarway"
    tls: ssl.SSLContext | None = None
    sasl_mechanism: Mechanism = "SCRAM-SHA-512"
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    start: Start = "earliest"
    max_records: int = 10_000
    max_delay: float = 1.0
    prefetch_bytes: int = 16 * 1024 * 1024
    partition_bytes: int = 1024 * 1024
    session_timeout: float = 30.0
    max_poll_interval: float = 300.0
    keepalive: float = 30.0
    connect_timeout: float = 5.0
    commit_timeout: float = 10.0
    backoff_min: float = 0.1
    backoff_max: float = 10.0

    def __post_init__(self) -> None:
        if not self.topics or not all(self.topics):
            raise ValueError("there has to be a topic, and none may be empty")
        if not self.group_id:
            raise ValueError("group_id cannot be empty: under it the cluster keeps what was confirmed")
        if self.sasl_mechanism not in _MECHANISMS:
            raise ValueError(f"sasl_mechanism has to be one of {', '.join(_MECHANISMS)}")
        if (self.user is None) != (self.password is None):
            raise ValueError("user and password have to be given together, or neither")
        if self.start not in _STARTS:
            raise ValueError("start has to be 'earliest' or 'latest'")
        if not (self.max_records >= 1 and self.prefetch_bytes >= 1 and self.partition_bytes >= 1):
            raise ValueError("max_records, prefetch_bytes and partition_bytes have to be 1 or more")
        if not 0 <= self.max_delay < math.inf:
            raise ValueError("max_delay cannot be negative or infinite")
        times = (self.session_timeout, self.max_poll_interval, self.keepalive, self.connect_timeout)
        if not all(0 < time < math.inf for time in (*times, self.commit_timeout)):
            raise ValueError("timeouts and intervals have to be above 0")
        if not 0 < self.backoff_min <= self.backoff_max < math.inf:
            raise ValueError("backoff_min has to be above 0, and backoff_max no less")

    @property
    def protocol(self) -> str:
        """Kafka's name for what is spoken: with TLS or without, with a user or without.

        >>> KafkaOptions(("logs",), user="u", password="p").protocol
        'SASL_PLAINTEXT'
        """
        return ("SASL_" if self.user is not None else "") + ("PLAINTEXT" if self.tls is None else "SSL")


def names_of(names: str | Sequence[str]) -> tuple[str, ...]:
    """One name, or several."""
    return (names,) if isinstance(names, str) else tuple(names)


def servers_of(servers: str | Sequence[str]) -> tuple[str, ...]:
    """Addresses, as one text with commas or as several.

    Raises:
        ValueError: one is no address.

    >>> servers_of("a.example, b.example:9093")
    ('a.example:9092', 'b.example:9093')
    """
    listed = servers.split(",") if isinstance(servers, str) else list(servers)
    if not listed:
        raise ValueError("there has to be an address of a broker")
    return tuple(_address_of(server.strip()) for server in listed)


def _address_of(server: str) -> str:
    if "@" in server:
        # What stands before it may be a password.
        raise ValueError("give user and password as arguments, not in the address of a broker")
    host, colon, port = server.rpartition(":")
    if not colon or server.endswith("]"):
        host, port = server, "9092"
    is_port = port.isascii() and port.isdigit() and 0 < int(port) <= _HIGHEST_PORT
    if not host or "/" in host or any(map(str.isspace, host)) or not is_port:
        raise ValueError(f"{server!r} is no address of a broker: write HOST:PORT")
    return f"{host}:{port}"


def tls_of(tls: ssl.SSLContext | bool) -> ssl.SSLContext | None:
    """The context to connect with, if any."""
    if isinstance(tls, bool):
        return ssl.create_default_context() if tls else None
    return tls
