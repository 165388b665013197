"""How rows are sent to a live table."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias
from urllib.parse import quote, urlencode, urlsplit

if TYPE_CHECKING:
    from collections.abc import Sequence

Durability: TypeAlias = Literal["received", "wal", "object_store"]

# What a server takes unless it is configured to take more.
LARGEST_FRAME = 16 * 1024 * 1024
# `#`, 20 digits and a line feed before the rows.
HEADER_BYTES = 22


@dataclass(frozen=True)
class SinkOptions:
    """What a `LiveTableSink` keeps to; its constructor explains each.

    Raises:
        ValueError: a value that cannot be kept to.
    """

    batch_rows: int = 2_000
    batch_bytes: int = 256 * 1024
    linger: float = 0.01
    max_unacknowledged_frames: int = 64
    max_unacknowledged_bytes: int = 16 * 1024 * 1024
    connect_timeout: float = 5.0
    retry_for: float = math.inf
    backoff_min: float = 0.1
    backoff_max: float = 10.0

    def __post_init__(self) -> None:
        if min(self.batch_rows, self.max_unacknowledged_frames, self.max_unacknowledged_bytes) < 1:
            raise ValueError("batch_rows and max_unacknowledged_* have to be 1 or more")
        if not 1 <= self.batch_bytes <= LARGEST_FRAME - HEADER_BYTES:
            raise ValueError(f"batch_bytes has to be from 1 to {LARGEST_FRAME - HEADER_BYTES}")
        # `not >=` refuses NaN as well.
        if not (self.linger >= 0 and self.retry_for >= 0 and self.connect_timeout > 0):
            raise ValueError("linger and retry_for cannot be negative, and connect_timeout has to be above 0")
        if not 0 < self.backoff_min <= self.backoff_max < math.inf:
            raise ValueError("backoff_min has to be above 0, and backoff_max no less")


def listed(addresses: str | Sequence[str]) -> tuple[str, ...]:
    """The servers as `ws://HOST:PORT`: one address, several separated by commas, or a sequence of them.

    Raises:
        ValueError: there is none, one has another scheme, or some are with TLS and others without.

    >>> listed("a:8081, ws://b:8081/"), listed(["wss://b:8443"])
    (('ws://a:8081', 'ws://b:8081'), ('wss://b:8443',))
    """
    given = addresses.split(",") if isinstance(addresses, str) else list(addresses)
    full = [address if "://" in address else f"ws://{address}" for address in map(str.strip, given)]
    for address in full:
        parts = urlsplit(address)
        if parts.scheme not in {"ws", "wss"} or not parts.netloc:
            raise ValueError(f"{address!r} is no address of a server: write ws://HOST:PORT, or wss:// for TLS")
    if not full:
        raise ValueError("a sink needs the address of a server")
    # Rows and token go to each of them: one without TLS would show what the others hide.
    if len({is_tls(address) for address in full}) > 1:
        raise ValueError("some addresses are with TLS and some without: write all with wss://, or none")
    return tuple(address.rstrip("/") for address in full)


def is_tls(address: str) -> bool:
    """Whether a server has to prove its name, and what is sent to it is encrypted.

    >>> is_tls("wss://a:8443"), is_tls("ws://a:8081")
    (True, False)
    """
    return urlsplit(address).scheme == "wss"


def path_of(stream: str, producer: str, ack: Durability | None) -> str:
    """Where a server takes the rows of a stream.

    >>> path_of("public.ticks", "a b", "wal")
    '/v1/streams/public.ticks?producer=a%20b&ack=wal'
    """
    parameters = {"producer": producer} if ack is None else {"producer": producer, "ack": ack}
    return f"/v1/streams/{quote(stream, safe='')}?{urlencode(parameters, quote_via=quote, safe='')}"


def moved_to(address: str, location: str) -> str:
    """The address that a redirect names. It keeps the scheme: a server does not know that TLS ends before it.

    So rows and a token, which are sent along, never go where they could be read and could not be before.

    >>> moved_to("wss://a:8443", "ws://b:8081/v1/streams/ticks")
    'wss://b:8081'
    """
    scheme = urlsplit(address).scheme
    return f"{scheme}://{urlsplit(location).netloc or urlsplit(address).netloc}"
