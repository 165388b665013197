"""The one file that imports pyarrow for uploads.

It tells its own types in part only, so that here they are `Any`, under the names that they have there.
"""

from __future__ import annotations

import importlib
from typing import Any, TypeAlias

from polarway.error import Error
from polarway.result import Err, Ok, Result

Array: TypeAlias = Any
DataType: TypeAlias = Any
RecordBatch: TypeAlias = Any
Schema: TypeAlias = Any

_OLDEST = 16


def pyarrow(what: str) -> Result[Any, Error]:
    """The library, or the error of `what` needs it and does not find it."""
    try:
        found = importlib.import_module("pyarrow")
    except ImportError:
        found = None
    if found is None or int(found.__version__.split(".")[0]) < _OLDEST:
        message = f"{what} needs the package pyarrow, {_OLDEST} or later"
        return Err(Error("CONFIGURATION", message, hint="pip install 'polarway[arrow]'"))
    return Ok(found)
