"""`Result`: a value, or the error that is there instead of it.

`Ok` and `Err` are the only two subclasses of `Result`. All are covariant: an `Ok[int]` is a `Result[int, Anything]`.
A `Result` never changes, compares and hashes by what it holds, and can be copied and pickled.

Two names have two readings. On the class, `Result.ok(v)` and `Result.err(e)` build; on an instance, `r.ok()` and
`r.err()` ask, and give an `Option`. A descriptor of each name tells the two apart, for Python and for type checkers.

`bool(result)` raises `TypeError`. An `Ok(False)` in an `if` would mean one thing to its writer and another to its
reader, so `is_ok()` has to be written out. Pyright reports such an `if` before it runs.

Type checkers don't know yet that a class has only two subclasses. Where that matters (a `match` that must be seen as
exhaustive; mypy, which loses the types of what `case Ok(v)` finds in a base class), match on `r.variant`: the same
object, typed as `Ok[T] | Err[E]`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Generic, NoReturn, Protocol, TypeVar, final, overload

# By module, since it imports this one.
from polarway import option as _option
from polarway._wrong_type import wrong_type
from polarway.unwrapping import UnwrapError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from typing_extensions import Never, Self, TypeIs

    from polarway.option import Option

T = TypeVar("T")
E = TypeVar("E")
U = TypeVar("U")
F = TypeVar("F")
T_co = TypeVar("T_co", covariant=True)
E_co = TypeVar("E_co", covariant=True)


class _BuildOk(Protocol):
    def __call__(self, value: T, /) -> Result[T, Never]: ...


class _BuildErr(Protocol):
    def __call__(self, error: E, /) -> Result[Never, E]: ...


class _OkName:
    """`Result.ok(value)` builds, `result.ok()` gives the value as an `Option`."""

    @overload
    def __get__(self, instance: None, owner: object) -> _BuildOk: ...
    @overload
    def __get__(self, instance: Result[T, object], owner: object) -> Callable[[], Option[T]]: ...
    def __get__(self, instance: Result[T, object] | None, owner: object) -> _BuildOk | Callable[[], Option[T]]:
        return Ok if instance is None else partial(_value_of, instance)


class _ErrName:
    """`Result.err(error)` builds, `result.err()` gives the error as an `Option`."""

    @overload
    def __get__(self, instance: None, owner: object) -> _BuildErr: ...
    @overload
    def __get__(self, instance: Result[object, E], owner: object) -> Callable[[], Option[E]]: ...
    def __get__(self, instance: Result[object, E] | None, owner: object) -> _BuildErr | Callable[[], Option[E]]:
        return Err if instance is None else partial(_error_of, instance)


class Result(ABC, Generic[T_co, E_co]):
    """A value (`Ok`) or an error (`Err`).

    >>> Result.ok(42), Result.err("no such file")
    (Ok(42), Err('no such file'))
    >>> Ok(42).ok(), Ok(42).err()
    (Some(42), Nothing())
    >>> match Result.ok(42):
    ...     case Ok(value):
    ...         print(value)
    ...     case Err(error):
    ...         print("failed:", error)
    42
    """

    __slots__ = ()

    ok = _OkName()
    """`Result.ok(value)` builds a `Result`; `result.ok()` gives the value as an `Option`."""

    err = _ErrName()
    """`Result.err(error)` builds a `Result`; `result.err()` gives the error as an `Option`."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if cls.__module__ != __name__:
            raise TypeError("Result has two cases, Ok and Err, and takes no more")

    @property
    @abstractmethod
    def variant(self) -> Ok[T_co] | Err[E_co]:
        """The same object, typed as one of its two cases, so that checkers see a match as exhaustive.

        >>> def describe(result: Result[int, str]) -> str:
        ...     match result.variant:
        ...         case Ok(value):
        ...             return f"{value + 1}"
        ...         case Err(error):
        ...             return error.upper()
        >>> describe(Err("gone"))
        'GONE'
        """

    @abstractmethod
    def is_ok(self) -> bool:
        """Whether there is a value. The function `is_ok(result)` narrows the type as well.

        >>> Ok(None).is_ok()
        True
        """

    def is_err(self) -> bool:
        """Whether there is an error. The function `is_err(result)` narrows the type as well.

        >>> Ok(None).is_err()
        False
        """
        return not self.is_ok()

    @abstractmethod
    def map(self, f: Callable[[T_co], U]) -> Result[U, E_co]:
        """Applies `f` to the value; an error passes.

        >>> Ok(42).map(lambda x: x * 2), Err("gone").map(lambda x: x * 2)
        (Ok(84), Err('gone'))
        """

    @abstractmethod
    def map_err(self, f: Callable[[E_co], F]) -> Result[T_co, F]:
        """Applies `f` to the error; a value passes.

        >>> Err("gone").map_err(str.upper), Ok(42).map_err(str.upper)
        (Err('GONE'), Ok(42))
        """

    @abstractmethod
    def and_then(self, f: Callable[[T_co], Result[U, F]]) -> Result[U, E_co | F]:
        """Goes on with `f`, which may fail too; an error passes.

        Raises:
            TypeError: `f` returned something else than a `Result`.

        >>> Ok(5).and_then(lambda x: Ok(100 / x) if x else Err("division by zero"))
        Ok(20.0)
        """

    @abstractmethod
    def or_else(self, f: Callable[[E_co], Result[U, F]]) -> Result[T_co | U, F]:
        """Lets `f` try to make good for the error; a value passes.

        Raises:
            TypeError: `f` returned something else than a `Result`.

        >>> Err("gone").or_else(lambda error: Ok(0))
        Ok(0)
        """

    @abstractmethod
    def unwrap(self) -> T_co:
        """The value.

        Raises:
            UnwrapError: there is an error; it is kept in `UnwrapError.error`, an exception also as the cause.

        >>> Ok(42).unwrap()
        42
        """

    @abstractmethod
    def unwrap_err(self) -> E_co:
        """The error.

        Raises:
            UnwrapError: there is a value.

        >>> Err("gone").unwrap_err()
        'gone'
        """

    @abstractmethod
    def unwrap_or(self, default: U) -> T_co | U:
        """The value, or `default`.

        >>> Err("gone").unwrap_or(0)
        0
        """

    @abstractmethod
    def unwrap_or_else(self, f: Callable[[E_co], U]) -> T_co | U:
        """The value, or what `f` makes of the error.

        >>> Err("gone").unwrap_or_else(len)
        4
        """

    @abstractmethod
    def expect(self, message: str) -> T_co:
        """The value; like `unwrap`, with a message of your own.

        Raises:
            UnwrapError: there is an error.

        >>> Err("gone").expect("the catalog is needed")
        Traceback (most recent call last):
        polarway.unwrapping.UnwrapError: the catalog is needed: 'gone'
        """

    @abstractmethod
    def expect_err(self, message: str) -> E_co:
        """The error; like `unwrap_err`, with a message of your own.

        Raises:
            UnwrapError: there is a value.

        >>> Ok(42).expect_err("should have been refused")
        Traceback (most recent call last):
        polarway.unwrapping.UnwrapError: should have been refused: 42
        """

    @abstractmethod
    def inspect(self, f: Callable[[T_co], object]) -> Self:
        """Calls `f` with the value, for its effect; gives this same object.

        >>> Ok(42).inspect(print)
        42
        Ok(42)
        """

    @abstractmethod
    def inspect_err(self, f: Callable[[E_co], object]) -> Self:
        """Calls `f` with the error, for its effect; gives this same object.

        >>> Err("gone").inspect_err(print)
        gone
        Err('gone')
        """

    def flatten(self: Result[Result[U, E], F]) -> Result[U, E | F]:
        """Takes one layer off a `Result` of a `Result`.

        Raises:
            TypeError: the value is no `Result`.

        >>> Ok(Ok(42)).flatten(), Ok(Err("gone")).flatten()
        (Ok(42), Err('gone'))
        """
        match self.variant:
            case Ok(inner):
                require_result(inner, "flatten")
                return inner
            case Err() as failed:
                return failed

    def zip(self, other: Result[U, F]) -> Result[tuple[T_co, U], E_co | F]:
        """Both values as a pair, or the first error.

        >>> Ok(1).zip(Ok("a")), Ok(1).zip(Err("gone"))
        (Ok((1, 'a')), Err('gone'))
        """
        match self.variant:
            case Ok(mine):
                return other.map(lambda theirs: (mine, theirs))
            case Err() as failed:
                return failed

    @abstractmethod
    def __iter__(self) -> Iterator[T_co]:
        """The value, if there is one: `[v for r in results for v in r]` keeps the values of a list."""

    def __bool__(self) -> NoReturn:
        raise TypeError("a Result is neither true nor false: ask is_ok() or is_err()")


@final
@dataclass(frozen=True, repr=False)
class Ok(Result[T_co, NoReturn]):
    """The case of a `Result` that holds a value.

    Attributes:
        ok_value: The value, which type checkers know after `is_ok(result)`.

    >>> Ok(42), Ok(None).is_ok(), list(Ok(42))
    (Ok(42), True, [42])
    """

    __slots__ = ("ok_value",)

    ok_value: T_co

    @property
    def variant(self) -> Ok[T_co]:
        return self

    def is_ok(self) -> bool:
        return True

    def map(self, f: Callable[[T_co], U]) -> Ok[U]:
        return Ok(f(self.ok_value))

    def map_err(self, f: Callable[[Never], object]) -> Ok[T_co]:
        return self

    def and_then(self, f: Callable[[T_co], Result[U, F]]) -> Result[U, F]:
        result = f(self.ok_value)
        require_result(result, "and_then", f)
        return result

    def or_else(self, f: Callable[[Never], object]) -> Ok[T_co]:
        return self

    def unwrap(self) -> T_co:
        return self.ok_value

    def unwrap_err(self) -> NoReturn:
        raise UnwrapError(f"unwrap_err of {self!r}")

    def unwrap_or(self, default: object) -> T_co:
        return self.ok_value

    def unwrap_or_else(self, f: Callable[[Never], object]) -> T_co:
        return self.ok_value

    def expect(self, message: str) -> T_co:
        return self.ok_value

    def expect_err(self, message: str) -> NoReturn:
        raise UnwrapError(f"{message}: {self.ok_value!r}")

    def inspect(self, f: Callable[[T_co], object]) -> Self:
        f(self.ok_value)
        return self

    def inspect_err(self, f: Callable[[Never], object]) -> Self:
        return self

    def __iter__(self) -> Iterator[T_co]:
        yield self.ok_value

    def __repr__(self) -> str:
        return f"Ok({self.ok_value!r})"

    def __reduce__(self) -> tuple[type[Ok[T_co]], tuple[T_co]]:
        return Ok, (self.ok_value,)


@final
@dataclass(frozen=True, repr=False)
class Err(Result[NoReturn, E_co]):
    """The case of a `Result` that holds an error: of any type, not only an exception.

    Attributes:
        err_value: The error, which type checkers know after `is_err(result)`.

    >>> Err("no such file"), list(Err("no such file"))
    (Err('no such file'), [])
    """

    __slots__ = ("err_value",)

    err_value: E_co

    @property
    def variant(self) -> Err[E_co]:
        return self

    def is_ok(self) -> bool:
        return False

    def map(self, f: Callable[[Never], object]) -> Err[E_co]:
        return self

    def map_err(self, f: Callable[[E_co], F]) -> Err[F]:
        return Err(f(self.err_value))

    def and_then(self, f: Callable[[Never], object]) -> Err[E_co]:
        return self

    def or_else(self, f: Callable[[E_co], Result[U, F]]) -> Result[U, F]:
        result = f(self.err_value)
        require_result(result, "or_else", f)
        return result

    def unwrap(self) -> NoReturn:
        raise UnwrapError(f"unwrap of {self!r}", self.err_value)

    def unwrap_err(self) -> E_co:
        return self.err_value

    def unwrap_or(self, default: U) -> U:
        return default

    def unwrap_or_else(self, f: Callable[[E_co], U]) -> U:
        return f(self.err_value)

    def expect(self, message: str) -> NoReturn:
        raise UnwrapError(f"{message}: {self.err_value!r}", self.err_value)

    def expect_err(self, message: str) -> E_co:
        return self.err_value

    def inspect(self, f: Callable[[Never], object]) -> Self:
        return self

    def inspect_err(self, f: Callable[[E_co], object]) -> Self:
        f(self.err_value)
        return self

    def __iter__(self) -> Iterator[NoReturn]:
        return iter(())

    def __repr__(self) -> str:
        return f"Err({self.err_value!r})"

    def __reduce__(self) -> tuple[type[Err[E_co]], tuple[E_co]]:
        return Err, (self.err_value,)


def is_ok(result: Result[T, object]) -> TypeIs[Ok[T]]:
    """Whether there is a value; type checkers then know the `Ok`.

    >>> result: Result[int, str] = Ok(42)
    >>> if is_ok(result):
    ...     print(result.ok_value)
    42
    """
    return isinstance(result, Ok)


def is_err(result: Result[object, E]) -> TypeIs[Err[E]]:
    """Whether there is an error; type checkers then know the `Err`.

    >>> result: Result[int, str] = Err("gone")
    >>> if is_err(result):
    ...     print(result.err_value)
    gone
    """
    return isinstance(result, Err)


def require_result(value: object, method: str, f: object | None = None) -> None:
    """Raises `TypeError` if `value`, which `method` got (from its callback `f`), is no `Result`."""
    if not isinstance(value, Result):
        raise wrong_type(method, f, value, "a Result")


def _value_of(result: Result[T, object]) -> Option[T]:
    match result.variant:
        case Ok(value):
            return _option.Some(value)
        case Err():
            return _option.Nothing()


def _error_of(result: Result[object, E]) -> Option[E]:
    match result.variant:
        case Ok():
            return _option.Nothing()
        case Err(error):
            return _option.Some(error)
