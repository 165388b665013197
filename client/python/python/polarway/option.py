"""`Option`: a value, or nothing.

`Some` and `Nothing` are the only two subclasses of `Option`. `Nothing()` is always the same object, also after a copy
or a pickle; it is written with its parentheses, which keeps `case Nothing():` a pattern (a bare name would match
everything). `Some(None)` is a value.

`bool(option)` raises `TypeError`, for the reason `bool(result)` does: `Some(0)` would be read both ways.
`option.variant` is typed as `Some[T] | Nothing`, for a match that checkers see as exhaustive.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, NoReturn, TypeVar, final

# By module, since it imports this one.
from polarway import result as _result
from polarway._wrong_type import wrong_type
from polarway.unwrapping import UnwrapError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from typing_extensions import Never, Self, TypeIs

    from polarway.result import Err, Ok, Result

T = TypeVar("T")
U = TypeVar("U")
E = TypeVar("E")
T_co = TypeVar("T_co", covariant=True)


class Option(ABC, Generic[T_co]):
    """A value (`Some`) or nothing (`Nothing`).

    >>> Option.some(42), Option.nothing(), Option.of(None)
    (Some(42), Nothing(), Nothing())
    >>> match Option.of({"id": 7}.get("id")):
    ...     case Some(value):
    ...         print(value)
    ...     case Nothing():
    ...         print("no id")
    7
    """

    __slots__ = ()

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if cls.__module__ != __name__:
            raise TypeError("Option has two cases, Some and Nothing, and takes no more")

    @staticmethod
    def some(value: T) -> Option[T]:
        """The option that holds `value`, which may be None.

        >>> Option.some(42)
        Some(42)
        """
        return Some(value)

    @staticmethod
    def nothing() -> Option[Never]:
        """The option that holds nothing.

        >>> Option.nothing()
        Nothing()
        """
        return Nothing()

    @staticmethod
    def of(value: T | None) -> Option[T]:
        """`Nothing` for None, else `Some`.

        >>> Option.of(0), Option.of(None)
        (Some(0), Nothing())
        """
        return Nothing() if value is None else Some(value)

    @property
    @abstractmethod
    def variant(self) -> Some[T_co] | Nothing:
        """The same object, typed as one of its two cases, so that checkers see a match as exhaustive.

        >>> Some(42).variant
        Some(42)
        """

    @abstractmethod
    def is_some(self) -> bool:
        """Whether there is a value. The function `is_some(option)` narrows the type as well.

        >>> Some(None).is_some()
        True
        """

    def is_none(self) -> bool:
        """Whether there is none. The function `is_none(option)` narrows the type as well.

        >>> Some(None).is_none()
        False
        """
        return not self.is_some()

    @abstractmethod
    def map(self, f: Callable[[T_co], U]) -> Option[U]:
        """Applies `f` to the value, if there is one.

        >>> Some(42).map(lambda x: x * 2), Nothing().map(lambda x: x * 2)
        (Some(84), Nothing())
        """

    @abstractmethod
    def and_then(self, f: Callable[[T_co], Option[U]]) -> Option[U]:
        """Goes on with `f`, which may find nothing too.

        Raises:
            TypeError: `f` returned something else than an `Option`.

        >>> Some("id").and_then(lambda key: Option.of({"id": 7}.get(key)))
        Some(7)
        """

    @abstractmethod
    def or_else(self, f: Callable[[], Option[U]]) -> Option[T_co | U]:
        """This option if it holds a value, else what `f` finds.

        Raises:
            TypeError: `f` returned something else than an `Option`.

        >>> Nothing().or_else(lambda: Some(0))
        Some(0)
        """

    @abstractmethod
    def filter(self, keep: Callable[[T_co], bool]) -> Option[T_co]:
        """Nothing where `keep` says no to the value.

        >>> Some(3).filter(lambda x: x > 2), Some(1).filter(lambda x: x > 2)
        (Some(3), Nothing())
        """

    @abstractmethod
    def unwrap(self) -> T_co:
        """The value.

        Raises:
            UnwrapError: there is none.

        >>> Some(42).unwrap()
        42
        """

    @abstractmethod
    def unwrap_or(self, default: U) -> T_co | U:
        """The value, or `default`.

        >>> Nothing().unwrap_or(0)
        0
        """

    @abstractmethod
    def unwrap_or_else(self, f: Callable[[], U]) -> T_co | U:
        """The value, or what `f` gives.

        >>> Nothing().unwrap_or_else(list)
        []
        """

    @abstractmethod
    def expect(self, message: str) -> T_co:
        """The value; like `unwrap`, with a message of your own.

        Raises:
            UnwrapError: there is none.

        >>> Nothing().expect("the job has no id")
        Traceback (most recent call last):
        polarway.unwrapping.UnwrapError: the job has no id
        """

    @abstractmethod
    def ok_or(self, error: E) -> Result[T_co, E]:
        """The value as an `Ok`, or `error` as an `Err`.

        >>> Some(42).ok_or("missing"), Nothing().ok_or("missing")
        (Ok(42), Err('missing'))
        """

    @abstractmethod
    def ok_or_else(self, f: Callable[[], E]) -> Result[T_co, E]:
        """The value as an `Ok`, or what `f` gives as an `Err`.

        >>> Nothing().ok_or_else(lambda: "missing")
        Err('missing')
        """

    @abstractmethod
    def inspect(self, f: Callable[[T_co], object]) -> Self:
        """Calls `f` with the value, for its effect; gives this same object.

        >>> Some(42).inspect(print)
        42
        Some(42)
        """

    def flatten(self: Option[Option[U]]) -> Option[U]:
        """Takes one layer off an `Option` of an `Option`.

        Raises:
            TypeError: the value is no `Option`.

        >>> Some(Some(42)).flatten(), Some(Nothing()).flatten()
        (Some(42), Nothing())
        """
        match self.variant:
            case Some(inner):
                require_option(inner, "flatten")
                return inner
            case Nothing() as nothing:
                return nothing

    def zip(self, other: Option[U]) -> Option[tuple[T_co, U]]:
        """Both values as a pair, or nothing.

        >>> Some(1).zip(Some("a")), Some(1).zip(Nothing())
        (Some((1, 'a')), Nothing())
        """
        match self.variant:
            case Some(mine):
                return other.map(lambda theirs: (mine, theirs))
            case Nothing() as nothing:
                return nothing

    @abstractmethod
    def __iter__(self) -> Iterator[T_co]:
        """The value, if there is one: `[v for o in options for v in o]` keeps the values of a list."""

    def __bool__(self) -> NoReturn:
        raise TypeError("an Option is neither true nor false: ask is_some() or is_none()")


@final
@dataclass(frozen=True, repr=False)
class Some(Option[T_co]):
    """The case of an `Option` that holds a value.

    Attributes:
        some_value: The value, which type checkers know after `is_some(option)`.

    >>> Some(42), Some(None).is_some(), list(Some(42))
    (Some(42), True, [42])
    """

    __slots__ = ("some_value",)

    some_value: T_co

    @property
    def variant(self) -> Some[T_co]:
        return self

    def is_some(self) -> bool:
        return True

    def map(self, f: Callable[[T_co], U]) -> Some[U]:
        return Some(f(self.some_value))

    def and_then(self, f: Callable[[T_co], Option[U]]) -> Option[U]:
        option = f(self.some_value)
        require_option(option, "and_then", f)
        return option

    def or_else(self, f: Callable[[], object]) -> Some[T_co]:
        return self

    def filter(self, keep: Callable[[T_co], bool]) -> Option[T_co]:
        return self if keep(self.some_value) else Nothing()

    def unwrap(self) -> T_co:
        return self.some_value

    def unwrap_or(self, default: object) -> T_co:
        return self.some_value

    def unwrap_or_else(self, f: Callable[[], object]) -> T_co:
        return self.some_value

    def expect(self, message: str) -> T_co:
        return self.some_value

    def ok_or(self, error: object) -> Ok[T_co]:
        return _result.Ok(self.some_value)

    def ok_or_else(self, f: Callable[[], object]) -> Ok[T_co]:
        return _result.Ok(self.some_value)

    def inspect(self, f: Callable[[T_co], object]) -> Self:
        f(self.some_value)
        return self

    def __iter__(self) -> Iterator[T_co]:
        yield self.some_value

    def __repr__(self) -> str:
        return f"Some({self.some_value!r})"

    def __reduce__(self) -> tuple[type[Some[T_co]], tuple[T_co]]:
        return Some, (self.some_value,)


@final
class Nothing(Option[NoReturn]):
    """The case of an `Option` that holds no value.

    >>> Nothing(), Nothing() is Nothing(), list(Nothing())
    (Nothing(), True, [])
    """

    __slots__ = ()

    def __new__(cls) -> Nothing:
        return _NOTHING

    def __reduce__(self) -> tuple[type[Nothing], tuple[()]]:
        return Nothing, ()

    @property
    def variant(self) -> Nothing:
        return self

    def is_some(self) -> bool:
        return False

    def map(self, f: Callable[[Never], object]) -> Nothing:
        return self

    def and_then(self, f: Callable[[Never], object]) -> Nothing:
        return self

    def or_else(self, f: Callable[[], Option[U]]) -> Option[U]:
        option = f()
        require_option(option, "or_else", f)
        return option

    def filter(self, keep: Callable[[Never], bool]) -> Nothing:
        return self

    def unwrap(self) -> NoReturn:
        raise UnwrapError("unwrap of Nothing()")

    def unwrap_or(self, default: U) -> U:
        return default

    def unwrap_or_else(self, f: Callable[[], U]) -> U:
        return f()

    def expect(self, message: str) -> NoReturn:
        raise UnwrapError(message)

    def ok_or(self, error: E) -> Err[E]:
        return _result.Err(error)

    def ok_or_else(self, f: Callable[[], E]) -> Err[E]:
        return _result.Err(f())

    def inspect(self, f: Callable[[Never], object]) -> Self:
        return self

    def __iter__(self) -> Iterator[NoReturn]:
        return iter(())

    def __repr__(self) -> str:
        return "Nothing()"


_NOTHING = object.__new__(Nothing)


def is_some(option: Option[T]) -> TypeIs[Some[T]]:
    """Whether there is a value; type checkers then know the `Some`.

    >>> option: Option[int] = Some(42)
    >>> if is_some(option):
    ...     print(option.some_value)
    42
    """
    return isinstance(option, Some)


def is_none(option: Option[object]) -> TypeIs[Nothing]:
    """Whether there is no value; type checkers then know the `Nothing`.

    >>> is_none(Some(None)), is_none(Nothing())
    (False, True)
    """
    return isinstance(option, Nothing)


def require_option(value: object, method: str, f: object | None = None) -> None:
    """Raises `TypeError` if `value`, which `method` got (from its callback `f`), is no `Option`."""
    if not isinstance(value, Option):
        raise wrong_type(method, f, value, "an Option")
