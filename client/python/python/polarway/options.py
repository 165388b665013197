"""How to connect, and how much at once."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from polarway._token import Token
    from polarway.reading import Path


@dataclass(frozen=True)
class Options:
    """Where the cluster is, how long to wait for it, and how much to ask of it at once.

    Attributes:
        endpoints: Addresses `HOST:PORT` of servers of one cluster, or `https://HOST:PORT` with TLS; the first that
            answers is used until it fails.
        connect_timeout: Seconds to wait for one server to accept a connection.
        retry_for: Seconds for which a statement of whose result nothing has come is sent again after its server was
            lost, to the others and the same in turn, under the same id. 0: not at all.
        max_concurrent: Calls that are under way at once, 1 or more; None: any number.
        max_waiting: Calls that wait beyond these, 0 or more.
        token: What the servers are told of who calls; it goes to `endpoints` only.
        tls_ca: A file (PEM) with the authorities that servers with TLS have their certificates from; None: those of the
            system.

    Raises:
        ValueError: a limit is out of its range.
    """

    endpoints: tuple[str, ...]
    connect_timeout: float = 5.0
    retry_for: float = 30.0
    max_concurrent: int | None = None
    max_waiting: int = 256
    token: Token | None = field(default=None, repr=False)
    tls_ca: str | None = None

    def __post_init__(self) -> None:
        if self.max_concurrent is not None and self.max_concurrent < 1:
            raise ValueError(f"max_concurrent must be 1 or more, or None, not {self.max_concurrent}")
        if self.max_waiting < 0:
            raise ValueError(f"max_waiting must be 0 or more, not {self.max_waiting}")

    @classmethod
    def of(  # noqa: PLR0913 - one argument for each option
        cls,
        endpoints: str | Sequence[str],
        connect_timeout: float,
        retry_for: float,
        max_concurrent: int | None,
        max_waiting: int,
        *,
        token: Token | None,
        tls_ca: Path | None,
    ) -> Options:
        """Takes one address, several separated by commas, or a sequence of them."""
        given = endpoints.split(",") if isinstance(endpoints, str) else list(endpoints)
        addresses = tuple(address.strip() for address in given)
        authorities = None if tls_ca is None else os.fsdecode(tls_ca)
        return cls(addresses, connect_timeout, retry_for, max_concurrent, max_waiting, token, authorities)
