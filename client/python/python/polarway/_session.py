"""What the clients for asyncio and for code that blocks have in common."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, TypeVar

from polarway._polarway import NativeClient
from polarway.error import Error
from polarway.options import Options
from polarway.parameters import encoded
from polarway.result import Err, Ok, Result

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from polarway._polarway import Call, Done
    from polarway.parameters import Encoded, Parameters

T = TypeVar("T")


class Session:
    """Where the cluster is, and the connection to it once there is one."""

    def __init__(
        self,
        endpoints: str | Sequence[str] = "localhost:50051",
        *,
        connect_timeout: float = 5.0,
        retry_for: float = 30.0,
        progress: bool | None = None,
    ) -> None:
        """`progress` is what `query` does about a progress bar unless asked: see there."""
        self._progress = progress
        self._options = Options.of(endpoints, connect_timeout, retry_for)
        self._native: NativeClient | None = None

    def _connecting(self) -> Callable[[Done[NativeClient]], Call]:
        options = self._options
        return partial(NativeClient.connect, list(options.endpoints), options.connect_timeout, options.retry_for)

    def _keep(self, native: NativeClient) -> None:
        self._native = native

    def _ready(self, parameters: Parameters | None) -> Result[tuple[NativeClient, list[Encoded]], Error]:
        """The connection, and the parameters of a statement for it."""
        connected = self._connected()
        if isinstance(connected, Err):
            return connected
        return encoded(parameters).map(lambda values: (connected.unwrap(), values))

    def _asking(self, job_id: str) -> Result[Callable[[Done[str]], Call], Error]:
        """The call that tells how a job is."""
        return self._connected().map(lambda native: partial(native.job, job_id))

    def _connected(self) -> Result[NativeClient, Error]:
        return disconnected() if self._native is None else Ok(self._native)


def disconnected() -> Err[Error]:
    """What a client says that has no connection."""
    return Err(Error("DRAINING", "the client is not connected", hint="enter its context, or call connect()"))


def raised(result: Result[T, Error]) -> T:
    """The value; raises the error."""
    if isinstance(result, Err):
        raise result.unwrap_err()
    return result.unwrap()
