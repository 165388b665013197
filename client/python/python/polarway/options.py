"""How to connect."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Options:
    """Where the cluster is and how long to wait for it.

    Attributes:
        endpoints: Addresses `HOST:PORT` of servers of one cluster; the first that answers is used until it fails.
        connect_timeout: Seconds to wait for one server to accept a connection.
        retry_for: Seconds for which a statement of whose result nothing has come is sent again after its server was
            lost, to the others and the same in turn, under the same id. 0: not at all.
    """

    endpoints: tuple[str, ...]
    connect_timeout: float = 5.0
    retry_for: float = 30.0

    @classmethod
    def of(cls, endpoints: str | Sequence[str], connect_timeout: float, retry_for: float) -> Options:
        """Takes one address, several separated by commas, or a sequence of them."""
        given = endpoints.split(",") if isinstance(endpoints, str) else list(endpoints)
        return cls(tuple(address.strip() for address in given), connect_timeout, retry_for)
