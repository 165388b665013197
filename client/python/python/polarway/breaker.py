"""`CircuitBreaker`: stops asking a server that does not answer, and tries it again after a while."""

from __future__ import annotations

import functools
import inspect
import time
from typing import TYPE_CHECKING, ParamSpec, TypeVar, cast, overload

from polarway._wrong_type import wrong_type
from polarway.attempt import Attempt
from polarway.circuit import Circuit, CircuitState
from polarway.result import Err, Result, require_result
from polarway.shared_circuit import SharedCircuit
from polarway.unavailable import CircuitOpen, is_unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from typing_extensions import Never

P = ParamSpec("P")
T = TypeVar("T")
E = TypeVar("E")


class CircuitBreaker:
    """Refuses calls for a while after several failures in a row.

    After `threshold` failures in a row it is open for `timeout` seconds and refuses every call. Then it lets one call
    through, the probe: its success closes the breaker, its failure opens it again. A cancelled probe leaves its place
    to the next call.

    What counts as a failure: an exception, or a returned `Err` with an error, for which `counts` says True. Every other
    end of a call is a success, also an error that does not count: a server that says the SQL is wrong is there. A call
    that is cancelled or interrupted is neither.

    Functions that raise are called with `call` and `call_sync` or decorated with `protect`: a refusal is raised as
    `CircuitOpen`. Functions that return a `Result` are called with `try_call` and `try_call_sync` or decorated with
    `protect_result`: a refusal is an `Err(CircuitOpen)`. For what is no single function there is `attempt`.

    A breaker may be shared by tasks, threads and event loops; it never waits for a call.

    Args:
        threshold: Failures in a row that open it; 1 or more.
        timeout: Seconds that it stays open; more than 0.
        clock: Seconds that never go backwards.
        counts: Which errors are failures of the server.

    Raises:
        ValueError: `threshold` or `timeout` is too small.

    >>> breaker = CircuitBreaker(threshold=2)
    >>> def connect() -> None:
    ...     raise ConnectionRefusedError
    >>> for _ in range(2):
    ...     try:
    ...         breaker.call_sync(connect)
    ...     except ConnectionRefusedError:
    ...         print(breaker.failures, breaker.state)
    1 CLOSED
    2 OPEN
    """

    def __init__(
        self,
        threshold: int = 5,
        timeout: float = 30.0,
        *,
        clock: Callable[[], float] = time.monotonic,
        counts: Callable[[object], bool] = is_unavailable,
    ) -> None:
        self._circuit = SharedCircuit(Circuit(threshold, timeout), clock, counts)

    @property
    def state(self) -> CircuitState:
        """CLOSED, OPEN, or HALF_OPEN once the timeout is over: the next call is the probe, or one is under way."""
        return self._circuit.state()

    @property
    def circuit(self) -> SharedCircuit:
        """Its decisions, for a client that has it as an option and tells it of each call."""
        return self._circuit

    @property
    def failures(self) -> int:
        """Failures since the last success."""
        return self._circuit.failures()

    def attempt(self) -> Attempt:
        """A context manager around what is to be counted as one call. In async code the block may await.

        Raises:
            CircuitOpen: on entry; the block is not run.

        >>> with CircuitBreaker().attempt():
        ...     print("asked")
        asked
        """
        return Attempt(self._circuit, self._circuit.ask)

    async def call(self, f: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Awaits `f(*args, **kwargs)` and gives what it gives.

        Raises:
            CircuitOpen: the call was refused and not made.

        >>> import asyncio
        >>> async def answer() -> int:
        ...     return 42
        >>> asyncio.run(CircuitBreaker().call(answer))
        42
        """
        with self.attempt() as attempt:
            return attempt.note(await f(*args, **kwargs))

    def call_sync(self, f: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Calls `f(*args, **kwargs)` and gives what it gives.

        Raises:
            CircuitOpen: the call was refused and not made.
            TypeError: `f` is async.

        >>> CircuitBreaker().call_sync(max, 1, 2)
        2
        """
        with self.attempt() as attempt:
            value = f(*args, **kwargs)
            _require_plain("call_sync", f, value)
            return attempt.note(value)

    async def try_call(
        self, f: Callable[P, Awaitable[Result[T, E]]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Result[T, E | CircuitOpen]:
        """Awaits `f(*args, **kwargs)` and gives its `Result`, or `Err(CircuitOpen)` where the call was refused.

        Raises:
            TypeError: `f` gave something else than a `Result`.

        >>> import asyncio
        >>> from polarway import Ok
        >>> async def answer() -> Result[int, str]:
        ...     return Ok(42)
        >>> asyncio.run(CircuitBreaker().try_call(answer))
        Ok(42)
        """
        answer = self._circuit.ask()
        if isinstance(answer, CircuitOpen):
            return Err(answer)
        with Attempt(self._circuit, lambda: answer) as attempt:
            result = await f(*args, **kwargs)
            require_result(result, "try_call", f)
            return attempt.note(result)

    def try_call_sync(
        self, f: Callable[P, Result[T, E]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Result[T, E | CircuitOpen]:
        """Calls `f(*args, **kwargs)` and gives its `Result`, or `Err(CircuitOpen)` where the call was refused.

        Raises:
            TypeError: `f` gave something else than a `Result`.

        >>> from polarway import Ok
        >>> CircuitBreaker().try_call_sync(lambda: Ok(42))
        Ok(42)
        """
        answer = self._circuit.ask()
        if isinstance(answer, CircuitOpen):
            return Err(answer)
        with Attempt(self._circuit, lambda: answer) as attempt:
            result = f(*args, **kwargs)
            require_result(result, "try_call_sync", f)
            return attempt.note(result)

    @overload
    def protect(self, f: Callable[P, Coroutine[object, Never, T]], /) -> Callable[P, Coroutine[object, object, T]]: ...
    @overload
    def protect(self, f: Callable[P, T], /) -> Callable[P, T]: ...
    def protect(self, f: Callable[P, object], /) -> Callable[P, object]:
        """Decorates a function, plain or async, to be called through `call` or `call_sync`.

        >>> breaker = CircuitBreaker(threshold=1)
        >>> @breaker.protect
        ... def connect() -> None:
        ...     raise ConnectionRefusedError("nobody listens")
        >>> connect()
        Traceback (most recent call last):
        ConnectionRefusedError: nobody listens
        >>> try:
        ...     connect()
        ... except CircuitOpen as refusal:
        ...     print(refusal.retry_after > 29)
        True
        """
        if inspect.iscoroutinefunction(f):

            @functools.wraps(f)
            async def protected_async(*args: P.args, **kwargs: P.kwargs) -> object:
                return await self.call(f, *args, **kwargs)

            return protected_async

        @functools.wraps(f)
        def protected(*args: P.args, **kwargs: P.kwargs) -> object:
            return self.call_sync(f, *args, **kwargs)

        return protected

    @overload
    def protect_result(
        self, f: Callable[P, Coroutine[object, Never, Result[T, E]]], /
    ) -> Callable[P, Coroutine[object, object, Result[T, E | CircuitOpen]]]: ...
    @overload
    def protect_result(self, f: Callable[P, Result[T, E]], /) -> Callable[P, Result[T, E | CircuitOpen]]: ...
    def protect_result(
        self, f: Callable[P, Coroutine[object, Never, Result[T, E]]] | Callable[P, Result[T, E]], /
    ) -> Callable[P, object]:
        """Decorates a function that returns a `Result`, plain or async, for `try_call` or `try_call_sync`.

        >>> breaker = CircuitBreaker(threshold=1)
        >>> @breaker.protect_result
        ... def connect() -> Result[int, Exception]:
        ...     return Err(ConnectionRefusedError("nobody listens"))
        >>> connect(), connect().map_err(lambda refusal: type(refusal).__name__)
        (Err(ConnectionRefusedError('nobody listens')), Err('CircuitOpen'))
        """
        if inspect.iscoroutinefunction(f):

            @functools.wraps(f)
            async def protected_async(*args: P.args, **kwargs: P.kwargs) -> object:
                return await self.try_call(f, *args, **kwargs)

            return protected_async

        plain = cast("Callable[P, Result[T, E]]", f)  # the other half of the overload

        @functools.wraps(f)
        def protected(*args: P.args, **kwargs: P.kwargs) -> object:
            return self.try_call_sync(plain, *args, **kwargs)

        return protected


def _require_plain(method: str, f: object, value: object) -> None:
    if inspect.iscoroutine(value):
        # Its failures would come after the call was counted as a success.
        raise wrong_type(method, f, value, "a value")
