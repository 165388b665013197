"""The error of a callback or an item that is no container, as users should read it."""

from __future__ import annotations

import inspect
import reprlib


def wrong_type(method: str, f: object | None, value: object, wanted: str) -> TypeError:
    """Says what `method` got, from which callback (None: from no callback), and what it `wanted`."""
    source = "got" if f is None else f"{getattr(f, '__qualname__', repr(f))} returned"
    hint = ""
    if inspect.iscoroutine(value):
        # It will never be awaited now, and Python would warn of that far from the cause.
        value.close()
        hint = ": await it first"
    return TypeError(f"{method}: {source} {reprlib.repr(value)} ({type(value).__name__}), not {wanted}{hint}")
