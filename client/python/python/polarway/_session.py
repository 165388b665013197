"""What the clients for asyncio and for code that blocks have in common."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, TypeVar

from polarway._limit import Limit
from polarway._polarway import NativeClient
from polarway._repeatable import never
from polarway._retrying import Retrying
from polarway._token import Token
from polarway._traffic import AWAY, FORKED, Traffic
from polarway.options import Options
from polarway.parameters import encoded
from polarway.result import Err, Ok, Result
from polarway.retry import Retry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from polarway._calls import Start
    from polarway.breaker import CircuitBreaker
    from polarway.error import Error
    from polarway.parameters import Encoded, Parameters
    from polarway.reading import Path

T = TypeVar("T")

_RETRY = Retry()


class Session:
    """Where the cluster is, and the connection to it once there is one.

    Args:
        endpoints: Addresses `HOST:PORT` of servers of one cluster: one, several separated by commas, or a sequence.
            With TLS they are written `https://HOST:PORT`, all of them.
        connect_timeout: Seconds to wait for one server to accept a connection.
        retry_for: Seconds for which a statement of whose result nothing has come is sent again after its server was
            lost; 0: not at all.
        retry: Which calls are made again after other errors, and when; None: none.
        breaker: Is asked before each call that is not part of another, and told of its end.
        max_concurrent: Calls that are under way at once; None: any number.
        max_waiting: Calls beyond these that wait for their turn. Any more is an error of kind `OVERLOADED` at once.
        progress: What `query` does about a progress bar unless asked: see there.
        token: Tells the servers who calls. It is sent to `endpoints` only, and shown nowhere.
        token_file: A file that has the token, in place of `token`. It is read again for new connections, and when a
            server does not take the token: so another one can be put in its place.
        tls_ca: A file (PEM) with the authorities that servers with TLS have their certificates from, in place of those
            of the system. It is read when the client connects.

    Raises:
        ValueError: a number is out of its range, `token` is none, or both `token` and `token_file` are given.
    """

    def __init__(  # noqa: PLR0913 - one argument for each option
        self,
        endpoints: str | Sequence[str] = "localhost:50051",
        *,
        connect_timeout: float = 5.0,
        retry_for: float = 30.0,
        retry: Retry | None = _RETRY,
        breaker: CircuitBreaker | None = None,
        max_concurrent: int | None = None,
        max_waiting: int = 256,
        progress: bool | None = None,
        token: str | None = None,
        token_file: Path | None = None,
        tls_ca: Path | None = None,
    ) -> None:
        known_by = Token.of(token, token_file)
        self._options = Options.of(
            endpoints, connect_timeout, retry_for, max_concurrent, max_waiting, token=known_by, tls_ca=tls_ca
        )
        self._breaker = breaker
        self._retrying = None if retry is None else Retrying(retry)
        self._progress = progress
        self._native: NativeClient | None = None
        self._traffic = Traffic()

    def _connecting(self) -> tuple[Traffic, Start[NativeClient]]:
        """What the calls of a new connection are, and the one that makes it."""
        options = self._options
        token = Token() if options.token is None else options.token
        connect = partial(
            NativeClient.connect,
            list(options.endpoints),
            options.connect_timeout,
            options.retry_for,
            token.text,
            token.file,
            options.tls_ca,
        )
        traffic = Traffic(
            limit=None if options.max_concurrent is None else Limit(options.max_concurrent, options.max_waiting),
            circuit=None if self._breaker is None else self._breaker.circuit,
            retrying=self._retrying,
        )
        return traffic, traffic.repeated(connect)

    def _keep(self, traffic: Traffic, native: NativeClient) -> None:
        """Takes a new connection, unless somebody else has made one meanwhile."""
        if self._native is None:
            self._traffic, self._native = traffic, native
            self._kept()

    def _kept(self) -> None:
        """There is a new connection."""

    def _ready(self, parameters: Parameters | None) -> Result[tuple[NativeClient, list[Encoded]], Error]:
        """The connection, and the parameters of a statement for it."""
        connected = self._connected()
        if isinstance(connected, Err):
            return connected
        return encoded(parameters).map(lambda values: (connected.unwrap(), values))

    def _asking(self, job_id: str) -> Result[Start[str], Error]:
        """The call that tells how a job is."""
        return self._connected().map(lambda native: self._traffic.call(partial(native.job, job_id)))

    def _cancelling(self, job_id: str) -> Result[Start[bool], Error]:
        """The call that ends a job. Made again, it would tell of one that it has ended itself that it was over."""
        return self._connected().map(lambda native: self._traffic.call(partial(native.cancel_job, job_id), never))

    def _connected(self) -> Result[NativeClient, Error]:
        if self._native is None:
            return Err(AWAY)
        return Err(FORKED) if self._traffic.is_forked() else Ok(self._native)

    def _at_once(self, limit: int) -> int:
        """How many calls one call for many may make at once: no more than would wait for each other."""
        return min(limit, self._options.max_concurrent or limit)


def raised(result: Result[T, Error]) -> T:
    """The value; raises the error."""
    if isinstance(result, Err):
        raise result.unwrap_err()
    return result.unwrap()
