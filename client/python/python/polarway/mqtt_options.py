"""How to subscribe at an MQTT broker."""

from __future__ import annotations

import math
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Sequence

_PORTS = {"mqtt": 1883, "mqtts": 8883}
_LARGEST_COUNT = 65_535


@dataclass(frozen=True)
class Broker:
    """Where a broker is.

    >>> Broker.of("mqtt://broker.example", None)
    Broker(host='broker.example', port=1883, tls=None)
    """

    host: str
    port: int
    tls: ssl.SSLContext | None

    @classmethod
    def of(cls, url: str, tls: ssl.SSLContext | None) -> Broker:
        """Reads `mqtt://HOST[:PORT]` or `mqtts://HOST[:PORT]`.

        Raises:
            ValueError: it is something else.
        """
        parts = urlsplit(url if "://" in url else f"mqtt://{url}")
        if parts.scheme not in _PORTS or not parts.hostname or parts.path not in {"", "/"}:
            raise ValueError(f"{url!r} is no address of a broker: write mqtt://HOST:PORT or mqtts://HOST:PORT")
        if parts.username is not None or parts.password is not None:
            raise ValueError("give user and password as arguments, not in the address of the broker")
        if tls is None and parts.scheme == "mqtts":
            tls = ssl.create_default_context()
        return cls(parts.hostname, parts.port or _PORTS[parts.scheme], tls)


@dataclass(frozen=True)
class MqttOptions:
    """What a subscription keeps to; `subscribe_mqtt` explains each.

    Raises:
        ValueError: a value that cannot be kept to.
    """

    topics: tuple[str, ...]
    qos: int = 1
    client_id: str = ""
    clean_session: bool = False
    session_expiry: float = 86_400.0
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    version: int = 5
    batch_size: int = 500
    linger: float = 0.05
    max_unconfirmed: int = 2_000
    keepalive: float = 30.0
    connect_timeout: float = 5.0
    backoff_min: float = 0.1
    backoff_max: float = 10.0

    def __post_init__(self) -> None:
        if not self.topics or not all(self.topics):
            raise ValueError("there has to be a topic, and none may be empty")
        if self.qos not in {0, 1}:
            raise ValueError("qos has to be 0 or 1: with 2 nothing can be confirmed after it was stored")
        if self.version not in {4, 5}:
            raise ValueError("version has to be 5 (MQTT 5) or 4 (MQTT 3.1.1)")
        if not 1 <= self.batch_size <= self.max_unconfirmed <= _LARGEST_COUNT:
            raise ValueError(f"batch_size has to be 1 or more, and max_unconfirmed from it to {_LARGEST_COUNT}")
        if not (self.linger >= 0 and self.session_expiry >= 0 and self.connect_timeout > 0 and self.keepalive >= 1):
            raise ValueError("times cannot be negative, connect_timeout has to be above 0, and keepalive 1 or more")
        if not 0 < self.backoff_min <= self.backoff_max < math.inf:
            raise ValueError("backoff_min has to be above 0, and backoff_max no less")


def topics_of(topics: str | Sequence[str]) -> tuple[str, ...]:
    """One topic, or several."""
    return (topics,) if isinstance(topics, str) else tuple(topics)
