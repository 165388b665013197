"""Polarway: the Python client of a SQL query cluster."""

from polarway.option import Nothing, Option, Some, is_none, is_some
from polarway.result import Err, Ok, Result, is_err, is_ok
from polarway.unwrapping import UnwrapError

__all__ = [
    "Err",
    "Nothing",
    "Ok",
    "Option",
    "Result",
    "Some",
    "UnwrapError",
    "is_err",
    "is_none",
    "is_ok",
    "is_some",
]
