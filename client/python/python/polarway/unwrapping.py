"""The error of a value that was taken out of a container that does not hold it."""

from __future__ import annotations


class UnwrapError(Exception):
    """Raised by `unwrap`, `expect` and their kin.

    Attributes:
        error: What the `Err` held; None for `Nothing`, and for the `Ok` whose error was asked for. If it is an
            exception, it is the `__cause__` too, so that its traceback is shown.

    >>> from polarway import Err
    >>> try:
    ...     Err(KeyError("id")).unwrap()
    ... except UnwrapError as error:
    ...     print(error, repr(error.__cause__))
    unwrap of Err(KeyError('id')) KeyError('id')
    """

    error: object

    def __init__(self, message: str, error: object = None) -> None:
        super().__init__(message)
        self.error = error
        if isinstance(error, BaseException):
            self.__cause__ = error

    def __reduce__(self) -> tuple[type[UnwrapError], tuple[str, object]]:
        # Without it a copy would lose the cause, which is no part of an exception's state.
        return UnwrapError, (str(self), self.error)
